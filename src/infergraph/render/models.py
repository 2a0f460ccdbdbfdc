"""Models: an init container that copies them, a claim that holds them, or a path in the image.

    node with a modelUri ──model_of──▶ folder, volume, mount, init container, secret

Source: sections A10 and B6 of the Kubernetes notes.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from infergraph.graph.placement import Place, PlaceKind
from infergraph.graph.spec import Node
from infergraph.render import names
from infergraph.render.documents import Attached
from infergraph.render.options import INITIALIZER_IMAGE
from infergraph.render.scene import Scene
from infergraph.render.security import SEALED
from infergraph.render.yaml_text import Noted

MOUNTED = "/mnt/models"
NO_INITIALIZER = "seldon.io/no-storage-initializer"
_REMOTE = re.compile(r"[A-Za-z0-9_-]+:")
_CLAIM = "pvc://"
_SHARED_VOLUME = "models"
_RESOURCES = {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node finds its model, and what its pod needs for it.

    Args:
        folder: what the node is given.
        attached: the volume that it lies in; none where it lies in the image, or is fetched.
        secret: with the credentials, where the container fetches the model itself.
    """

    folder: str
    attached: tuple[Attached, ...] = ()
    initializer: dict[str, Any] | None = None
    secret: str = ""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What asks for a model.

    Args:
        name: of the container, or of the node where it shares a container of ours.
        is_shared: other nodes may run in the same container.
        field: path of the node.
        fetches: the container can fetch models itself, where the file asks for that.
    """

    uri: str
    name: str
    node: str = ""
    is_shared: bool = False
    field: str = ""
    secret: str = ""
    image: str = ""
    fetches: bool = False


def asked_by(place: Place, node: Node, field: str) -> Asking:
    """What a node asks for."""
    is_shared = place.kind is not PlaceKind.FOREIGN and (place.pod is None or field != place.field)
    return Asking(
        uri=node.model_uri,
        name=node.name,
        node=node.name,
        is_shared=is_shared,
        field=field,
        secret=node.env_secret_ref_name,
        image=node.storage_initializer_image,
        fetches=place.kind is not PlaceKind.FOREIGN or node.packaged == "TRITON_SERVER",
    )


def model_of(scene: Scene, asking: Asking, *, taken: frozenset[str] = frozenset()) -> Model:
    """The model of a node that has a modelUri.

    Args:
        taken: names of the pod's volumes in the file.
    """
    uri, name = asking.uri, names.part(asking.name)
    secret = asking.secret or scene.options.env_secret
    if uri.startswith(_CLAIM):
        return _claimed(asking, f"/pvc/{names.folder(asking.node)}" if asking.is_shared else MOUNTED)
    if not is_fetched(uri):
        if not uri.startswith(("/", "file:")):
            text = f"the relative path {uri} lies in the image, below {scene.options.workdir}"
            scene.findings.warn(f"{asking.field}.modelUri", text)
        return Model(folder=uri)
    if asking.fetches and scene.deployment.annotations.get(NO_INITIALIZER) == "true":
        return Model(folder=uri, secret=secret)
    if asking.is_shared:
        volume, root = names.unused(_SHARED_VOLUME, taken), "/models"
        folder = f"{root}/{names.folder(asking.node)}"
    else:
        volume, root, folder = names.part(asking.name, "-provision-location"), MOUNTED, MOUNTED
    initializer = {
        "name": names.part(name, "-model-initializer"),
        "image": _image(scene, asking),
        "args": [uri, folder],
        **({"envFrom": [{"secretRef": {"name": secret}}]} if secret else {}),
        "resources": _RESOURCES,
        "volumeMounts": [{"name": volume, "mountPath": root}],
        "securityContext": SEALED,
    }
    mount = {"name": volume, "mountPath": root, "readOnly": True}
    return Model(folder=folder, attached=(Attached(mount, {"name": volume, "emptyDir": {}}),), initializer=initializer)


def warn_of_account(scene: Scene, account: str, *, uri: str, secret: str, field: str) -> None:
    """Warn of a model whose credentials were found by the service account.

    Args:
        secret: that the file names for the model.
    """
    if account and uri and not (secret or scene.options.env_secret):
        text = (
            f"the operator took credentials for models from the secrets listed on {account}; here they come from "
            "envSecretRefName or --env-secret alone"
        )
        scene.findings.warn(f"{field}.serviceAccountName", text)


def is_fetched(uri: str) -> bool:
    """Whether a model lies elsewhere: the URI has a scheme, or the name of one of rclone's remotes."""
    return not uri.startswith("file:") and _REMOTE.match(uri) is not None


def _claimed(asking: Asking, folder: str) -> Model:
    claim, _, path = asking.uri.removeprefix(_CLAIM).partition("/")
    volume = names.part(f"model-{asking.node or asking.name}")
    mount: dict[str, Any] = {"name": volume, "mountPath": folder}
    if path.strip("/"):
        mount["subPath"] = path.strip("/")
    source = {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
    return Model(folder=folder, attached=(Attached({**mount, "readOnly": True}, source),))


def _image(scene: Scene, asking: Asking) -> Any:
    if asking.image:
        return Noted(asking.image, f"{asking.field}.storageInitializerImage")
    if scene.options.initializer_image:
        return Noted(scene.options.initializer_image, "--initializer-image")
    return Noted(INITIALIZER_IMAGE, "default")
