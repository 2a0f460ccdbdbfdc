"""pytest with `seldon_core` in it: tests of components written for Seldon's wrapper run as they are."""

from __future__ import annotations

import pytest

from infergraph import compat


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before any conftest.py or test module is imported."""
    compat.install()
