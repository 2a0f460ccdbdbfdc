"""A pytest plugin that makes `seldon_core` importable: tests of components for Seldon's wrapper run unchanged."""

from __future__ import annotations

import pytest

from infergraph import compat


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before any conftest.py or test module is imported."""
    compat.install()
