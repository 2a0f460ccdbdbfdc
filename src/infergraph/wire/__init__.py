"""Bytes to messages and back, without a network: JSON, protobuf, and the open inference protocol."""
