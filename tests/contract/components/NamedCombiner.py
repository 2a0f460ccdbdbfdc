"""A combiner of a detector and a model that answers JSON."""

from seldon_core.user_model import SeldonComponent


class NamedCombiner(SeldonComponent):
    def aggregate(self, features, names=[], meta=[]):
        output = {"loanclassifier": features[0].tolist(), "outliersdetector": features[1]}
        return output
