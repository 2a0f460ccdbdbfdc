"""HTTP: connections, limits, bodies, answers."""
