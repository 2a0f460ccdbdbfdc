"""The deprecated predict_rest and predict_grpc: whole messages, chosen by transport."""

from seldon_core.proto import prediction_pb2


class DeprecatedHooks:
    def predict_rest(self, request):
        return {"strData": request["strData"] + " by rest"}

    def predict_grpc(self, request):
        return prediction_pb2.SeldonMessage(strData=request.strData + " by grpc")
