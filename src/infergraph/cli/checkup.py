"""A checkup of a server: steps that send requests, and the result of each.

steps ─▶ findings: good, doubtful, bad (with the reason and a curl line), or not tried because an earlier one was bad
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from infergraph.cli.wire_probe import Address, Probe, Reply
from infergraph.errors import RemoteError
from infergraph.protocol.paths import API, METADATA


class Verdict(Enum):
    """The verdict of a step."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


class Finding(NamedTuple):
    """The result of a step; `curl` has a line for each request that shows it."""

    step: str
    verdict: Verdict
    text: str
    curl: str = ""


class Bad(Exception):
    """The step failed.

    Args:
        probes: the requests that show it, in order.
    """

    def __init__(self, text: str, *probes: Probe, verdict: Verdict = Verdict.BAD) -> None:
        super().__init__(text)
        self.text = text
        self.curl = "\n".join(dict.fromkeys(probe.curl for probe in probes))
        self.verdict = verdict


_ENDS_SOON_DAYS = 14

Step = tuple[str, Callable[[], str], bool]
"""Name, function (it returns a text about what is good), and whether later steps depend on it."""


def run_steps(steps: list[Step]) -> Iterator[Finding]:
    """Run the steps in order, until one that the others depend on is bad."""
    for name, do, is_needed in steps:
        try:
            yield Finding(name, Verdict.GOOD, do())
        except Bad as bad:
            yield Finding(name, bad.verdict, bad.text, bad.curl)
            if is_needed and bad.verdict is Verdict.BAD:
                return


def asked(address: Address, probe: Probe, *, timeout_s: float | None = None) -> Reply:
    """The answer to a request. Raises: Bad if there is none, saying why."""
    try:
        return address.ask(probe, timeout_s=timeout_s)
    except RemoteError as fault:
        raise Bad(str(fault), probe) from fault


def check_status(reply: Reply, *probes: Probe, verdict: Verdict = Verdict.BAD) -> None:
    """Raise Bad for an answer with another status than 200."""
    if reply.status != 200:
        raise Bad(f"HTTP {reply.status} instead of 200{told(reply)}", *probes, verdict=verdict)


def json_in(reply: Reply, *probes: Probe) -> Any:
    """The JSON of an answer. Raises: Bad if it has none."""
    try:
        return reply.json()
    except ValueError as error:
        raise Bad(str(error), *probes) from error


def told(reply: Reply) -> str:
    """The details of an error: its redirect, or the reason or text in its body, if any."""
    if 300 <= reply.status < 400:
        return f" (it redirects to {reply.headers.get('location', 'nowhere')}: use the final address)"
    try:
        document = reply.json()
    except ValueError as error:
        return f" ({error})" if reply.body else ""
    status = document.get("status") if isinstance(document, dict) else None
    info = status.get("info") if isinstance(status, dict) else None
    info = document.get("error") if info is None and isinstance(document, dict) else info
    return f" ({info or reply.body[:120].decode('utf-8', 'replace')})"


def tls_steps(address: Address, now_s: float) -> list[Step]:
    """The step that looks at the certificate of an https address; none for plain HTTP.

    Args:
        now_s: seconds since 1970.
    """

    def look() -> str:
        probe = address.get(METADATA)
        try:
            found = address.certificate()
        except RemoteError as fault:
            raise Bad(str(fault), probe) from fault
        days = int((found.ends_s - now_s) // 86400)
        if days < _ENDS_SOON_DAYS:
            raise Bad(f"the certificate of {found.name} ends in {days} days", probe, verdict=Verdict.DOUBTFUL)
        return f"{found.tls}, trusted: {found.name}, valid for {days} days"

    return [("certificate", look, True)] if address.is_secure else []


def learn(address: Address) -> Mapping[str, Any] | None:
    """The metadata of a component or a graph; None if there is none that can be read."""
    for path in (METADATA, API + METADATA):
        try:
            reply = address.ask(address.get(path))
            document = reply.json() if reply.status == 200 else None
        except (RemoteError, ValueError):
            continue
        if isinstance(document, dict):
            return document
    return None
