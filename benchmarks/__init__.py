"""Measure this runtime side by side with its peers, in one run, on one machine (see README.md here)."""
