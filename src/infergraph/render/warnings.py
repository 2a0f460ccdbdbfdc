"""What is not rendered, or not as it is written: nothing of a file is left out in silence.

Source: section B8 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infergraph.graph.placement import PredictorCut, Site
from infergraph.graph.spec import Deployment, Lines, Other, entries, member
from infergraph.protocol.annotations import SERVICE_NAME
from infergraph.render import names
from infergraph.render.findings import Findings
from infergraph.render.scene import Scene
from infergraph.render.traffic import ISTIO_HOST

_MESH = ("seldon.io/istio-", "seldon.io/ambassador-")
_OF_PODS = frozenset({"metadata", "spec", "replicas", "hpaspec", "kedaspec", "pdbspec"})
_OF_POD_METADATA = frozenset({"name", "labels", "annotations", "creationtimestamp"})
_OF_ORCHESTRATOR = frozenset({"env", "resources", "replicas"})


def of_other(other: Other, source: str, lines: Lines) -> str:
    """The warning about a document of another kind."""
    called = f"{other.kind} {other.name}".strip()
    line = lines.of(other.document, other.field)
    field = other.field or f"document {other.document + 1}"
    return f"{source}:{line}: warning: {field}: {called} is not rendered: apply it yourself"


def of_document(scene: Scene) -> None:
    """Find what is to be said of a document."""
    deployment, findings = scene.deployment, scene.findings
    of_deployment(findings, deployment, with_gateway=bool(scene.options.gateway))
    if deployment.protocol == "tensorflow" and deployment.transport == "grpc":
        findings.warn("spec.transport", "nodes of this protocol are called over REST")
    if deployment.name[:1].isdigit():
        findings.warn("metadata.name", "begins with a digit, and so do its Services, which older clusters refuse")
    for found in scene.cut.predictors:
        _of_predictor(scene, found)
    _of_options(scene)


def of_deployment(findings: Findings, deployment: Deployment, *, with_gateway: bool) -> None:
    """Find what is said of a deployment whatever it is rendered for.

    Args:
        with_gateway: the hosts of a mesh's gateway are rendered.
    """
    for problem in deployment.advice:
        findings.warn(problem.field, f"{problem.text}{f'; {problem.hint}' if problem.hint else ''}")
    for name in ("oauth_key", "oauth_secret"):
        if getattr(deployment, name):
            findings.warn(f"spec.{name}", "is not rendered: nothing has read it for years")
    if deployment.server_type == "kafka":
        findings.warn("spec.serverType", "kafka is not rendered: REST and gRPC are served")
    annotated = {"spec.annotations": deployment.annotations, "metadata.annotations": deployment.metadata_annotations}
    for number, predictor in enumerate(deployment.predictors):
        path = "" if deployment.bare else f"spec.predictors[{number}]."
        annotated[f"{path}annotations"] = predictor.annotations
    for field, members in annotated.items():
        for name in members:
            if name.startswith(_MESH) and not (with_gateway and name == ISTIO_HOST):
                findings.warn(f"{field}.{name}", "is not rendered: no mesh is configured")


def _of_predictor(scene: Scene, found: PredictorCut) -> None:
    predictor, field, findings = found.predictor, found.field, scene.findings
    if names.mended(predictor.name) != predictor.name:
        findings.warn(field("name"), f"{predictor.name} is no name for objects: {names.mended(predictor.name)} is used")
    given = predictor.annotations.get(SERVICE_NAME, "")
    if given and names.joined(given) != given:
        name = f"annotations.{SERVICE_NAME}"
        findings.warn(field(name), f"{given} is no name for a Service: it is called {names.joined(given)}")
    if predictor.engine_resources:
        findings.warn(field("engineResources"), "is not rendered: it is svcOrchSpec.resources that counts")
    for name in predictor.svc_orch_spec:
        if name.lower() not in _OF_ORCHESTRATOR:
            findings.warn(field(f"svcOrchSpec.{name}"), "unknown member, not rendered")
        elif found.front is None:
            findings.warn(field(f"svcOrchSpec.{name}"), "is not rendered: there is no orchestrator, by annotation")
    _of_what_is_beaten(findings, found)
    if member(predictor.ssl, "certSecretName"):
        findings.warn(field("ssl"), _of_tls(scene))
    _of_pods(scene, found)
    _of_nodes(scene, found)


def _of_what_is_beaten(findings: Findings, found: PredictorCut) -> None:
    """Members that hold nothing, because another one of the same place comes before them."""
    front = found.front
    if front is not None:
        for name, asked in (("replicas", front.asked.replicas), ("resources", front.asked.resources)):
            field = found.field(f"svcOrchSpec.{name}")
            if member(found.predictor.svc_orch_spec, name) is not None and asked is not None and asked.field != field:
                findings.warn(field, f"is not rendered: {asked.field} counts")
    for place in (*found.served, *found.foreign):
        if place.pod is None or place.node is None:
            continue
        pod = found.predictor.component_specs[place.pod]
        for name in place.node.placing:
            field = found.field(f"componentSpecs[{place.pod}].{name}")
            if member(pod, name) is not None:
                findings.warn(field, f"is not rendered: {place.field}.{name} counts")


def _of_tls(scene: Scene) -> str:
    if scene.serves_tls:
        return "all ports speak TLS, with tls.crt and tls.key of the secret: clients need https and grpcs"
    caller = "the gateway" if scene.options.gateway else "the split"
    return f"the certificate is mounted, and not used: {caller} calls the predictor without TLS"


def _of_pods(scene: Scene, found: PredictorCut) -> None:
    for number, pod in enumerate(found.predictor.component_specs):
        field = found.field(f"componentSpecs[{number}]")
        for name in pod:
            if name.lower() not in _OF_PODS:
                scene.findings.warn(f"{field}.{name}", "unknown member, not rendered")
        for name in member(pod, "metadata") or ():
            if name.lower() not in _OF_POD_METADATA:
                scene.findings.warn(f"{field}.metadata.{name}", "is not rendered")
        left = 0
        for place, container in enumerate(entries(member(pod, "spec"), "containers")):
            name = str(member(container, "name") or "")
            if name in found.dropped:
                text = f"the container {name} is not rendered: its node runs something else"
                scene.findings.warn(f"{field}.spec.containers[{place}]", text)
            else:
                left += 1
        if not left and _says_more(pod):
            scene.findings.warn(field, "is not rendered: it has no container")


def _says_more(pod: Mapping[str, Any]) -> bool:
    spec = member(pod, "spec") or {}
    others = [name for name, value in spec.items() if name.lower() != "containers" and value]
    return bool(others) or any(name.lower() != "spec" and value for name, value in pod.items())


def _of_nodes(scene: Scene, found: PredictorCut) -> None:
    served = {place.field for place in (*found.groups, *found.foreign) if place.pod is None}
    for field, node in found.nodes.items():
        if field in served and names.mended(node.name) != node.name:
            text = f"{node.name} is no name for objects: {names.mended(node.name)} is used"
            scene.findings.warn(f"{field}.name", text)
        if node.model_uri or found.sites[field] is Site.OUTSIDE:
            continue
        secrets = {
            "envSecretRefName": node.env_secret_ref_name,
            "storageInitializerImage": node.storage_initializer_image,
        }
        for name, value in secrets.items():
            if value:
                scene.findings.warn(f"{field}.{name}", "is not used: the node has no modelUri")


def _of_options(scene: Scene) -> None:
    for server in scene.options.server_images:
        if server in _servers_here(scene):
            text = f"{server} runs in the process of infergraph; for an image of its own give its container one"
            scene.findings.warn(f"--server-image {server}", text)


def _servers_here(scene: Scene) -> Iterator[str]:
    for found in scene.cut.predictors:
        for field, node in found.nodes.items():
            if node.packaged and found.sites[field] is Site.HERE:
                yield node.packaged
