"""The Flask request that a component's hooks see."""

import gc
import weakref

import flask
import pytest

from infergraph.compat import flask_requests
from infergraph.message import Context


class Held:
    """A request with a body."""

    raw = b"{}"


def _asked(path: str) -> "weakref.ref[Held]":
    held = Held()
    scope = flask_requests.scope(Context(path=path), held)
    assert scope is not None
    with scope:
        assert flask.request.path == path
    return weakref.ref(held)


@pytest.mark.parametrize("path", ["/", "/predict", "/api/v1.0/predictions"])
def test_a_request_is_freed_at_its_end(path: str) -> None:
    """Without the garbage collector, which comes too rarely for large bodies: nothing refers to itself."""
    gc.collect()
    gc.disable()
    try:
        assert _asked(path)() is None
    finally:
        gc.enable()
