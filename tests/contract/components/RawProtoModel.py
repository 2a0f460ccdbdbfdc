"""Whole messages in and out: protobuf classes of prediction_pb2 mixed with protobuf's own types and its JSON mapping."""

from google.protobuf import json_format
from google.protobuf.struct_pb2 import ListValue
from seldon_core.proto import prediction_pb2
from seldon_core.utils import get_data_from_proto, json_to_seldon_message, seldon_message_to_json


class RawProtoModel:
    def predict_raw(self, request):
        is_json = isinstance(request, dict)
        message = json_to_seldon_message(request) if is_json else request
        doubled = ListValue()
        doubled.extend((get_data_from_proto(message) * 2).tolist())
        response = prediction_pb2.SeldonMessage(data=prediction_pb2.DefaultData(names=["a", "b"], ndarray=doubled))
        response.meta.tags["raw"].bool_value = True
        response.status.CopyFrom(prediction_pb2.Status(code=200, status=prediction_pb2.Status.SUCCESS))
        return json_format.MessageToDict(response) if is_json else response

    def send_feedback_raw(self, feedback):
        assert isinstance(feedback, prediction_pb2.Feedback)
        document = json_format.MessageToDict(feedback)
        answer = prediction_pb2.SeldonMessage()
        answer.meta.puid = "raw"
        answer.jsonData.struct_value.update({"reward": document["reward"]})
        assert seldon_message_to_json(answer)["jsonData"] == {"reward": document["reward"]}
        return answer
