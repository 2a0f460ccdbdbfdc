"""The environment variables of a worker process: its index, its share of the GPUs, its share of the CPUs' threads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from infergraph.errors import SettingsError

SERVING_INDEX = "INFERGRAPH_WORKER_INDEX"
"""Index of a serving worker, from 0; its successor after a restart has the same."""

TASK_INDEX = "INFERGRAPH_TASK_WORKER_INDEX"
"""Index of a task worker, from 0; a worker that replaces another has the same."""

DEVICES = "CUDA_VISIBLE_DEVICES"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

_ALL = "all"
_DEVICE_FILE = re.compile(r"nvidia(\d+)")


def worker_environment(
    variable: str, index: int, gpus: str, *, workers: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The variables of the worker with this index; `variable` names its kind.

    Args:
        gpus: shares separated by commas, assigned round-robin; the devices of one share are joined by `+`.
        workers: how many there are, which divide the threads of linear algebra among them.
        inherited: the environment that they are added to.
    """
    shares = shares_of(gpus, inherited)
    devices = {DEVICES: shares[index % len(shares)]} if shares else {}
    return thread_limits(inherited, workers) | {variable: str(index), **devices}


def shares_of(gpus: str, inherited: Mapping[str, str]) -> list[str]:
    """Each share as CUDA_VISIBLE_DEVICES lists it.

    Numbers count the devices that are visible already: with CUDA_VISIBLE_DEVICES=4,5 device 1 is 5.

    Raises: SettingsError for an empty share, and for a device that is not visible.
    """
    if not gpus.strip():
        return []
    if gpus.strip() == _ALL:
        if not (found := visible_devices(inherited)):
            raise SettingsError(f"gpus: {_ALL} of none: no NVIDIA device is visible here")
        return found
    shares = [[device.strip() for device in share.split("+")] for share in gpus.split(",")]
    if any("" in share for share in shares):
        raise SettingsError(f"gpus: {gpus!r} has an empty share; devices are numbers or UUIDs, such as 0,1 or 0+1,2+3")
    pool = _listed(inherited)
    return [",".join(_visible(device, pool) for device in share) for share in shares]


def visible_devices(inherited: Mapping[str, str]) -> list[str]:
    """The GPUs that a process with this environment may use: those it lists, else all of the machine."""
    listed = _listed(inherited)
    return _of_machine() if listed is None else listed


def _listed(inherited: Mapping[str, str]) -> list[str] | None:
    """The devices that the environment lists; None where it leaves all visible. CUDA stops at an invalid one."""
    text = inherited.get(DEVICES)
    if text is None:
        return None
    devices = [device.strip() for device in text.split(",")]
    ends = (place for place, device in enumerate(devices) if not device or device.startswith("-"))
    return devices[: next(ends, len(devices))]


def _of_machine() -> list[str]:
    try:
        names: Iterable[str] = [path.name for path in Path("/dev").iterdir()]
    except OSError:
        names = ()
    numbers = (found[1] for name in names if (found := _DEVICE_FILE.fullmatch(name)))
    return sorted(numbers, key=int)


def _visible(device: str, pool: Sequence[str] | None) -> str:
    """A device as CUDA_VISIBLE_DEVICES names it, where a number is the place in what is visible."""
    if pool is None or not device.isdecimal():
        return device
    if int(device) >= len(pool):
        raise SettingsError(f"gpus: there is no device {device}: {DEVICES}={','.join(pool)} has {len(pool)}, from 0 on")
    return pool[int(device)]


def thread_limits(inherited: Mapping[str, str], processes: int) -> dict[str, str]:
    """Variables that limit BLAS and OpenMP threads, so that several workers do not oversubscribe the CPUs.

    Such threads wait for each other by spinning: two workers with two each are slower on two CPUs than one. No effect
    for a single worker, or if one of these variables is set already.
    """
    if processes < 2 or any(name in inherited for name in THREAD_VARIABLES):
        return {}
    return limited_to(processors() // processes)


def limited_to(threads: int) -> dict[str, str]:
    """Variables that limit BLAS and OpenMP to this many threads, one at least."""
    return dict.fromkeys(THREAD_VARIABLES, str(max(1, threads)))


def processors() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
