"""TensorFlow's tensor."""

from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from infergraph.compat import descriptors

descriptors.register_tensor()

TensorProto = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName("tensorflow.TensorProto"))
VariantTensorDataProto = GetMessageClass(
    descriptor_pool.Default().FindMessageTypeByName("tensorflow.VariantTensorDataProto")
)
DESCRIPTOR = TensorProto.DESCRIPTOR.file
