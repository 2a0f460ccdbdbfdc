"""The head and the body of an answer in one write."""

import asyncio
from typing import Any

from infergraph.serving.http.one_write import Joined


class Recorder(asyncio.Transport):
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def write(self, data: Any) -> None:
        self.told.append(bytes(data))

    def writelines(self, parts: Any) -> None:
        self.told.append(tuple(parts))

    def close(self) -> None:
        self.told.append("closed")

    def abort(self) -> None: ...
    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_protocol(self) -> Any: ...


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def told(*steps: Any) -> list[Any]:
    """What a transport is told when these steps are taken, with a turn of the loop for None."""

    async def scenario() -> list[Any]:
        recorder = Recorder()
        joined = Joined(recorder)
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            elif step == "close":
                joined.close()
            else:
                joined.write(step)
        await asyncio.sleep(0)
        return recorder.told

    return asyncio.run(scenario())


def test_head_and_body_leave_together() -> None:
    """A body that follows its head at once goes out in the same write, and each answer for itself."""
    assert told(HEAD, b"body", HEAD, b"next") == [(HEAD, b"body"), (HEAD, b"next")]


def test_a_head_without_a_body_is_not_kept_back() -> None:
    """A head whose body is late, or never comes, leaves when the loop turns; later parts follow it."""
    assert told(HEAD, None, b"late") == [HEAD, b"late"]
    assert told(HEAD) == [HEAD]


def test_closing_loses_nothing() -> None:
    """What is held is written before the connection closes."""
    assert told(HEAD, "close") == [HEAD, "closed"]


def test_an_empty_body_is_no_piece() -> None:
    """A body of nothing is not written: the event loop's own transport would wait for it to be taken for ever."""
    assert told(HEAD, b"", HEAD, b"next") == [HEAD, (HEAD, b"next")]
