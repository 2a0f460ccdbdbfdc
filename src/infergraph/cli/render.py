"""`infergraph render`: what a cluster runs, Kubernetes or Ray, from a deployment file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infergraph.cli.command import Group, argument, option
from infergraph.cli.options import nodes_option
from infergraph.errors import SettingsError
from infergraph.graph import spec
from infergraph.render import kubernetes as kubernetes_objects
from infergraph.render import manifests
from infergraph.render import ray as ray_applications
from infergraph.render.options import Options
from infergraph.render.ray_service import ray_service
from infergraph.unit_source import read_overrides

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([KMGTPE]i?|k|m)?")
_file_argument = argument("file", type=click.Path(path_type=Path), about="A SeldonDeployment, YAML or JSON.")
_EXAMPLE = "Example: infergraph render kubernetes deployment.yaml --image registry.example.org/flow:1"
_EXIT_CODES = "Exit codes: 0 rendered, with warnings on standard error; 2 refused, with every reason."


@click.group("render", cls=Group, epilog=_EXAMPLE)
def render() -> None:
    """Render a graph file for a cluster: plain Kubernetes objects, or what Ray runs."""


@render.command("kubernetes", epilog=_EXIT_CODES)
@_file_argument
@option("--image", default="", metavar="IMAGE", help="The image with infergraph and the code of the nodes.")
@option("--namespace", default="", metavar="NAME", help="The namespace of all objects, instead of the file's.")
@option("--output", default="-", metavar="DIR", help="Write a file for each object into this folder.")
@option("--kustomize", is_flag=True, help="Also write a kustomization.yaml.")
@nodes_option
@option("--workdir", default="/app", metavar="DIR", help="The folder of the code in the image.")
@option(
    "--server-image",
    "server_images",
    multiple=True,
    metavar="SERVER=IMAGE",
    help="The image of a packaged server, such as TRITON_SERVER. May be repeated.",
)
@option("--initializer-image", default="", metavar="IMAGE", help="The image that copies models, by rclone.")
@option("--env-secret", default="", metavar="NAME", help="The secret for models that name none.")
@option("--gateway", default="", metavar="NAME[.NAMESPACE]", help="Let this Gateway split the traffic, by a HTTPRoute.")
@option("--host", "hosts", multiple=True, metavar="HOST", help="A hostname of that route. May be repeated.")
@option("--tasks", default="", metavar="SIZE", help="Take tasks in, and keep them on a volume of this size.")
@option("--service-monitor", is_flag=True, help="Also make ServiceMonitors, for the Prometheus operator.")
def kubernetes(
    file: Path,
    output: str,
    kustomize: bool,
    nodes: tuple[str, ...],
    server_images: tuple[str, ...],
    tasks: str,
    **given: Any,
) -> None:
    """Write the objects that run a graph on Kubernetes, without an operator.

    Example: infergraph render kubernetes deployment.yaml --image registry.example.org/flow:1 | kubectl apply -f -
    """
    if kustomize and output == "-":
        raise SettingsError("--kustomize needs --output DIR")
    if tasks and not _QUANTITY.fullmatch(tasks):
        raise SettingsError(f"--tasks {tasks!r} is no size, such as 20Gi")
    options = Options(overrides=read_overrides(nodes), server_images=_images(server_images), tasks=tasks, **given)
    rendered = kubernetes_objects.render(spec.text_of(file, str(file)), str(file), options)
    _report(rendered.warnings, rendered.refusals)
    if output == "-":
        click.echo(manifests.stream(rendered.objects, file.name), nl=False)
    else:
        manifests.write(Path(output), manifests.files(rendered.objects, file.name, kustomize=kustomize))


@render.command("ray", epilog=_EXIT_CODES)
@_file_argument
@option("--serve-config", is_flag=True, help="Write Ray Serve's configuration alone, for `serve deploy`.")
@option("--image", default="", metavar="IMAGE", help="The image with Ray, infergraph and the code of the nodes.")
@option("--ray-version", default="", metavar="VERSION", help="The version of Ray in that image.")
@option("--namespace", default="", metavar="NAME", help="The namespace, instead of the file's.")
@option("--output", default="-", metavar="FILE", help="Write into this file.")
@nodes_option
@option(
    "--target-in-flight",
    default=2,
    type=click.IntRange(min=1),
    metavar="N",
    help="Requests in progress for each replica, by which Ray scales where the file does not say.",
)
def ray(file: Path, serve_config: bool, output: str, nodes: tuple[str, ...], **given: Any) -> None:
    """Write what runs a graph on a Ray cluster: a RayService, or Ray Serve's configuration.

    Example: infergraph render ray deployment.yaml --image registry.example.org/flow-ray:1 | kubectl apply -f -
    """
    options = ray_applications.RayOptions(overrides=read_overrides(nodes), **given)
    if not serve_config and not options.image:
        raise SettingsError("give --image: the image with Ray, infergraph and the code of the nodes; or --serve-config")
    found = ray_applications.applications(spec.text_of(file, str(file)), str(file), options)
    _report(found.warnings, found.refusals)
    if serve_config:
        text = manifests.ray_config(ray_applications.serve_config(found.applications), file.name)
    else:
        text = manifests.ray_stream([ray_service(each, options) for each in found.applications], file.name)
    if output == "-":
        click.echo(text, nl=False)
    else:
        manifests.write_ray(Path(output), text)


def _report(warnings: Sequence[str], refusals: Sequence[str]) -> None:
    """Print warnings, and refusals, which end the command."""
    for line in (*warnings, *refusals):
        click.echo(line, err=True)
    if refusals:
        raise click.exceptions.Exit(2)


def _images(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        server, equals, image = text.partition("=")
        if not (server and equals and image):
            raise SettingsError(
                f"--server-image {text!r} must be SERVER=IMAGE, such as TRITON_SERVER=registry/triton:24"
            )
        found[server] = image
    return found
