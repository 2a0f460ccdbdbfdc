"""Tags and metrics by the hooks of the class, made with Seldon's helper functions."""

from seldon_core.metrics import create_counter, create_gauge, create_timer, validate_metrics
from seldon_core.user_model import SeldonComponent


class ModelWithMetrics(SeldonComponent):
    def predict(self, X, features_names):
        return X

    def tags(self):
        return {"system": "production"}

    def metrics(self):
        metrics = [
            {"type": "COUNTER", "key": "mycounter", "value": 1},
            create_counter("calls", 1),
            create_gauge("mygauge", 100),
            create_timer("mytimer", 20.5),
        ]
        assert validate_metrics(metrics)
        return metrics
