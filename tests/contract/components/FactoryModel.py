"""A function that makes the component: the wrapper calls whatever the name refers to."""


class _Adder:
    def __init__(self, amount):
        self.amount = amount

    def predict(self, X, feature_names):
        return X + self.amount


def FactoryModel(amount=1):
    return _Adder(amount)
