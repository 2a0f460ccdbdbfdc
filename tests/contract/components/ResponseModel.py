"""Tags and metrics of one call by SeldonResponse, laid over those of the class."""

from seldon_core.user_model import SeldonComponent, SeldonResponse


class ResponseModel(SeldonComponent):
    def predict(self, X, names=[], meta={}):
        runtime_metrics = [{"type": "COUNTER", "key": "instance_counter", "value": len(X)}]
        runtime_tags = {"runtime": "tag", "shared": "right one"}
        return SeldonResponse(data=X, metrics=runtime_metrics, tags=runtime_tags)

    def class_names(self):
        return ["first", "second"]

    def metrics(self):
        return [{"type": "COUNTER", "key": "always_counter", "value": 1}]

    def tags(self):
        return {"static": "tag", "shared": "not right one"}
