"""Ray Serve on a cluster, spoken to by lines: `python ray_serve.py ADDRESS`.

`["deploy", CONFIG]` deploys a configuration and waits for its applications, `["status"]` tells them, `["delete", NAME]`
ends one, `["shutdown"]` ends Serve. What it starts is Serve's, and stays when this process ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class RayServe:
    """Serve on the cluster at an address."""

    def __init__(self, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        )

    def __enter__(self) -> RayServe:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(60)

    def ask(self, *words: object) -> Any:
        """Say a line; returns the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the driver of Ray Serve has ended"
        return json.loads(line)


def main(address: str) -> None:
    """Do what standard input says."""
    import ray
    from ray import serve
    from ray.serve._private.api import serve_start
    from ray.serve.schema import ServeDeploySchema

    tell, sys.stdout = sys.stdout, sys.stderr
    ray.init(address=address, namespace="serve", log_to_driver=False)
    for line in sys.stdin:
        word, *told = json.loads(line)
        answer: Any = None
        if word == "deploy":
            config = ServeDeploySchema.model_validate(told[0])
            client = serve_start(
                http_options={**told[0]["http_options"], "location": "EveryNode"}, grpc_options=told[0]["grpc_options"]
            )
            client.deploy_apps(config, _blocking=True)
        elif word == "status":
            answer = {
                name: {"status": found.status.value, "message": found.message}
                | {"deployments": {each: dict(status.replica_states) for each, status in found.deployments.items()}}
                for name, found in serve.status().applications.items()
            }
        elif word == "delete":
            serve.delete(told[0])
        else:
            serve.shutdown()
        print(json.dumps(answer), file=tell, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
