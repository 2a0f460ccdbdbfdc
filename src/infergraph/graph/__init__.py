"""Inference graphs: read one from a file or compose it in Python, and run it.

file ──spec──▶ Deployment of frozen Nodes ──┐
Python ──compose──▶ Node + user objects ────┴─▶ executor ─▶ one PredictiveUnit for the whole graph
"""
