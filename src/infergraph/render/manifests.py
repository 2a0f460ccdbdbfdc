"""Objects as YAML: one stream, or a folder with a file for each.

Source: section B10 of the Kubernetes notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from infergraph.errors import GraphError
from infergraph.render.scene import Object
from infergraph.render.yaml_text import plain, to_yaml

_MARK = "# infergraph render kubernetes"
_RAY_MARK = "# infergraph render ray"
_KUSTOMIZATION = "kustomization.yaml"


def stream(objects: Iterable[Object], name: str) -> str:
    """All objects as one text.

    Args:
        name: of the deployment file.
    """
    return f"{_MARK} {name}\n" + "".join(f"---\n{_text(each)}" for each in objects)


def ray_stream(objects: Iterable[Object], name: str) -> str:
    """RayServices as one text."""
    return f"{_RAY_MARK} {name}\n" + "".join(f"---\n{_text(each)}" for each in objects)


def ray_config(document: dict[str, Any], name: str) -> str:
    """Ray Serve's configuration as a text."""
    return f"{_RAY_MARK} {name}\n{to_yaml(document)}"


def write_ray(path: Path, text: str) -> None:
    """Write one file.

    Raises: GraphError if it is somebody else's.
    """
    if path.exists() and not _begins(path, _RAY_MARK):
        raise GraphError(f"{path} exists and was not written by infergraph render")
    path.write_text(text, encoding="utf-8")


def files(objects: Sequence[Object], name: str, *, kustomize: bool) -> dict[str, str]:
    """The text of each file of a folder, by its name.

    Args:
        name: of the deployment file.
        kustomize: with a kustomization.yaml.
    """
    head = f"{_MARK} {name}\n"
    found = {f"{each.kind.lower()}-{each.name}.yaml": head + _text(each) for each in objects}
    if kustomize:
        namespaces = {plain(each.document["metadata"].get("namespace")) for each in objects}
        (only,) = namespaces if len(namespaces) == 1 else (None,)
        document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            **({"namespace": only} if only else {}),
            "resources": sorted(found),
        }
        found[_KUSTOMIZATION] = head + to_yaml(document)
    return found


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write files into a folder, and remove those in it that were rendered before and are not now.

    Raises: GraphError if a file of one of the names is somebody else's; then nothing is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    foreign = [folder / name for name in texts if (folder / name).exists() and not _is_ours(folder / name)]
    if foreign:
        raise GraphError("\n".join(f"{path} exists and was not written by infergraph render" for path in foreign))
    for path in sorted(folder.glob("*.yaml")):
        if path.name not in texts and _is_ours(path):
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _is_ours(path: Path) -> bool:
    return _begins(path, _MARK)


def _begins(path: Path, mark: str) -> bool:
    """Whether a file begins with a line of ours."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(mark)) == mark.encode()


def _text(each: Object) -> str:
    return f"# {each.field}\n{to_yaml(each.document)}"
