"""The same model for LitServe, its answers in the form of the open inference protocol."""

import json
import sys

import litserve
import numpy as np


class Counter(litserve.LitAPI):
    """As many items as the input says."""

    def setup(self, device):
        pass

    def decode_request(self, request):
        return np.array(request["inputs"][0]["data"])

    def predict(self, x):
        for number in range(int(x[0])):
            yield np.array([[number]], dtype=np.int32)

    def encode_response(self, items):
        for item in items:
            output = {"name": "output-0", "shape": item.shape, "datatype": "INT32", "data": item.ravel().tolist()}
            yield f"data: {json.dumps({'model_name': 'Counter', 'outputs': [output]})}\n\n"


if __name__ == "__main__":
    server = litserve.LitServer(Counter(stream=True), accelerator="cpu", track_requests=False)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", log_level="warning", generate_client_file=False)
