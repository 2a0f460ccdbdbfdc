"""The protocol's protobuf messages and gRPC services under the names that generated code has."""
