"""What the command line says about rendering."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

INITIALIZER_IMAGE = "seldonio/rclone-storage-initializer:1.17.1"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is rendered.

    Args:
        image: with infergraph and the code of the nodes.
        namespace: of all objects; empty for that of each document.
        overrides: targets or addresses by node name.
        workdir: the folder of the code in the image.
        server_images: images by the name of a packaged server.
        initializer_image: copies models into their folder.
        env_secret: the secret with the credentials of models that name none.
        gateway: name, or name and namespace with a dot between, of the Gateway that splits the traffic; empty for a
            process of ours.
        hosts: the hostnames of the route.
        tasks: size of the volume for tasks; empty for no tasks.
        service_monitor: whether ServiceMonitors are made.
    """

    image: str = ""
    namespace: str = ""
    overrides: Mapping[str, str] = {}
    workdir: str = "/app"
    server_images: Mapping[str, str] = {}
    initializer_image: str = ""
    env_secret: str = ""
    gateway: str = ""
    hosts: tuple[str, ...] = ()
    tasks: str = ""
    service_monitor: bool = False
