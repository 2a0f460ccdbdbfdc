"""The commands: each turns its arguments into settings and calls the part that does the work."""
