"""The former address of `infergraph.graph.routers.combiners`, which deployment files may still name."""

from infergraph.graph.routers.combiners import MajorityVote, WeightedAverage

__all__ = ["MajorityVote", "WeightedAverage"]
