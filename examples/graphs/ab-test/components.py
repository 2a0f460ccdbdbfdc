"""A price model in two versions."""

import numpy as np


class Price:
    """Sums each row and multiplies it by a rate; its tag tells the versions apart."""

    def __init__(self, version, rate):
        self.version = version
        self.rate = rate

    def predict(self, X, names):
        return np.sum(X, axis=1, keepdims=True) * self.rate

    def tags(self):
        return {"version": self.version}
