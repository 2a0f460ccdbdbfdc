"""Graphs in Python, without files: compose one, run it, test it, write it as a deployment file.

from infergraph.flow import model, run, transformer

flow = transformer("clean", Clean(), model("classify", Classify()))
graph = run(flow)
graph([[1, 2]])                     # a plain call, for scripts and notebooks
await graph.predict([[1, 2]])       # the same where an event loop runs
print(flow.to_yaml("my-graph"))     # what `infergraph serve` takes
"""

from infergraph.assembly.graphs import assemble as run
from infergraph.graph.compose import (
    Flow,
    built_in,
    chain,
    combiner,
    component,
    model,
    output_transformer,
    packaged,
    remote,
    router,
    transformer,
)

__all__ = [
    "Flow",
    "built_in",
    "chain",
    "combiner",
    "component",
    "model",
    "output_transformer",
    "packaged",
    "remote",
    "router",
    "run",
    "transformer",
]
