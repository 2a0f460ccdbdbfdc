"""Deployment files of any shape, by a seed: nodes of all kinds, pods, numbers, names as other people write them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Any

Document = dict[str, Any]
_SERVERS = (
    "SKLEARN_SERVER",
    "XGBOOST_SERVER",
    "TENSORFLOW_SERVER",
    "TRITON_SERVER",
    "HUGGINGFACE_SERVER",
    "ONNX_SERVER",
)
_URIS = (
    "s3://bucket/x",
    "gs:bucket",
    "pvc://claim/x/y",
    "pvc://claim",
    "/in/the/image",
    "beside/the/file",
    "file:///x",
)
_NAMES = ("", "", "", "", "x_y", "A.b", "q" * 70, "w" * 46, "分类")
_METRIC = {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 3}}


def deployment(seed: int) -> Document:
    """A deployment; the same for the same seed. Some are not valid."""
    return _Maker(random.Random(seed)).deployment()


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._names: Iterator[int] = count()
        self._containers: list[Document] = []

    def _is(self, share: float) -> bool:
        return self._rng.random() < share

    def _maybe(self, share: float, **members: Any) -> Document:
        return {name: value for name, value in members.items() if self._is(share)}

    def deployment(self) -> Document:
        predictors = [self._predictor(f"p{place}") for place in range(self._rng.choice([1, 1, 1, 2, 3]))]
        for predictor, traffic in zip(predictors if len(predictors) > 1 else (), (30, 70), strict=False):
            predictor["traffic"] = traffic
        for predictor in predictors[2:]:
            predictor["shadow"] = True
        annotations = {"seldon.io/engine-x-y": "z", **self._maybe(0.3, **{"seldon.io/no-storage-initializer": "true"})}
        spec = {
            **self._maybe(0.5, protocol=self._rng.choice(["seldon", "v2", "tensorflow", "kfserving"])),
            **self._maybe(0.2, transport=self._rng.choice(["rest", "grpc"]), replicas=self._rng.choice([0, 2])),
            **self._maybe(0.3, annotations=annotations),
            "predictors": predictors,
        }
        metadata = {"name": "dep", **self._maybe(0.3, labels={"app": "theirs"}, namespace="space")}
        head = {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment"}
        return {**head, "metadata": metadata, "spec": spec}

    def _predictor(self, name: str) -> Document:
        self._containers = []
        graph = self._node(0)
        graph.pop("shadow", None)
        orchestrator = {"replicas": 3, "resources": {"limits": {"cpu": "1"}}, "env": [{"name": "E", "value": "1"}]}
        explainer = {"type": "AnchorText", "modelUri": "gs://e", "containerSpec": {"name": "explainer"}}
        more = self._maybe(
            0.2,
            replicas=2,
            svcOrchSpec=orchestrator,
            labels={"version": "v", "team": "x"},
            annotations={"a/b": "c", "seldon.io/svc-name": f"door-{name}"},
            ssl={"certSecretName": "c"},
            explainer=explainer,
        )
        return {"name": name, "graph": graph, "componentSpecs": list(self._pods()), **more}

    def _node(self, depth: int) -> Document:
        node: Document = {"name": f"{self._rng.choice(_NAMES)}n{next(self._names)}"}
        kind = self._rng.choice(["image", "image", "component", "component", "server", "mean", "outside", "chain"])
        uri = {"modelUri": self._rng.choice(_URIS)}
        match kind:
            case "image":
                node |= {"type": "MODEL", **({"component": "a.py:B"} if self._is(0.2) else {})}
                self._containers.append({"name": node["name"], "image": "theirs:1"})
            case "component":
                node |= {"type": self._rng.choice(["MODEL", "TRANSFORMER"]), "component": "a.py:B"}
            case "server":
                node |= {"implementation": self._rng.choice(_SERVERS), **uri}
            case "mean":
                node["implementation"] = "AVERAGE_COMBINER"
            case "outside":
                endpoint = {"service_host": "far.example.org", "service_port": 9, "type": "REST"}
                node |= {"type": "MODEL", "endpoint": endpoint}
            case _:
                node["type"] = "CHAIN"
        if kind in ("component", "server") and self._is(0.4):
            self._containers.append({"name": node["name"], **self._maybe(0.3, image="own:1")})
        if kind != "outside":
            node |= self._maybe(0.1, replicas=self._rng.choice([0, 3]), hpaSpec={"maxReplicas": 3}, resources=_CPU)
        node |= self._maybe(0.1, serviceAccountName="a", envSecretRefName="sec", shadow=True, **uri)
        node |= self._maybe(0.2, parameters=[{"name": "p", "value": "1", "type": "INT"}])
        if depth < 3:
            number = 2 if kind in ("mean", "chain") else self._rng.choice([0, 0, 1, 2])
            node |= {"children": [self._node(depth + 1) for _ in range(number)]} if number else {}
            node |= {"fallback": self._node(3)} if self._is(0.1) else {}
        return node

    def _pods(self) -> Iterator[Document]:
        self._rng.shuffle(self._containers)
        while self._containers:
            number = self._rng.randint(1, 3)
            containers, self._containers = self._containers[:number], self._containers[number:]
            containers[0] |= self._maybe(
                0.2,
                ports=[{"name": self._rng.choice(["http", "grpc", "metrics"]), "containerPort": 8080}],
                env=[{"name": self._rng.choice(["PREDICTOR_ID", "X", "INFERGRAPH_WORKERS"]), "value": "1"}],
            )
            if self._is(0.2):
                containers.append({"name": "side", "image": "s", "ports": [{"containerPort": 80}]})
            volumes = [{"name": self._rng.choice(["data", "tmp", "graph", "models", "v"]), "emptyDir": {}}]
            pod = {"containers": containers, **self._maybe(0.2, volumes=volumes, serviceAccountName="account")}
            more = self._maybe(
                0.2,
                replicas=self._rng.choice([0, 2]),
                hpaSpec={"maxReplicas": 2, "metrics": [_METRIC]},
                pdbSpec={"minAvailable": 1},
                kedaSpec={"triggers": [{"type": "cpu", "metadata": {"value": "3"}}]},
                metadata={"name": "mine", "labels": {"a": "b"}},
            )
            yield {"spec": pod, **more}


_CPU = {"requests": {"cpu": "1"}}
