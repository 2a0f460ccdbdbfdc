"""A detector served as a model: flags as JSON-able lists, state from the constructor, logging at import."""

import logging

import numpy as np
from seldon_core.user_model import SeldonComponent

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


class OutlierDetector(SeldonComponent):
    def __init__(self, threshold=3):
        super().__init__()
        self.threshold = threshold

    def predict(self, X, features_names=None, meta=None):
        logger.info("scoring %s", X.shape)
        scores = np.abs(X - np.mean(X, axis=0)).max(axis=1)
        return (scores > self.threshold).astype(int).reshape(-1, 1)

    def tags(self):
        return {"threshold": self.threshold}
