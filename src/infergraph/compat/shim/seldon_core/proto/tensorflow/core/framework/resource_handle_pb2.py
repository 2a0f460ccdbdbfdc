"""TensorFlow's resource handle."""

from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from infergraph.compat import descriptors

descriptors.register_tensor()

ResourceHandleProto = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName("tensorflow.ResourceHandleProto"))
DESCRIPTOR = ResourceHandleProto.DESCRIPTOR.file
