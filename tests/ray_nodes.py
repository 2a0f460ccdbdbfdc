"""A Ray cluster of several nodes on this machine, run by a process of its own: `python ray_nodes.py CPUS`.

It ends with its standard input, so that nothing is left of it however a test ends. Its memory is bounded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_MEMORY = {"object_store_memory": 80 << 20, "memory": 1 << 30}


class RayNodes:
    """The cluster.

    Args:
        cpus: that the head says it has; 0 for a head without work.
        token: that the cluster asks for; empty for none.
    """

    def __init__(self, cpus: int = 2, *, token: str = "") -> None:
        mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **mode, "RAY_health_check_period_ms": "1000"},
        )
        self.address: str = self._told()

    def __enter__(self) -> RayNodes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, cpus: int = 2) -> str:
        """Start one more node; returns its id."""
        return str(self._ask("add", cpus))

    def remove(self, node: str) -> None:
        """Kill a node and all its processes. Raises: AssertionError for one that is not there."""
        self._ask("remove", node)

    def kill_head(self) -> None:
        """Kill the head node."""
        self._ask("remove", "head")

    def close(self) -> None:
        """End all nodes. Idempotent."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(60)

    def _ask(self, *words: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process of the Ray nodes has ended"
        return json.loads(line)


def main(cpus: int) -> None:
    """Run the cluster for the process that reads our standard output."""
    from ray.cluster_utils import Cluster

    tell, sys.stdout = sys.stdout, sys.stderr  # Ray prints
    cluster = Cluster()
    nodes = {"head": cluster.add_node(num_cpus=cpus, include_dashboard=False, **_MEMORY)}
    print(json.dumps(cluster.address), file=tell, flush=True)
    try:
        for line in sys.stdin:
            word, told = json.loads(line)
            if word == "add":
                node = cluster.add_node(num_cpus=told, **_MEMORY)
                nodes[node.node_id] = node
                print(json.dumps(node.node_id), file=tell, flush=True)
            else:
                node = nodes.pop(told)
                node.kill_all_processes(check_alive=False, allow_graceful=False)
                cluster.worker_nodes.discard(node)
                print("null", file=tell, flush=True)
    finally:
        for node in nodes.values():
            node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
