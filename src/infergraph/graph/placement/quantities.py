"""Quantities of Kubernetes: `500m` CPUs, `2` GPUs, `4Gi` bytes.

Source: the Kubernetes API reference, resource.Quantity.
"""

from __future__ import annotations

import re
from typing import Any

GPU = "nvidia.com/gpu"
"""The name of the resource that a GPU is."""

_QUANTITY = re.compile(r"\+?(?P<number>(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)(?P<unit>[numkMGTPE]|[KMGTPE]i)?")
_UNITS = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3} | {
    name: float(base**power)
    for base, names in ((1000, ("k", "M", "G", "T", "P", "E")), (1024, ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))
    for power, name in enumerate(names, 1)
}


def amount(quantity: Any) -> float | None:
    """The number that a quantity stands for, of units or bytes; None if it is none."""
    if isinstance(quantity, int | float) and not isinstance(quantity, bool):
        return float(quantity) if quantity >= 0 else None
    found = _QUANTITY.fullmatch(quantity) if isinstance(quantity, str) else None
    return None if found is None else float(found["number"]) * _UNITS[found["unit"] or ""]
