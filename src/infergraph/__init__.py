"""infergraph: any Python class as a predictive unit, units as graphs, JSONL files as durable tasks."""

__version__ = "0.1.0"
