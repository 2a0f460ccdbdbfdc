"""A scikit-learn model fitted by hand, with Seldon's base class: the usual tabular classifier."""

import logging

import numpy as np
from seldon_core.user_model import SeldonComponent
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

logger = logging.getLogger(__name__)


class IrisClassifier(SeldonComponent):
    def __init__(self, max_iter=400):
        self.max_iter = max_iter
        self.ready = False

    def load(self):
        data = load_iris()
        self.names = [str(name) for name in data.target_names]
        self.model = LogisticRegression(max_iter=self.max_iter).fit(data.data, data.target)
        self.ready = True

    def predict(self, X, features_names=None):
        if not self.ready:
            self.load()
        logger.info("rows: %d", len(X))
        return np.round(self.model.predict_proba(X)).astype(float)

    def class_names(self):
        return self.names
