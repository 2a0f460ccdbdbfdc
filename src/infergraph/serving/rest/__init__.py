"""The REST edge of the Seldon protocol."""
