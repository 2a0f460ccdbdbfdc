"""The outgoing half of the network: one HTTP client for nodes, clients and events."""
