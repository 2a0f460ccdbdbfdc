"""`infergraph render ray`: Ray Serve's configuration of a deployment, and a RayService around it.

    Deployment ──cut──▶ the front and groups, a Serve deployment each ──▶ config ──▶ RayService, a worker group each

Source: part C of the Kubernetes notes; the schema of Ray Serve's configuration file; KubeRay's API reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from infergraph.graph import compose, spec
from infergraph.graph.placement import Asked, Cut, Given, Place, PlaceKind, PredictorCut, cut
from infergraph.graph.placement.ray_options import actor_options, asks_for_cpus, in_flight_target
from infergraph.graph.spec import Deployment, Node, entries, member
from infergraph.protocol.annotations import NO_ENGINE
from infergraph.render import warnings
from infergraph.render.deployment_file import DeploymentFile
from infergraph.render.documents import respelt
from infergraph.render.findings import Findings
from infergraph.render.here import orchestrator_environment
from infergraph.render.models import is_fetched
from infergraph.render.services import HEADLESS
from infergraph.render.workloads import without
from infergraph.render.yaml_text import Noted
from infergraph.settings import Settings

FRONT = "front"
_FRONT_CPUS = 0.5
APPLICATION = "infergraph.ray:app"
POLICY = "infergraph.ray:by_requests_in_flight"
_SERVICES = ("Model", "Router", "Transformer", "OutputTransformer", "Combiner", "Generic", "Seldon")
_SPLIT = "{} is not rendered: several predictors are served by one front, whose number is spec.replicas"


class RayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is rendered for Ray.

    Args:
        image: with Ray, infergraph and the code of the nodes.
        ray_version: of that image.
        namespace: of the RayService; empty for that of each document.
        overrides: targets or addresses by node name.
        target_in_flight: requests in progress that each replica should have, where the file does not say.
    """

    image: str = ""
    ray_version: str = ""
    namespace: str = ""
    overrides: Mapping[str, str] = {}
    target_in_flight: int = 2


class Replicated(msgspec.Struct, frozen=True, kw_only=True):
    """A Serve deployment, and what its worker group needs.

    Args:
        resources: of its container, in the shape of Kubernetes.
        pod: members of the user's pod that its worker group takes over.
        container: its container in the file.
    """

    document: dict[str, Any]
    resources: dict[str, Any]
    bounds: tuple[int, int]
    pod: Mapping[str, Any] = {}
    container: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The name of the Serve deployment."""
        return str(self.document["name"])


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """The Serve application of a deployment."""

    deployment: Deployment
    namespace: str
    document: dict[str, Any]
    replicated: tuple[Replicated, ...]


class Surveyed(NamedTuple):
    """The applications of a file, the warnings about it, and the reasons to refuse it, a line each."""

    applications: list[Application]
    warnings: list[str]
    refusals: list[str]


def applications(text: str, source: str, options: RayOptions) -> Surveyed:
    """The Serve applications of a deployment file.

    Args:
        source: the name of the file, for messages.
    Raises: GraphError for a file that cannot be read, or lacks a node of the overrides.
    """
    file = DeploymentFile(text, source, options.overrides)
    found = []
    several = len(file.deployments) > 1
    for deployment in file.deployments:
        maker = _Maker(cut(deployment, options.overrides), options, prefix=f"/{deployment.name}" if several else "/")
        found.append(maker.application())
        file.add(maker.findings)
    return Surveyed([] if file.refusals else found, file.warnings, file.refusals)


def serve_config(found: list[Application]) -> dict[str, Any]:
    """Ray Serve's configuration of applications."""
    functions = [f"infergraph.ray:add_{service}Servicer_to_server" for service in _SERVICES]
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": 8000},
        "grpc_options": {"port": 9000, "grpc_servicer_functions": functions},
        "applications": [application.document for application in found],
    }


class _Maker:
    """Makes the application of a deployment."""

    def __init__(self, found: Cut, options: RayOptions, *, prefix: str) -> None:
        self.findings = Findings(found.deployment)
        self._cut = found
        self._options = options
        self._prefix = prefix

    def application(self) -> Application:
        """The application."""
        deployment = self._cut.deployment
        warnings.of_deployment(self.findings, deployment, with_gateway=False)
        if any(HEADLESS in each for each in (deployment.annotations, deployment.metadata_annotations)):
            self.findings.warn("spec.annotations", f"{HEADLESS} is not rendered: Ray's own Services stand before it")
        for found in self._cut.predictors:
            for place in found.foreign:
                text = (
                    f"node {place.name!r} has an image of its own; Ray runs code: give --node "
                    f"{place.name}=module:Class, or leave it at an address"
                )
                self.findings.refuse(place.field, text)
            self._warn_of(found)
        replicated = tuple(self._replicated())
        args = {"graph": spec.deployment_document(self._overridden()), "settings": {"tasks": "off"}}
        document = {
            "name": deployment.name,
            "route_prefix": self._prefix,
            "import_path": APPLICATION,
            "args": args,
            "deployments": [each.document for each in replicated],
        }
        if any("autoscaling_config" in each.document for each in replicated):
            document["autoscaling_policy"] = {"policy_function": POLICY}
        namespace = self._options.namespace or deployment.namespace
        return Application(deployment=deployment, namespace=namespace, document=document, replicated=replicated)

    def _warn_of(self, found: PredictorCut) -> None:
        predictor = found.predictor
        lost = {
            "ssl": "is not rendered: Ray Serve's proxies speak plain HTTP",
            "engineResources": "is not rendered: it is svcOrchSpec.resources that counts",
            "explainer": "is not rendered: serve it as a node",
            "progressDeadlineSeconds": "is not rendered: Ray Serve has no such member",
        }
        given = (predictor.ssl, predictor.engine_resources, predictor.explainer, predictor.progress_deadline_seconds)
        for (name, text), value in zip(lost.items(), given, strict=True):
            if value not in ({}, None):
                self.findings.warn(found.field(name), text)
        if NO_ENGINE in predictor.annotations:
            self.findings.warn(found.field("annotations"), f"{NO_ENGINE} is not rendered: there is always a front")

    # ── deployments ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _replicated(self) -> Iterator[Replicated]:
        yield self._front()
        for found in self._cut.predictors:
            for place in found.groups:
                yield self._of(f"{found.predictor.name}.{place.name}", place, place.asked, cpus=1)

    def _front(self) -> Replicated:
        """The front of the only predictor; of several the one that has the fronts of all, and the split."""
        fronts = [found.front for found in self._cut.predictors if found.front is not None]
        if len(self._cut.predictors) == 1 and fronts:
            return self._of(FRONT, fronts[0], fronts[0].asked, cpus=_FRONT_CPUS)
        for place in fronts:
            for given in (place.asked.replicas, place.asked.hpa_spec, place.asked.keda_spec, place.asked.resources):
                if given is not None and given.field != "spec.replicas":
                    self.findings.warn(given.field, _SPLIT.format(given.field.rpartition(".")[2]))
        number = self._cut.deployment.replicas
        asked = Asked(replicas=None if number is None else Given(number, "spec.replicas"))
        return self._of(FRONT, fronts[0] if fronts else None, asked, cpus=_FRONT_CPUS)

    def _of(self, name: str, place: Place | None, asked: Asked, *, cpus: float) -> Replicated:
        numbers, bounds = self._numbers(asked)
        resources = dict(asked.resources.value) if asked.resources is not None else {}
        if not asks_for_cpus(resources):
            resources["requests"] = {"cpu": _text(cpus)} | (member(resources, "requests") or {})
        options = actor_options(resources)
        pod, container = self._pod(place)
        variables = self._variables(place, container)
        if variables:
            options["runtime_env"] = {"env_vars": variables}
        if place is not None:
            self._warn_of_place(place)
        document = {
            "name": name,
            **numbers,
            "graceful_shutdown_timeout_s": Settings().grace_s,
            "ray_actor_options": options,
        }
        return Replicated(document=document, resources=resources, bounds=bounds, pod=pod, container=container)

    def _numbers(self, asked: Asked) -> tuple[dict[str, Any], tuple[int, int]]:
        """The number of replicas, or the bounds of an autoscaler; and the least and the most."""
        bounds = asked.bounds
        if bounds is None:
            number = 1 if asked.replicas is None else int(asked.replicas.value)
            if number == 0 and asked.replicas is not None:
                self.findings.refuse(asked.replicas.field, "0 is refused by Ray Serve: leave the node out, or give 1")
            source = "default" if asked.replicas is None else asked.replicas.field
            return {"num_replicas": Noted(number, source)}, (number, number)
        given = asked.keda_spec or asked.hpa_spec
        assert given is not None
        least, most = bounds
        if least > most:
            self.findings.refuse(given.field, f"the least number of replicas, {least}, is above the most, {most}")
        if asked.replicas is not None and asked.replicas.field.startswith(given.field.rpartition(".")[0]):
            self.findings.warn(asked.replicas.field, "is not rendered: the autoscaler chooses the number")
        scaling = {"min_replicas": least, "max_replicas": most, **self._target(asked)}
        return {"autoscaling_config": Noted(scaling, given.field)}, (least, most)

    def _target(self, asked: Asked) -> dict[str, Any]:
        usual = Noted(self._options.target_in_flight, "--target-in-flight")
        if asked.keda_spec is not None:
            if asked.hpa_spec is not None:
                self.findings.warn(asked.hpa_spec.field, f"is not rendered: {asked.keda_spec.field} counts")
            text = "are not rendered: Ray Serve scales by requests in progress, --target-in-flight for each replica"
            self.findings.warn(f"{asked.keda_spec.field}.triggers", text)
            cooldown = member(asked.keda_spec.value, "cooldownPeriod")
            more = {} if cooldown is None else {"downscale_to_zero_delay_s": cooldown}
            return {"target_ongoing_requests": usual, **more}
        assert asked.hpa_spec is not None
        target: Any = usual
        for kind in ("metrics", "metricsv2"):
            for metric in entries(asked.hpa_spec.value, kind):
                found = in_flight_target(metric)
                if found is None:
                    text = f"{_named(metric)} is not rendered: Ray Serve scales by requests in progress"
                    self.findings.warn(f"{asked.hpa_spec.field}.{kind}", f"{text}, --target-in-flight for each replica")
                else:
                    target = Noted(found, f"{asked.hpa_spec.field}.{kind}")
        return {"target_ongoing_requests": target}

    # ── pods ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pod(self, place: Place | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a worker group takes over of the user's pod, and the container of the node."""
        if place is None or place.pod is None:
            return {}, {}
        found = self._cut.predictors[place.predictor]
        document = found.predictor.component_specs[place.pod]
        written = respelt(member(document, "spec"), (*_TAKEN_OVER, "containers"))
        own = [each for each in entries(written, "containers") if member(each, "name") == place.name]
        others = [str(member(each, "name")) for each in entries(written, "containers") if each not in own]
        field = found.field(f"componentSpecs[{place.pod}]")
        if others:
            self.findings.warn(f"{field}.spec.containers", f"{', '.join(others)}: not rendered beside a Ray worker")
        self._warn_of_others(written, (*_TAKEN_OVER, "containers"), f"{field}.spec")
        container = respelt(own[0], _CONTAINER) if own else {}
        self._warn_of_others(container, _CONTAINER, f"{field}.spec.containers")
        return {name: written[name] for name in _TAKEN_OVER if name in written}, container

    def _warn_of_others(self, written: Mapping[str, Any], known: Sequence[str], field: str) -> None:
        for name in written:
            if name not in known:
                self.findings.warn(f"{field}.{name}", "is not rendered for Ray's workers")

    def _variables(self, place: Place | None, container: Mapping[str, Any]) -> dict[str, str]:
        """The variables whose values stand in the file: the front's from svcOrchSpec, then the container's."""
        found: dict[str, str] = {}
        if place is not None and place.kind is PlaceKind.FRONT:
            predictor = self._cut.predictors[place.predictor]
            for variable, _ in orchestrator_environment(self._cut.deployment, predictor):
                if member(variable, "value") is not None:
                    found[str(member(variable, "name"))] = str(member(variable, "value"))
        for variable in entries(container, "env"):
            if member(variable, "value") is not None:
                found[str(member(variable, "name"))] = str(member(variable, "value"))
        return found

    def _warn_of_place(self, place: Place) -> None:
        found = self._cut.predictors[place.predictor]
        if place.asked.pdb_spec is not None:
            self.findings.warn(place.asked.pdb_spec.field, "is not rendered: Ray Serve has no disruption budgets")
        for field, node in found.nodes.items():
            if found.homes[field] == place.field and node.model_uri and node.name not in self._options.overrides:
                self._warn_of_model(field, node)

    def _warn_of_model(self, field: str, node: Node) -> None:
        if node.env_secret_ref_name and is_fetched(node.model_uri):
            text = f"{node.env_secret_ref_name} is not read: pass its variables as env_vars, or by the workers' pods"
            self.findings.warn(f"{field}.envSecretRefName", text)
        if node.storage_initializer_image:
            text = "is not rendered: models are fetched by fsspec"
            self.findings.warn(f"{field}.storageInitializerImage", text)

    # ── the graph ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _overridden(self) -> Deployment:
        """The deployment with the overrides in its graph, and without the containers that they replace."""
        overrides = self._options.overrides
        if not overrides:
            return self._cut.deployment
        predictors = []
        for found in self._cut.predictors:
            graph = _replaced(found.predictor.graph, overrides)
            pods = tuple(without(pod, found.dropped) for pod in found.predictor.component_specs)
            predictors.append(replace(found.predictor, graph=graph, component_specs=pods))
        return replace(self._cut.deployment, predictors=tuple(predictors))


_TAKEN_OVER = (
    "volumes",
    "tolerations",
    "affinity",
    "nodeSelector",
    "imagePullSecrets",
    "serviceAccountName",
)
_CONTAINER_TAKEN_OVER = ("env", "envFrom", "volumeMounts")
_CONTAINER = (*_CONTAINER_TAKEN_OVER, "name", "image", "resources")


def _replaced(node: Node, overrides: Mapping[str, str]) -> Node:
    """A node and those below it, each with its override in the place of what the file says."""
    fallback = _replaced(node.fallback, overrides) if isinstance(node.fallback, Node) else node.fallback
    children = tuple(_replaced(child, overrides) for child in node.children)
    node = replace(node, fallback=fallback, children=children)
    target = overrides.get(node.name)
    if target is None:
        return node
    node = replace(node, implementation=None, model_uri="", component="", endpoint=None)
    if "://" in target:
        return replace(node, endpoint=compose.remote(target), parameters=())
    return replace(node, component=target)


def _text(cpus: float) -> str:
    return str(int(cpus)) if float(cpus).is_integer() else f"{int(cpus * 1000)}m"


def _named(metric: Mapping[str, Any]) -> str:
    """What a metric measures."""
    kind = str(member(metric, "type") or "")
    found = member(metric, f"{kind[:1].lower()}{kind[1:]}")
    name = member(found, "name") or member(found, "metricName") or member(member(found, "metric"), "name")
    return f"{kind} {name or ''}".strip()
