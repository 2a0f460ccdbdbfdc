"""Two models to average, a calibration of the average, and a decision."""

import numpy as np


class Step:
    """A soft step at 5."""

    def __init__(self, slope):
        self.slope = slope

    def predict(self, X, names):
        return 1 / (1 + np.exp(-self.slope * (np.asarray(X, dtype=float) - 5)))


class Calibrate:
    """Pulls scores a little towards the middle."""

    def transform_input(self, X, names):
        return 0.1 + 0.8 * np.asarray(X)


class Decide:
    """yes or no for each row."""

    def predict(self, X, names):
        return ["yes" if score > 0.5 else "no" for score in np.asarray(X)[:, 0]]
