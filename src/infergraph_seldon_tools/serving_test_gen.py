"""A contract file for the testers, made from a pandas DataFrame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def create_seldon_api_testing_file(data: Any, target: str, output_path: str) -> bool:
    """Write the contract of a DataFrame's columns.

    Args:
        data: the DataFrame.
        target: the name of its target column.
        output_path: where to write.
    Returns: True.
    Raises: KeyError if there is no such column.
    """
    targets = [_column(target, data[target])]
    features = [_column(name, data[name]) for name in data.columns if name != target]
    Path(output_path).write_text(json.dumps({"features": features, "targets": targets}, indent=2))
    return True


def _column(name: Any, values: Any) -> dict[str, Any]:
    array = values.to_numpy()
    if np.issubdtype(array.dtype, np.number):
        kind = "FLOAT" if np.issubdtype(array.dtype, np.floating) else "INT"
        span = [float(np.nanmin(array)), float(np.nanmax(array))]
        return {"name": str(name), "dtype": kind, "ftype": "continuous", "range": span}
    return {"name": str(name), "dtype": "STRING", "ftype": "categorical", "values": sorted({str(v) for v in array})}
