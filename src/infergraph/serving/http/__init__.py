"""The HTTP server: listener, connections, routing, and the two dialects of the protocol."""
