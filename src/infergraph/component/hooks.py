"""The hooks of a component: looked up once, by name and signature, and kept in a table.

A component may omit `names`, `meta` or `routing`, or take `**kwargs`: the signature decides how each hook is called, so
a TypeError from inside user code is the user's own and is raised once. One signature is inconclusive: that of a
decorator that takes `**kwargs` and passes them on. It is given all arguments, and fewer once they have been rejected.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from infergraph.message import Method

_OPTIONAL = {
    Method.AGGREGATE: (),
    Method.SEND_FEEDBACK: ("routing",),
}
_POSITIONAL = {
    Method.AGGREGATE: ("features", "names"),
    Method.SEND_FEEDBACK: ("features", "names", "reward", "truth"),
}


class Hook(NamedTuple):
    """One callable of the component; `call` takes all the protocol's arguments and passes those that it accepts."""

    call: Callable[..., Any]
    is_async: bool


class MethodHooks(NamedTuple):
    """The hooks by which a component answers one method; None if it does not have the hook.

    `is_async`: whether any of them must be awaited. `is_raw`: whether there is any other than the plain one. Both are
    read for every request.
    """

    plain: Hook | None
    raw: Hook | None
    rest: Hook | None
    grpc: Hook | None
    is_async: bool
    is_raw: bool


def visit(component: object) -> dict[Method, MethodHooks]:
    """The table of hooks of `component`."""
    return {method: _visit_method(component, method) for method in Method}


def stream(component: object) -> Hook | None:
    """The hook `predict_stream`: a generator, plain or async, that takes what `predict` takes."""
    found = own(component, "predict_stream")
    if found is None:
        return None
    is_async = is_coroutine(found) or inspect.isasyncgenfunction(found)
    return Hook(fit(found, Method.PREDICT), is_async)


def _visit_method(component: object, method: Method) -> MethodHooks:
    found = own(component, method.value)
    plain = None if found is None else Hook(fit(found, method), is_coroutine(found))
    raw, rest, grpc = (single(component, f"{method.value}_{kind}") for kind in ("raw", "rest", "grpc"))
    is_async = any(hook is not None and hook.is_async for hook in (plain, raw, rest, grpc))
    is_raw = any(hook is not None for hook in (raw, rest, grpc))
    return MethodHooks(plain, raw, rest, grpc, is_async, is_raw)


def own(component: object, name: str) -> Callable[..., Any] | None:
    """The component's callable `name`; None where it is missing or only inherited from Seldon's base class.

    That base class defines every hook to raise "not implemented", which the protocol treats as missing.
    """
    found = getattr(component, name, None)
    if not callable(found) or getattr(found, "__module__", None) == "seldon_core.user_model":
        return None
    return found  # type: ignore[no-any-return]


def single(component: object, name: str) -> Hook | None:
    """The hook `name` that takes its arguments as they are."""
    found = own(component, name)
    return None if found is None else Hook(found, is_coroutine(found))


def is_coroutine(function: Callable[..., Any]) -> bool:
    """Whether calling `function` returns an awaitable."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def fit(function: Callable[..., Any], method: Method) -> Callable[..., Any]:
    """Adapt `function` to the protocol's full argument list.

    The result is called as f(X, names, meta) for predict, the transforms and route, f(Xs, names) for aggregate, and
    f(X, names, reward, truth, routing) for feedback.
    """
    positional = _POSITIONAL.get(method, ("features", "names"))
    optional = _OPTIONAL.get(method, ("meta",))
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C: called with positional arguments
        return _drop(function, positions=len(positional), dropped=len(optional))
    taken = _positions(parameters, positional, optional)
    by_name = _keywords(parameters, positional[taken:] + optional)
    full = _caller(function, positional, optional, taken, by_name)
    declared = {parameter.name for parameter in parameters}
    if declared.issuperset(by_name):
        return full
    less = _caller(function, positional, optional, taken, tuple(name for name in by_name if name in declared))
    return _Learning(full, less, by_name).fitted(is_coroutine(function))


class _Learning:
    """A hook that takes `**kwargs`, but may pass them to a function that does not accept them.

    Promises: it is called a second time only if it rejected one of these arguments, and only once in its life.
    """

    def __init__(self, full: Callable[..., Any], less: Callable[..., Any], offered: tuple[str, ...]) -> None:
        self._call = full
        self._less = less
        self._refusals = tuple(f"got an unexpected keyword argument '{name}'" for name in offered)

    def fitted(self, is_async: bool) -> Callable[..., Any]:
        """The callable for each request."""
        return self._awaited if is_async else self._called

    def _called(self, *arguments: Any) -> Any:
        try:
            return self._call(*arguments)
        except TypeError as error:
            self._learn(error)
        return self._less(*arguments)

    async def _awaited(self, *arguments: Any) -> Any:
        try:
            return await self._call(*arguments)
        except TypeError as error:
            self._learn(error)
        return await self._less(*arguments)

    def _learn(self, error: TypeError) -> None:
        if self._call is self._less or not any(refusal in str(error) for refusal in self._refusals):
            raise error
        self._call = self._less


def _positions(parameters: Sequence[inspect.Parameter], positional: tuple[str, ...], optional: tuple[str, ...]) -> int:
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return len(positional)
    usable = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name not in optional
    ]
    return min(len(usable), len(positional))


def _keywords(parameters: Sequence[inspect.Parameter], candidates: tuple[str, ...]) -> tuple[str, ...]:
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return candidates
    names = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return tuple(name for name in candidates if name in names)


def _drop(function: Callable[..., Any], *, positions: int, dropped: int) -> Callable[..., Any]:
    if not dropped:
        return function
    return lambda *arguments: function(*arguments[:positions])


def _caller(
    function: Callable[..., Any],
    positional: tuple[str, ...],
    optional: tuple[str, ...],
    taken: int,
    by_name: tuple[str, ...],
) -> Callable[..., Any]:
    """The call for a signature; common ones are written out, since they are on the hot path."""
    if optional == ("meta",):
        if taken == 2 and by_name == ("meta",):
            return lambda features, names, meta: function(features, names, meta=meta)
        if taken == 2 and not by_name:
            return lambda features, names, meta: function(features, names)
        if taken == 1 and not by_name:
            return lambda features, names, meta: function(features)
    every = positional + optional

    def call(*arguments: Any) -> Any:
        offered = dict(zip(every, arguments, strict=True))
        return function(*arguments[:taken], **{name: offered[name] for name in by_name})

    return call
