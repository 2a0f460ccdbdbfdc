"""The version of the interface that these modules provide."""

__version__ = "1.18.2+infergraph"
"""PEP 440: counts as 1.18.2 in every comparison; the local part says who answers."""
