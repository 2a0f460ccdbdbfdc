"""class_names as a static method."""

import numpy as np


class StaticNames:
    @staticmethod
    def class_names():
        return ["low", "high"]

    def predict(self, X, features_names):
        return np.asarray(X)
