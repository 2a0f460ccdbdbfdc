"""The models that the bandit chooses from."""


class Offer:
    """Answers every row with its text."""

    def __init__(self, text):
        self.text = text

    def predict(self, X, names):
        return [self.text for _ in X]
