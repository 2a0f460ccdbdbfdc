"""Inference graphs: read from a file or composed in Python, and executed.

file ──spec──▶ Deployment of frozen Nodes ──┐
Python ──compose──▶ Node + user objects ────┴─▶ executor ─▶ one PredictiveUnit for the whole graph
"""
