"""The former address of `infergraph.graph.routers.bandits`, which deployment files may still name."""

from infergraph.graph.routers.bandits import EpsilonGreedy, ThompsonSampling

__all__ = ["EpsilonGreedy", "ThompsonSampling"]
