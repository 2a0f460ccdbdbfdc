"""jsonData in, jsonData out."""

import json


class JsonModel:
    def predict(self, X, features_names=[], meta={}):
        text = json.dumps(X, sort_keys=True)
        return {"echo": X, "length": len(text)}
