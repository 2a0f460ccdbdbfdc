"""A Ray cluster of several nodes on this machine, run by a process of its own: `python ray_nodes.py CPUS`.

It ends with its standard input, so that nothing is left of it however a test ends. Its memory is bounded.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
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

    def add(self, cpus: int = 2) -> None:
        """Start one more node."""
        self._ask("add", cpus)

    def kill(self, raylet: int) -> None:
        """Kill the processes of the node with this raylet, its process id."""
        self._ask("kill", raylet)

    def kill_head(self) -> None:
        """Kill the head node."""
        self._ask("kill", 0)

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
    head = cluster.add_node(num_cpus=cpus, include_dashboard=False, **_MEMORY)
    nodes = [head]
    print(json.dumps(cluster.address), file=tell, flush=True)
    try:
        for line in sys.stdin:
            word, number = json.loads(line)
            if word == "add":
                nodes.append(cluster.add_node(num_cpus=number, **_MEMORY))
            else:
                pids = {dict(node.live_processes())["raylet"].pid: node for node in nodes}
                end(pids.get(number, head))
            print("null", file=tell, flush=True)
    finally:
        for node in nodes:
            end(node)


def end(node: Any) -> None:
    """Kill a node, and its agents, which Ray lets run on."""
    raylet = dict(node.live_processes()).get("raylet")
    tasks = Path(f"/proc/{raylet.pid}/task").glob("*/children") if raylet is not None else ()
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    agents = [pid for pid in children if b"Agent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    for pid in agents:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
