from __future__ import annotations

import socket

from infergraph.process.channel import Channel, Report, StopRequest, WorkerState


def pair() -> tuple[Channel[Report], Channel[StopRequest]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Channel(ours, Report), Channel(theirs, StopRequest)


def test_items_arrive_whole_and_in_order() -> None:
    """Several items sent at once, one of them longer than a read, come out as they went in."""
    ours, theirs = pair()
    sent = [
        Report(WorkerState.READY),
        Report(WorkerState.LOAD_FAILED, "x" * 100_000, 3, "trace"),
        Report(WorkerState.ALIVE),
    ]
    for report in sent:
        theirs.send(report)
    received: list[Report] = []
    while len(received) < 3:
        received += ours.receive() or []
    assert received == sent
    ours.send(StopRequest(1.0, 2.5))
    assert theirs.receive() == [StopRequest(1.0, 2.5)]
    for end in (ours, theirs):
        end.close()


def test_nothing_there_and_nobody_there_are_told_apart() -> None:
    """An empty channel gives an empty list, a closed one None; sending to nobody is no error."""
    ours, theirs = pair()
    assert ours.receive() == []
    theirs.close()
    assert ours.receive() is None
    ours.send(StopRequest(0.0, 0.0))
    ours.close()


def test_garbage_on_a_channel_is_skipped() -> None:
    """Lines that are no report do not hide those that are."""
    ours, theirs = pair()
    theirs.socket.sendall(b'hello\n{"state":"nonsense"}\n')
    theirs.send(Report(WorkerState.READY))
    assert ours.receive() == [Report(WorkerState.READY)]
    for end in (ours, theirs):
        end.close()
