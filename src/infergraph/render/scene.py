"""What the parts of a rendering share: one document, its cut, the options, and what there is to say about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from infergraph.graph.placement import Cut, Place, PlaceKind
from infergraph.graph.spec import Deployment
from infergraph.protocol.paths import Protocol
from infergraph.render import names
from infergraph.render.findings import Findings
from infergraph.render.options import Options
from infergraph.render.ports import FIRST_METRICS, Spot, metrics_ports
from infergraph.render.workloads import Workload, front_service, node_service
from infergraph.render.yaml_text import Noted


class Object(NamedTuple):
    """A Kubernetes object, and what it comes from: a path in the document."""

    document: dict[str, Any]
    field: str

    @property
    def kind(self) -> str:
        """The kind."""
        return str(self.document["kind"])

    @property
    def name(self) -> str:
        """The name."""
        return str(self.document["metadata"]["name"])


class Scene:
    """One document that is rendered.

    Args:
        cut: of its deployment.
    """

    def __init__(self, cut: Cut, options: Options, findings: Findings) -> None:
        self.cut = cut
        self.options = options
        self.findings = findings
        self.id = names.identity(cut.deployment.name)
        self.namespace = options.namespace or cut.deployment.namespace
        self._metrics: Mapping[Spot, int] = metrics_ports(cut.deployment)

    @property
    def deployment(self) -> Deployment:
        """The deployment, as it was read."""
        return self.cut.deployment

    @property
    def is_v2(self) -> bool:
        """Whether its protocol is the open inference protocol."""
        return Protocol.named(self.deployment.protocol) is Protocol.V2

    @property
    def serves_tls(self) -> bool:
        """Whether a front with a certificate serves by TLS: where clients call it, not a split or a gateway."""
        return len(self.deployment.predictors) == 1 and not self.options.gateway

    def service(self, place: Place) -> str:
        """The name of the Service of a place."""
        predictor = self.cut.predictors[place.predictor].predictor
        if place.kind is PlaceKind.FRONT:
            return front_service(self.deployment.name, predictor)
        return node_service(self.deployment.name, predictor, place.name)

    def metrics_port(self, place: Place, workload: Workload) -> int:
        """The port with the metrics of a place."""
        return self._metrics.get((place.predictor, workload.pod, place.name), FIRST_METRICS)

    def metadata(self, name: str, labels: Mapping[str, Any], annotations: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata of an object, with the document's labels and annotations under its own; a clash is a warning."""
        document = self.deployment
        for key, value in labels.items():
            if key.startswith(_OURS) and document.labels.get(key, value) != value:
                self.findings.warn(f"metadata.labels.{key}", "is not rendered: it is a label of ours")
        found: dict[str, Any] = {"name": name}
        if self.namespace:
            given = Noted(self.namespace, "--namespace")
            found["namespace"] = given if self.options.namespace else self.namespace
        found["labels"] = {**document.labels, **labels}
        kept = {key: text for key, text in document.metadata_annotations.items() if key != _LAST_APPLIED}
        if kept or annotations:
            found["annotations"] = {**kept, **annotations}
        return found


_OURS = ("app.kubernetes.io/", "seldon-deployment-id")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
