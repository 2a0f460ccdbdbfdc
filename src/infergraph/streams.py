"""Streams of answers on their way through units around a unit: begun, gone on with, and within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Generic, NamedTuple, TypeVar

from infergraph.errors import Fault, RemoteError
from infergraph.message import Answers, Message

T = TypeVar("T")


class Begun(NamedTuple, Generic[T]):
    """A stream whose first answer is there; None for one without any."""

    first: T | None
    rest: AsyncGenerator[T, None]


async def begin(answers: AsyncGenerator[T, None]) -> Begun[T]:
    """Wait for the first answer: what is raised before it is raised here, and nothing has been sent then.

    Raises: what the stream raises.
    """
    return Begun(await anext(answers, None), answers)


async def resumed(begun: Begun[T]) -> AsyncGenerator[T, None]:
    """The whole stream."""
    async with aclosing(begun.rest) as rest:
        if begun.first is not None:
            yield begun.first
            async for answer in rest:
                yield answer


async def or_whole(
    answers: Answers, whole: Callable[[], Awaitable[Message]], has_none: Callable[[RemoteError], bool]
) -> Answers:
    """The stream, or the one answer of a server that has no streams.

    Args:
        whole: gives the one answer.
        has_none: whether a fault before the first answer says that there are no streams.
    """
    try:
        begun = await begin(answers)
    except RemoteError as fault:
        if not has_none(fault):
            raise
        yield await whole()
        return
    async with aclosing(resumed(begun)) as stream:
        async for answer in stream:
            yield answer


async def within(answers: Answers, limit: Callable[[], asyncio.Timeout], late: Callable[[], Fault]) -> Answers:
    """The stream, each answer within a limit.

    Args:
        limit: gives the limit of the next answer.
        late: gives the fault for one that does not come in time.
    """
    async with aclosing(answers):
        while True:
            try:
                async with limit() as limited:
                    answer = await anext(answers, None)
            except TimeoutError:
                if not limited.expired():
                    raise
                raise late() from None
            if answer is None:
                return
            yield answer
