"""TensorFlow's data types: `DataType` and its values as module attributes."""

from google.protobuf import descriptor_pool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from infergraph.compat import descriptors

descriptors.register_tensor()

DataType = EnumTypeWrapper(descriptor_pool.Default().FindEnumTypeByName("tensorflow.DataType"))
DESCRIPTOR = DataType.DESCRIPTOR.file
globals().update(DataType.items())
