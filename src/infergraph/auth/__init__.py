"""Callers and their secrets: keys, certificates, tokens."""
