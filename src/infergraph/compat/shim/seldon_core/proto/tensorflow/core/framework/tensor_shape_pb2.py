"""TensorFlow's tensor shape."""

from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from infergraph.compat import descriptors

descriptors.register_tensor()

TensorShapeProto = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName("tensorflow.TensorShapeProto"))
DESCRIPTOR = TensorShapeProto.DESCRIPTOR.file
