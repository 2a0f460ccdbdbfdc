"""What `infergraph render ray` writes, deployed with Ray Serve: asked, scaled, a server of it killed, and deleted."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from e2e.process_run import is_alive, parent_of, wait_for
from infergraph.protocol import services
from infergraph.wire import prediction
from ray_nodes import RayNodes
from ray_serve import RayServe

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

STEPS = """
import os


class First:
    def transform_input(self, X, names=None):
        return X + 1

    def tags(self):
        return {"first": os.getpid()}


class Middle:
    def transform_input(self, X, names=None):
        return X * 10

    def tags(self):
        return {"middle": os.getpid()}


class Last:
    def predict(self, X, names=None):
        return X

    def tags(self):
        return {"last": os.getpid()}
"""
GRAPH = """
kind: SeldonDeployment
metadata: {name: flow}
spec:
  predictors:
  - name: default
    graph:
      name: first
      type: TRANSFORMER
      component: steps.py:First
      children:
      - name: middle
        type: TRANSFORMER
        component: steps.py:Middle
        replicas: 2
        resources: {requests: {cpu: 100m}}
        children:
        - name: last
          type: MODEL
          component: steps.py:Last
          resources: {requests: {cpu: 100m}}
          hpaSpec: {minReplicas: 1, maxReplicas: 2}
"""
COMMAND = str(Path(sys.executable).with_name("infergraph"))
WAIT_S = 120.0


def config_of(folder: Path) -> dict[str, Any]:
    """What is rendered of the graph, on ports of this machine, with its code in `folder`."""
    (folder / "steps.py").write_text(STEPS)
    (folder / "graph.yaml").write_text(GRAPH)
    command = [COMMAND, "render", "ray", "graph.yaml", "--serve-config"]
    text = subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
    config: dict[str, Any] = yaml.safe_load(text)
    with socket.create_server(("127.0.0.1", 0)) as http_port, socket.create_server(("127.0.0.1", 0)) as grpc_port:
        config["http_options"] = {"host": "127.0.0.1", "port": http_port.getsockname()[1]}
        config["grpc_options"]["port"] = grpc_port.getsockname()[1]
    config["applications"][0]["runtime_env"] = {"working_dir": f"local://{folder}"}
    return config


class Flow:
    """The application, behind Serve's proxies."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.http_port = config["http_options"]["port"]
        self.grpc_port = config["grpc_options"]["port"]

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer over HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def predict(self) -> dict[str, Any]:
        """The answer to a prediction."""
        body = json.dumps({"data": {"ndarray": [[3]]}}).encode()
        status, _, answer = self.ask("POST", "/api/v1.0/predictions", body)
        assert status == 200, answer
        found: dict[str, Any] = json.loads(answer)
        assert found["data"]["ndarray"] == [[40]]
        return found

    def pids(self) -> dict[str, set[int]]:
        """The processes that have answered at each node, of some requests."""
        tags = [self.predict()["meta"]["tags"] for _ in range(12)]
        return {node: {each[node] for each in tags} for node in ("first", "middle", "last")}

    def call(self, name: str, data: Any) -> Any:
        """The answer to a call over gRPC."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            raw = channel.unary_unary(services.path(name))(data.SerializeToString(), timeout=60)
            return prediction.SeldonMessage.FromString(raw)


def test_what_is_rendered_runs_is_scaled_and_leaves_nothing(tmp_path: Path) -> None:
    """Both proxies answer as the front does; the file scales groups, and servers that end are replaced, and deleted."""
    config = config_of(tmp_path)
    flow = Flow(config)
    with RayNodes(4) as nodes, RayServe(nodes.address) as serve:
        serve.ask("deploy", config)
        told = serve.ask("status")["flow"]
        assert (told["status"], told["message"]) == ("RUNNING", "")
        assert told["deployments"] == {
            "addresses": {"RUNNING": 1},
            "default.last": {"RUNNING": 1},
            "default.middle": {"RUNNING": 2},
            "front": {"RUNNING": 1},
        }
        before = flow.pids()
        assert {node: len(found) for node, found in before.items()} == {"first": 1, "middle": 2, "last": 1}
        the_answers_are_those_of_the_front(flow)
        (middle,) = (each for each in config["applications"][0]["deployments"] if each["name"] == "default.middle")
        middle["num_replicas"] = 3
        serve.ask("deploy", config)
        wait_for("the third replica", lambda: len(flow.pids()["middle"]) == 3, WAIT_S)
        (last,) = before["last"]
        os.kill(parent_of(last), signal.SIGKILL)
        wait_for("the end of its worker", lambda: not is_alive(last))
        wait_for("another replica", lambda: flow.ask("GET", "/ready")[0] == 200 and answers(flow), WAIT_S)
        after = flow.pids()
        assert last not in after["last"]
        serve.ask("delete", "flow")
        wait_for("the end of all servers", lambda: not any(map(is_alive, set.union(*after.values(), *before.values()))))
        serve.ask("shutdown")


def the_answers_are_those_of_the_front(flow: Flow) -> None:
    """Status, headers and body over HTTP, message and status over gRPC, are what the front's server says."""
    status, headers, body = flow.ask("POST", "/api/v1.0/predictions", b"[")
    assert (status, headers["content-type"], "status" in json.loads(body)) == (400, "application/json", True)
    assert flow.ask("GET", "/none?of=this")[0] == 404
    status, headers, body = flow.ask("HEAD", "/live")
    assert (status, body) == (200, b"")
    message = prediction.SeldonMessage(data={"tensor": {"shape": [1, 1], "values": [3]}})
    for name in ("Seldon/Predict", "Model/Predict"):
        assert list(flow.call(name, message).data.tensor.values) == [40]
    with pytest.raises(grpc.RpcError) as refused:
        flow.call("Combiner/Aggregate", prediction.SeldonMessageList())
    assert refused.value.code() not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)


def answers(flow: Flow) -> bool:
    """Whether a prediction succeeds."""
    return flow.ask("POST", "/api/v1.0/predictions", b'{"data": {"ndarray": [[3]]}}')[0] == 200
