"""Pages and static files; served by `infergraph.serving`."""
