"""The helpers that user code takes from seldon_core.utils: parts of a request, construction of the answer."""

import numpy as np
from seldon_core.user_model import SeldonComponent
from seldon_core.utils import (
    array_to_grpc_datadef,
    array_to_rest_datadef,
    construct_response,
    construct_response_json,
    extract_request_parts,
    extract_request_parts_json,
    getenv_as_bool,
)

VERBOSE = getenv_as_bool("UTILITY_MODEL_VERBOSE", default=False)


class UtilityModel(SeldonComponent):
    def predict_raw(self, msg):
        if isinstance(msg, dict):
            features, meta, datadef, kind = extract_request_parts_json(msg)
            assert kind == "data" and array_to_rest_datadef("ndarray", features, datadef["names"])["names"] == [
                "a",
                "b",
            ]
            return construct_response_json(self, False, msg, features.sum(axis=1, keepdims=True), meta=meta)
        features, meta, datadef, kind = extract_request_parts(msg)
        assert kind == "data" and list(array_to_grpc_datadef("tensor", features, datadef.names).tensor.shape) == [2, 2]
        return construct_response(self, False, msg, np.sum(features, axis=1, keepdims=True), meta=meta)

    def class_names(self):
        return ["total"]
