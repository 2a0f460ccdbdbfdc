"""What is refused: all reasons at once, each with its line.

Source: section B9 of the Kubernetes notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from infergraph.graph import inspection, spec
from infergraph.graph.placement import Place, PredictorCut
from infergraph.graph.spec import entries, member
from infergraph.render import names, servers
from infergraph.render.findings import Findings
from infergraph.render.foreign import TENSORFLOW
from infergraph.render.scene import Object, Scene

Owners = dict[tuple[str, str, str], tuple[Scene, Object]]


def of_check(reading: spec.Reading, lines: spec.Lines, overrides: Mapping[str, str]) -> list[str]:
    """The problems that `infergraph check` has with a file, a line each."""
    if reading.problems:
        source = reading.deployments[0].source
        return [
            _worded(f"{source}:{lines.of(document, problem.field)}", problem) for document, problem in reading.problems
        ]
    found = []
    for deployment in reading.deployments:
        for problem in inspection.validate(deployment, deployment, overrides):
            line = lines.of(deployment.document, deployment.field(problem.field))
            found.append(_worded(f"{deployment.source}:{line}", problem))
    return found


def _worded(where: str, problem: spec.Problem) -> str:
    return f"{where}: {problem}{f' ({problem.hint})' if problem.hint else ''}"


def of_document(scene: Scene) -> None:
    """Find what a document alone is refused for."""
    name = scene.deployment.name
    if not names.is_subdomain(name):
        text = f"{name!r} is no Kubernetes name: lower-case letters, digits, '-' and '.', at most 253"
        scene.findings.refuse("metadata.name", text)
    if scene.namespace and not names.is_label(scene.namespace):
        field = "--namespace" if scene.options.namespace else "metadata.namespace"
        scene.findings.refuse(field, f"{scene.namespace!r} is no name of a namespace")
    _of_image(scene)
    for found in scene.cut.predictors:
        _of_servers(scene, found)
        for pod, document in enumerate(found.predictor.component_specs):
            field = found.field(f"componentSpecs[{pod}]")
            contained = [
                each for each in entries(member(document, "spec"), "containers") if _name(each) not in found.dropped
            ]
            for twice, times in Counter(map(_name, contained)).items():
                if times > 1:
                    scene.findings.refuse(field, f"container {twice} stands twice in this pod")
            for each in contained:
                if not member(each, "image") and not _needs_none(found, _name(each)):
                    scene.findings.refuse(field, f"container {_name(each)} has no image")
    _of_tasks(scene)


def _name(container: object) -> str:
    return str(member(container, "name") or "")


def _needs_none(found: PredictorCut, name: str) -> bool:
    """Whether a container gets its image from what its node runs."""
    if name.startswith(TENSORFLOW):
        return any(place.node is not None and place.node.packaged == "TENSORFLOW_SERVER" for place in found.foreign)
    if any(place.name == name for place in found.served):
        return True
    return any(place.name == name and place.node is not None and place.node.packaged for place in found.foreign)


def _of_image(scene: Scene) -> None:
    """Refuse a document that needs our image, which is not given."""
    needing = [place for found in scene.cut.predictors for place in found.served if not place.image]
    several = len(scene.cut.predictors) > 1 and not scene.options.gateway
    if scene.options.image or not (needing or several):
        return
    nodes = [name for place in needing for name in place.nodes]
    code = f" and the code of {', '.join(nodes)}" if nodes else ""
    scene.findings.refuse("--image", f"give --image: the image with infergraph{code}")


def _of_servers(scene: Scene, found: PredictorCut) -> None:
    protocol = scene.deployment.protocol or "seldon"
    for place in _without_image(found):
        assert place.node is not None
        image, _ = servers.image_of(scene, place.node)
        if not image:
            text = (
                f"{place.node.packaged} has no image for protocol {protocol}: set spec.protocol, or give the container "
                f"an image, or --server-image {place.node.packaged}=IMAGE"
            )
            scene.findings.refuse(place.field, text)


def _without_image(found: PredictorCut) -> Iterator[Place]:
    for place in found.foreign:
        if place.node is not None and place.node.packaged and not place.image:
            yield place


def _of_tasks(scene: Scene) -> None:
    if not scene.options.tasks:
        return
    if len(scene.cut.predictors) > 1 and scene.options.gateway:
        text = "several predictors behind a gateway have no one door that takes tasks in: leave out --gateway"
        scene.findings.refuse("--tasks", text)
    elif all(found.front is None for found in scene.cut.predictors) and len(scene.cut.predictors) == 1:
        scene.findings.refuse("--tasks", f"{scene.deployment.name} has no process of infergraph that takes tasks in")


def of_name(scene: Scene, found: Object, owners: Owners) -> None:
    """Refuse an object of the kind and name of another one, of whatever document."""
    key = scene.namespace, found.kind, found.name
    other, first = owners.setdefault(key, (scene, found))
    if first is not found:
        places = f"{_place(other.findings, first)} or {_place(scene.findings, found)}"
        text = f"two objects would be named {found.kind} {found.name}: rename {places}"
        scene.findings.refuse(found.field, text)


def _place(findings: Findings, found: Object) -> str:
    return f"{found.field} of {findings.deployment.name or 'a document without a name'}"
