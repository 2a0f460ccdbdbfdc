"""Clients of the open inference protocol by others, imported so that several of them get on in one process.

Each brings its own copy of the protocol's messages, and protobuf takes one of a name only: each copy has a descriptor
pool to itself here.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from google.protobuf import descriptor_pool


def foreign(name: str) -> Any:
    """The module of a foreign client; the importing module is skipped where it is not installed."""
    pool = descriptor_pool.DescriptorPool()
    with mock.patch.object(descriptor_pool, "Default", return_value=pool), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def mlserver(name: str) -> Any:
    """A module of MLServer, without its server, which its package imports first and which needs much more."""
    if "mlserver" not in sys.modules:
        found = importlib.util.find_spec("mlserver")
        if found is None:
            pytest.skip("mlserver is not installed", allow_module_level=True)
        package = ModuleType("mlserver")
        package.__path__ = list(found.submodule_search_locations or ())
        sys.modules["mlserver"] = package
    return importlib.import_module(f"mlserver.{name}")
