"""Hooks: found once, called with what they take."""

from typing import Any

import pytest

from infergraph.component import hooks
from infergraph.message import Method


def positional(X, names, meta=None):
    return ("positional", X, names, meta)


def only_features(X):
    return ("only", X)


def meta_second(X, meta):
    return ("meta second", X, meta)


def keywords(X, **kwargs):
    return ("keywords", X, kwargs)


def stars(*args, **kwargs):
    return ("stars", args, kwargs)


def keyword_only(X, *, names=None):
    return ("keyword only", X, names)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (positional, ("positional", 1, ["a"], {"m": 1})),
        (only_features, ("only", 1)),
        (meta_second, ("meta second", 1, {"m": 1})),
        (keywords, ("keywords", 1, {"names": ["a"], "meta": {"m": 1}})),
        (stars, ("stars", (1, ["a"]), {"meta": {"m": 1}})),
        (keyword_only, ("keyword only", 1, ["a"])),
        (len, TypeError),
    ],
)
def test_a_hook_gets_what_its_signature_takes(function: Any, expected: Any) -> None:
    """A hook may leave out names or meta, or take them by keyword; it is never called to see whether it raises."""
    call = hooks.fit(function, Method.PREDICT)
    if expected is TypeError:
        with pytest.raises(TypeError):
            call(1, ["a"], {"m": 1})
    else:
        assert call(1, ["a"], {"m": 1}) == expected


def test_feedback_hooks_may_leave_routing_out() -> None:
    """send_feedback gets routing by keyword if it takes it, and goes without if not."""
    without = hooks.fit(lambda features, names, reward, truth: (features, reward, truth), Method.SEND_FEEDBACK)
    assert without(1, [], 0.5, 2, 7) == (1, 0.5, 2)
    taken = hooks.fit(lambda features, names, reward, truth, routing=None: routing, Method.SEND_FEEDBACK)
    assert taken(1, [], 0.5, 2, 7) == 7


def test_hooks_of_seldons_base_class_count_as_missing() -> None:
    """A method that is only inherited from SeldonComponent is treated as not there."""

    class Base:
        def predict(self, X, names):
            raise NotImplementedError

        predict.__module__ = "seldon_core.user_model"

    class User(Base):
        def route(self, X, names):
            return 0

    table = hooks.visit(User())
    assert table[Method.PREDICT].plain is None
    assert table[Method.ROUTE].plain is not None


def test_async_hooks_are_known() -> None:
    """An async method, and an object whose call is async, are to be awaited."""

    class Caller:
        async def __call__(self, X):
            return X

    class User:
        predict = Caller()

        async def route(self, X):
            return 0

        def aggregate(self, Xs):
            return Xs

    table = hooks.visit(User())
    assert table[Method.PREDICT].is_async
    assert table[Method.ROUTE].is_async
    assert not table[Method.AGGREGATE].is_async
