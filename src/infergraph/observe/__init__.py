"""Observability: logs, metrics, traces and the payload log, and the units around units that record them."""
