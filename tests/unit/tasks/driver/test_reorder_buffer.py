"""The reorder buffer yields every byte once and in order, under any order of answers, deaths and crashes."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infergraph.tasks.driver.chunks import Chunk
from infergraph.tasks.driver.reorder_buffer import ReorderBuffer

LIMIT = 2
TOTAL = 60


def split(chunk: Chunk, parts: int) -> list[Chunk]:
    """Lines of one byte each: a chunk of n lines has n bytes."""
    step = -(-chunk.lines // parts)
    return [
        Chunk(at, min(step, chunk.end - at), at + 1, min(step, chunk.end - at))
        for at in range(chunk.offset, chunk.end, step)
    ]


class Buffer(RuleBasedStateMachine):
    """A driver's life: cut, hand out, be answered, lose workers, die and come back at the watermark."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer: ReorderBuffer[str] = ReorderBuffer(0, split, LIMIT)
        self.cut_to = 0
        self.out: dict[int, Chunk] = {}
        self.stale: set[int] = set()
        self.deaths: dict[int, int] = {}
        self.written: list[tuple[int, str]] = []
        self.committed = 0

    def _collect(self) -> None:
        for chunk, answer in self.buffer.drain():
            self.written += [(byte, answer) for byte in range(chunk.offset, chunk.end)]

    @precondition(lambda self: self.cut_to < TOTAL)
    @rule(lines=st.integers(1, 20))
    def cut(self, lines: int) -> None:
        """The next lines of the input are added."""
        size = min(lines, TOTAL - self.cut_to)
        self.buffer.add(Chunk(self.cut_to, size, self.cut_to + 1, size))
        self.cut_to += size

    @precondition(lambda self: self.buffer.has_queued)
    @rule()
    def hand_assigned(self) -> None:
        """A worker gets the earliest chunk."""
        serial, chunk = self.buffer.assign()
        assert serial not in self.out
        self.out[serial] = chunk

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """Any chunk that is out is answered, in any order."""
        serial = data.draw(st.sampled_from(sorted(self.out)))
        assert self.buffer.complete(serial, "answer") == self.out.pop(serial)
        self.stale.add(serial)
        self._collect()

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def answer_late(self, data: st.DataObject) -> None:
        """An answer under a number that is no longer out changes nothing."""
        serial = data.draw(st.sampled_from(sorted(self.stale)))
        before = self.buffer.unwritten
        assert self.buffer.complete(serial, "late") is None
        self.buffer.requeue(serial)
        assert self.buffer.retry_in_parts(serial) is None
        assert self.buffer.unwritten == before

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def lose_a_worker(self, data: st.DataObject) -> None:
        """A worker dies: one chunk is blamed, any others it held come back unblamed."""
        held = data.draw(st.lists(st.sampled_from(sorted(self.out)), min_size=1, max_size=3, unique=True))
        for serial in held[1:]:
            self.buffer.requeue(serial)
            self.out.pop(serial)
        chunk = self.out.pop(held[0])
        self.stale.update(held)
        failed = self.buffer.retry_in_parts(held[0])
        if chunk.lines > 1:
            assert failed is None
            return
        self.deaths[chunk.offset] = self.deaths.get(chunk.offset, 0) + 1
        assert (failed is not None) == (self.deaths[chunk.offset] >= LIMIT)
        if failed is not None:
            self.buffer.complete_chunk(failed, "failed")
            self._collect()

    @rule()
    def commit(self) -> None:
        """What was written becomes durable."""
        self.committed = len(self.written)

    @rule()
    def crash(self) -> None:
        """The driver dies: what was not committed is cut off, and a new one reads on at the watermark."""
        del self.written[self.committed :]
        self.buffer = ReorderBuffer(self.committed, split, LIMIT)
        self.cut_to = self.committed
        self.out.clear()
        self.stale.clear()
        self.deaths.clear()

    @invariant()
    def every_byte_once_and_in_order(self) -> None:
        """What is written is the input from its start, without gaps and doubles; only failed lines are condemned."""
        assert [byte for byte, _ in self.written] == list(range(len(self.written)))
        assert all(answer in ("answer", "failed") for _, answer in self.written)

    def teardown(self) -> None:
        """From any state, honest workers bring the task to its end."""
        while len(self.written) < TOTAL:
            if self.cut_to < TOTAL:
                self.cut(7)
            for serial in list(self.out):
                self.buffer.complete(serial, "answer")
            self.out.clear()
            while self.buffer.has_queued:
                self.hand_assigned()
            self._collect()
        self.every_byte_once_and_in_order()
        assert self.buffer.unwritten == 0


TestReorderBuffer = Buffer.TestCase
TestReorderBuffer.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_single_guilty_line_is_found_in_few_deaths() -> None:
    """A line that kills its worker is alone after log8 deaths, and only it is condemned."""
    lines, poison = 8192, 5000
    buffer: ReorderBuffer[str] = ReorderBuffer(0, split, LIMIT)
    buffer.add(Chunk(0, lines, 1, lines))
    deaths = 0
    condemned = []
    while buffer.has_queued:
        serial, chunk = buffer.assign()
        if not chunk.offset <= poison < chunk.end:
            buffer.complete(serial, "answer")
            continue
        deaths += 1
        failed = buffer.retry_in_parts(serial)
        if failed is not None:
            condemned.append(failed)
            buffer.complete_chunk(failed, "failed")
    assert condemned == [Chunk(poison, 1, poison + 1, 1)]
    assert deaths <= 7
    assert sum(chunk.lines for chunk, _ in buffer.drain()) == lines


def test_a_deadly_line_is_condemned_at_once() -> None:
    """A line that ran into its time limit is not given a second one."""
    buffer: ReorderBuffer[str] = ReorderBuffer(0, split, 5)
    buffer.add(Chunk(0, 1, 1, 1))
    serial, chunk = buffer.assign()
    assert buffer.retry_in_parts(serial, deadly=True) == chunk
