"""Handwritten digits: a scikit-learn classifier as a component. It needs nothing of infergraph."""

import joblib


class DigitClassifier:
    """Probability of each digit for images of 8x8 grey values, one row of 64 numbers an image."""

    def __init__(self, path):
        self._path = path

    def load(self):
        self._model = joblib.load(self._path)

    def predict(self, X, names=None):
        return self._model.predict_proba(X)

    def class_names(self):
        return [str(digit) for digit in self._model.classes_]

    def init_metadata(self):
        return {
            "name": "digits",
            "versions": ["1"],
            "platform": "sklearn",
            "inputs": [{"messagetype": "tensor", "schema": {"shape": [64]}}],
            "outputs": [{"messagetype": "tensor", "schema": {"shape": [10]}}],
        }
