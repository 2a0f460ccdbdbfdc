"""Small models that all answer with the chance of rain."""

import numpy as np


class Threshold:
    """A soft step of one column."""

    def __init__(self, column, middle):
        self.column = column
        self.middle = middle

    def predict(self, X, names):
        values = np.asarray(X, dtype=float)[:, [self.column]]
        return 1 / (1 + np.exp(-(values - self.middle) / 5))

    def class_names(self):
        return ["rain"]


class Prior:
    """The same for every row."""

    def predict(self, X, names):
        return np.full((len(X), 1), 0.3)

    def class_names(self):
        return ["rain"]
