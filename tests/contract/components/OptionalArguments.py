"""predict(X, names=None, meta=None): names and meta as they came."""

from seldon_core.user_model import SeldonComponent


class OptionalArguments(SeldonComponent):
    def predict(self, X, names=None, meta=None):
        return {"names": list(names or []), "puid": (meta or {}).get("puid", ""), "shape": list(X.shape)}
