"""Typed constructor parameters of every kind."""

from seldon_core.user_model import SeldonComponent


class ParameterModel(SeldonComponent):
    def __init__(self, s, i, f, d=2.0, b=False):
        self.parameters = {"s": s, "i": i, "f": f, "d": d, "b": b}
        super(ParameterModel, self).__init__()

    def predict(self, X, names):
        return self.parameters
