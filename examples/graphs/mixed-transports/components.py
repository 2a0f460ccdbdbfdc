"""Three ways to count a text, and the table of all three."""

import numpy as np


class Words:
    """How many words each text has."""

    def predict(self, X, names):
        return np.array([[len(str(text).split())] for text in X])

    def class_names(self):
        return ["words"]


class Letters:
    """How many signs each text has."""

    def predict(self, X, names):
        return np.array([[len(str(text))] for text in X])

    def class_names(self):
        return ["letters"]


class Bytes:
    """How many bytes each text takes in UTF-8."""

    def predict(self, X, names):
        return np.array([[len(str(text).encode())] for text in X])

    def class_names(self):
        return ["bytes"]


class Join:
    """The children's columns side by side."""

    def aggregate(self, features_list, feature_names_list):
        return np.hstack([np.asarray(features, dtype=float) for features in features_list])

    def class_names(self):
        return ["words", "letters", "bytes"]
