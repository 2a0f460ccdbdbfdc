"""Seldon's protocol: its REST endpoints and gRPC calls over the served unit."""
