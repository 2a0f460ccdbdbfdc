"""Hooks: found once, called with what they take."""

import asyncio
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


def through(function: Any, *, is_async: bool = False) -> Any:
    """A decorator as people write them: without `functools.wraps`."""
    if is_async:

        async def later(*arguments: Any, **named: Any) -> Any:
            return await function(*arguments, **named)

        return later
    return lambda *arguments, **named: function(*arguments, **named)


def test_a_decorator_that_hides_the_signature_is_no_hindrance() -> None:
    """Behind `**kwargs` a hook is offered all, and called without what it refuses by name, from then on."""
    calls = []

    def predict(features: object, names: object) -> str:
        calls.append(features)
        return "answer"

    def with_meta(features: object, names: object, meta: object) -> object:
        return meta

    fitted = hooks.fit(through(predict), Method.PREDICT)
    assert [fitted(number, [], {}) for number in range(3)] == ["answer"] * 3
    assert calls == [0, 1, 2]
    assert hooks.fit(through(with_meta), Method.PREDICT)(1, [], {"puid": "p"}) == {"puid": "p"}


def test_a_coroutine_behind_a_decorator_is_called_the_same_way() -> None:
    """What is refused only when it is awaited is learnt as well."""

    async def predict(features: object, names: object) -> object:
        return features

    fitted = hooks.fit(through(predict, is_async=True), Method.PREDICT)
    assert asyncio.run(fitted(1, [], {})) == 1
    assert asyncio.run(fitted(2, [], {})) == 2


@pytest.mark.parametrize("text", ["own", "f() got an unexpected keyword argument 'other'"])
def test_other_type_errors_behind_a_decorator_are_raised_once(text: str) -> None:
    """A TypeError of the user's own does not run the hook again (Q8)."""
    calls = []

    def predict(features: object, names: object, **_: object) -> None:
        calls.append(features)
        raise TypeError(text)

    with pytest.raises(TypeError, match=r"own|other"):
        hooks.fit(through(predict), Method.PREDICT)(1, [], {})
    assert calls == [1]
