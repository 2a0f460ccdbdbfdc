"""Nodes that answer elsewhere, over REST or gRPC."""
