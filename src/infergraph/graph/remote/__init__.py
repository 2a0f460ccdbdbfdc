"""Remote nodes, over REST or gRPC."""
