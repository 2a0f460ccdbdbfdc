"""`predict_raw` on plain JSON, as users of REST alone write it; gRPC requests reach it as protobuf."""

import json

from seldon_core.user_model import SeldonComponent
from seldon_core.utils import json_to_seldon_message, seldon_message_to_json


class RawJsonModel(SeldonComponent):
    def predict_raw(self, msg):
        document = msg if isinstance(msg, dict) else seldon_message_to_json(msg)
        text = json.loads(json.dumps(document))["strData"]
        answer = {"jsonData": {"length": len(text), "upper": text.upper()}}
        return answer if isinstance(msg, dict) else json_to_seldon_message(answer)
