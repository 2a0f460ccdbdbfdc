"""Scale measurements of irises, score them, and name the best score."""

import numpy as np

MEAN = np.array([5.84, 3.06, 3.76, 1.20])
SPREAD = np.array([0.83, 0.43, 1.76, 0.76])
# One row for each species: its typical flower, in spreads from the mean.
TYPICAL = np.array([[-1.01, 0.86, -1.30, -1.25], [0.11, -0.66, 0.28, 0.17], [0.90, -0.19, 1.02, 1.08]])


class Scale:
    """Centimetres to spreads from the mean."""

    def transform_input(self, X, names):
        return (np.asarray(X, dtype=float) - MEAN) / SPREAD


class Classifier:
    """The share of each species, by how near its typical flower is."""

    def __init__(self, temperature=1.0):
        self.temperature = temperature

    def predict(self, X, names):
        distances = ((X[:, None, :] - TYPICAL) ** 2).sum(axis=2)
        scores = np.exp(-distances / self.temperature)
        return scores / scores.sum(axis=1, keepdims=True)

    def class_names(self):
        return ["setosa", "versicolor", "virginica"]


class Label:
    """The name of the best score in each row."""

    def transform_output(self, X, names):
        return [names[best] for best in np.argmax(X, axis=1)]
