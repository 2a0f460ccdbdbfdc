"""gRPC over raw bytes, and its two transports: the native engine and grpcio."""
