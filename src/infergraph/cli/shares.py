"""The GPUs and threads of one machine, dealt out to the servers of a cut graph."""

from __future__ import annotations

import os
from collections.abc import Sequence

from infergraph.graph.placement import Place
from infergraph.graph.placement.quantities import GPU
from infergraph.settings import Settings
from infergraph.worker_environment import (
    DEVICES,
    THREAD_VARIABLES,
    limited_to,
    shares_of,
    thread_limits,
    visible_devices,
)

_CPU = "cpu"


class Shares:
    """Deals out in turn what this process may use.

    A server gets as many GPUs as its resources allow, and none if only others ask for some; if nobody asks, each does
    as the setting `gpus` says. Its threads of linear algebra are as many as its CPUs, else an equal share.

    Args:
        places: of all servers, None for one that asks for nothing.
        settings: `workers` of each server; `gpus`, the devices to deal out.
    """

    def __init__(self, places: Sequence[Place | None], settings: Settings) -> None:
        self.warnings: list[str] = []
        self._workers = settings.workers
        self._processes = len(places) * settings.workers
        given = [device for share in shares_of(settings.gpus, os.environ) for device in share.split(",")]
        self.deals_devices = any(_limit(place, GPU) for place in places)
        self._free = list(dict.fromkeys(given)) or visible_devices(os.environ)

    def of(self, name: str, place: Place | None) -> dict[str, str]:
        """The variables of the next server."""
        return self._threads(place) | self._devices(name, place)

    def _devices(self, name: str, place: Place | None) -> dict[str, str]:
        if not self.deals_devices:
            return {}
        number = int(_limit(place, GPU))
        if number > len(self._free):
            self.warnings.append(f"{name} asks for more GPUs ({number}) than are left here ({len(self._free)})")
        taken, self._free = self._free[:number], self._free[number:]
        return {DEVICES: ",".join(taken)}

    def _threads(self, place: Place | None) -> dict[str, str]:
        cpus = int(_limit(place, _CPU))
        if not cpus:
            return thread_limits(os.environ, self._processes)
        is_set = any(name in os.environ for name in THREAD_VARIABLES)
        return {} if is_set else limited_to(cpus // self._workers)


def _limit(place: Place | None, name: str) -> float:
    return 0.0 if place is None else place.asked.limit(name)
