"""A checkup: steps against an address, and what each of them found.

steps ─▶ findings: good, doubtful, bad (with the reason and the curl line), or not tried since an earlier one was bad
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from infergraph.cli.wire_probe import Probe, Reply


class Verdict(Enum):
    """What a step came to."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


class Finding(NamedTuple):
    """What a step found; `curl` repeats the request that showed it."""

    step: str
    verdict: Verdict
    text: str
    curl: str = ""


class Bad(Exception):
    """The step failed."""

    def __init__(self, text: str, probe: Probe | None = None, verdict: Verdict = Verdict.BAD) -> None:
        super().__init__(text)
        self.text = text
        self.probe = probe
        self.verdict = verdict


Step = tuple[str, Callable[[], str], bool]
"""Name, what it does (it returns what was good), and whether the steps behind it need it."""


def run_steps(steps: list[Step]) -> Iterator[Finding]:
    """Do one step after the other, until one that the rest needs is bad."""
    for name, do, is_needed in steps:
        try:
            yield Finding(name, Verdict.GOOD, do())
        except Bad as bad:
            yield Finding(name, bad.verdict, bad.text, bad.probe.curl if bad.probe else "")
            if is_needed and bad.verdict is Verdict.BAD:
                return


def told(reply: Reply) -> str:
    """What an error's body says, where it says something."""
    try:
        document = reply.json()
    except ValueError as error:
        return f" ({error})" if reply.body else ""
    status = document.get("status") if isinstance(document, dict) else None
    info = status.get("info") if isinstance(status, dict) else None
    return f" ({info or reply.body[:120].decode('utf-8', 'replace')})"
