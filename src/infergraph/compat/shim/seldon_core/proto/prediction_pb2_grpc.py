"""gRPC stubs, servicer base classes and registration functions of the protocol's seven services.

Built from the descriptors: a stub holds a callable for each method; a servicer answers UNIMPLEMENTED until overridden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from . import prediction_pb2


def _stub(service: str) -> type:
    methods = _service(service).methods

    def construct(self: Any, channel: grpc.Channel) -> None:
        for method in methods:
            call = channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            setattr(self, method.name, call)

    return _class(f"{service}Stub", f"Calls the service {service} on `channel`.", {"__init__": construct})


def _servicer(service: str) -> type:
    return _class(
        f"{service}Servicer",
        f"Answers the service {service}; override its methods.",
        {method.name: _unimplemented(method) for method in _service(service).methods},
    )


def _unimplemented(method: MethodDescriptor) -> Callable[..., Any]:
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("Method not implemented!")
        raise NotImplementedError("Method not implemented!")

    call.__name__ = method.name
    return call


def _adder(service: str) -> Callable[[Any, grpc.Server], None]:
    descriptor = _service(service)

    def add(servicer: Any, server: grpc.Server) -> None:
        handlers = {
            method.name: grpc.unary_unary_rpc_method_handler(
                getattr(servicer, method.name),
                request_deserializer=GetMessageClass(method.input_type).FromString,
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
            for method in descriptor.methods
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, handlers),))

    add.__name__ = f"add_{service}Servicer_to_server"
    add.__doc__ = f"Let `servicer` answer the service {service} on `server`."
    return add


def _service(name: str) -> ServiceDescriptor:
    return prediction_pb2.DESCRIPTOR.services_by_name[name]


def _class(name: str, doc: str, members: dict[str, Any]) -> type:
    return type(name, (), {"__module__": __name__, "__doc__": doc, **members})


GenericStub: Any = _stub("Generic")
GenericServicer: Any = _servicer("Generic")
add_GenericServicer_to_server = _adder("Generic")

ModelStub: Any = _stub("Model")
ModelServicer: Any = _servicer("Model")
add_ModelServicer_to_server = _adder("Model")

RouterStub: Any = _stub("Router")
RouterServicer: Any = _servicer("Router")
add_RouterServicer_to_server = _adder("Router")

TransformerStub: Any = _stub("Transformer")
TransformerServicer: Any = _servicer("Transformer")
add_TransformerServicer_to_server = _adder("Transformer")

OutputTransformerStub: Any = _stub("OutputTransformer")
OutputTransformerServicer: Any = _servicer("OutputTransformer")
add_OutputTransformerServicer_to_server = _adder("OutputTransformer")

CombinerStub: Any = _stub("Combiner")
CombinerServicer: Any = _servicer("Combiner")
add_CombinerServicer_to_server = _adder("Combiner")

SeldonStub: Any = _stub("Seldon")
SeldonServicer: Any = _servicer("Seldon")
add_SeldonServicer_to_server = _adder("Seldon")
