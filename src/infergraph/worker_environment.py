"""The environment variables of a worker process: its index, and its share of the GPUs."""

from __future__ import annotations

from infergraph.errors import SettingsError

SERVING_INDEX = "INFERGRAPH_WORKER_INDEX"
"""Index of a serving worker, from 0; its successor after a restart has the same."""

TASK_INDEX = "INFERGRAPH_TASK_WORKER_INDEX"
"""Index of a task worker, from 0; a worker that replaces another has the same."""

DEVICES = "CUDA_VISIBLE_DEVICES"


def worker_environment(variable: str, index: int, gpus: str) -> dict[str, str]:
    """The variables of the worker with this index; `variable` names its kind.

    Args:
        gpus: shares separated by commas, assigned round-robin; the devices of one share are joined by `+`.
    """
    shares = shares_of(gpus)
    devices = {DEVICES: shares[index % len(shares)]} if shares else {}
    return {variable: str(index), **devices}


def shares_of(gpus: str) -> list[str]:
    """Each share as CUDA_VISIBLE_DEVICES lists it. Raises: SettingsError for an empty share."""
    if not gpus.strip():
        return []
    shares = [",".join(device.strip() for device in share.split("+")) for share in gpus.split(",")]
    if any("" in share.split(",") for share in shares):
        raise SettingsError(f"gpus: {gpus!r} has an empty share; devices are numbers or UUIDs, such as 0,1 or 0+1,2+3")
    return shares
