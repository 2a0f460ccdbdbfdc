"""A graph under the paths that an ingress would give it."""

from __future__ import annotations

from pathlib import Path

import pytest

from served import served

DEPLOYMENT = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: iris}
spec: {predictors: [{name: default, graph: {name: echo, type: MODEL, component: "components.py:Identity"}}]}
"""
HERE = Path(__file__).parent / "microservice"
ND = {"data": {"ndarray": [[1]]}}
PATHS = [
    ("/seldon/iris/api/v1.0/predictions", 200),
    ("/seldon/any/iris/api/v1.0/predictions", 200),
    ("/seldon/any/iris/api/v1.0/feedback", 200),
    ("/seldon/any/other/api/v1.0/predictions", 404),
    ("/seldon/any/iris/api/v1.0/nothing", 404),
    ("/api/v1.0/predictions", 200),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "iris.yaml"
    path.write_text(DEPLOYMENT.replace("components.py", str(HERE / "components.py")))
    return path


def test_paths_of_an_ingress_lead_to_the_same_graph(file: Path) -> None:
    """With gateway_paths the namespace may be any or none, and the deployment's name has to be right."""
    with served(str(file), gateway_paths=True) as there:
        for path, status in PATHS:
            body = {"request": ND} if path.endswith("feedback") else ND
            assert (path, there.post(path, body).status) == (path, status)
        assert there.get("/seldon/any/iris/api/v1.0/metadata/echo").status == 200


def test_without_being_asked_for_they_lead_nowhere(file: Path) -> None:
    """Without gateway_paths a graph answers 404 there, as the reference does."""
    with served(str(file)) as there:
        assert there.post("/seldon/any/iris/api/v1.0/predictions", ND).status == 404


def test_what_is_around_a_graph_hides_nothing_of_it(file: Path) -> None:
    """With a span around each request the deployment's name is the same, in the paths and in the headers of answers."""
    with served(str(file), gateway_paths=True, tracing=True, tracing_endpoint="http://127.0.0.1:1") as there:
        reply = there.post("/seldon/any/iris/api/v1.0/predictions", ND, **{"Ce-Specversion": "0.3", "Ce-Id": "1"})
        assert (reply.status, reply.headers.get("ce-source")) == (200, "seldon.iris")
