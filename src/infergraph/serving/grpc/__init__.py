"""The gRPC edge of the Seldon protocol."""
