"""The REST edge: paths to methods of a unit."""
