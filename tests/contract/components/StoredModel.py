"""A model file fetched with seldon_core.Storage; metadata and health of its own."""

import json
import os

import numpy as np
import seldon_core
from seldon_core.user_model import SeldonComponent

WEIGHTS = "weights.json"


class StoredModel(SeldonComponent):
    def __init__(self, model_uri: str = None):
        super().__init__()
        self.model_uri = model_uri or os.path.join(os.path.dirname(os.path.abspath(__file__)), "stored")
        self.ready = False

    def load(self):
        folder = seldon_core.Storage.download(self.model_uri)
        with open(os.path.join(folder, WEIGHTS)) as file:
            self.weights = np.array(json.load(file))
        self.ready = True

    def predict(self, X, names):
        if not self.ready:
            self.load()
        return X @ self.weights

    def health_status(self):
        return {"ready": self.ready}

    def init_metadata(self):
        return {
            "name": "stored",
            "versions": ["v1"],
            "platform": "seldon",
            "inputs": [{"messagetype": "tensor", "schema": {"names": ["a", "b"], "shape": [2]}}],
            "outputs": [{"messagetype": "tensor", "schema": {"shape": [1]}}],
            "custom": {"author": "seldon-dev"},
        }
