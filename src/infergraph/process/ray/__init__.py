"""A cut graph's groups on a Ray cluster: Ray places and supervises their servers, and requests go straight to these."""
