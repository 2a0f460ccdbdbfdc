"""The servers: REST, gRPC, task API and console over one unit."""
