"""Checks an endpoint as a Seldon orchestrator calls it: probes, predictions, feedback."""

from __future__ import annotations

import functools
import json
import shlex
from typing import Any
from urllib.parse import quote

from infergraph.cli import example_requests
from infergraph.cli.checkup import Bad, Step, Verdict, asked, check_status, json_in, learn, told
from infergraph.cli.wire_probe import Address, Probe, Reply
from infergraph.errors import RemoteError
from infergraph.message import Method
from infergraph.protocol.paths import API, EXTERNAL, HEALTH, INTERNAL, METADATA, PING, READY

_PAYLOADS = {"data", "strData", "binData", "jsonData"}


class SeldonCheckup:
    """Calls a component like an orchestrator, or a graph like its callers.

    Args:
        message: the message to send; by default what the metadata asks for, otherwise each kind in turn.
    """

    def __init__(self, address: Address, message: Any = None) -> None:
        self._address = address
        self._ask = functools.partial(asked, address)
        self._messages = [] if message is None else [message]
        self._message = message

    def steps(self) -> list[Step]:
        """The steps in order; a graph has fewer methods than a component."""
        is_graph = self._is_graph()
        prefix, paths = (API, EXTERNAL) if is_graph else ("", INTERNAL)
        self._predictions = paths[Method.PREDICT]
        self._feedbacks = paths[Method.SEND_FEEDBACK]
        first: list[Step] = [("reach", self._reach_graph if is_graph else self._reach, True)]
        if not is_graph:
            first.append(("health", self._health, False))
        first += [("metadata", lambda: self._metadata(prefix + METADATA), False), ("predict", self._predict, True)]
        if not is_graph:
            first += [("predict as a form", self._predict_as_form, False), ("external API", self._external, False)]
        return [*first, ("bad message", self._bad_message, False), ("feedback", self._feedback, False)]

    def _is_graph(self) -> bool:
        """Whether the server serves a graph: its metadata has nodes, or it is ready without a component's paths."""
        try:
            if self._address.ask(self._address.get(PING)).status == 200:
                document = self._address.ask(self._address.get(API + METADATA)).json()
                return isinstance(document, dict) and "models" in document
            return self._address.ask(self._address.get(READY)).status in (200, 503)
        except (RemoteError, ValueError):
            return False

    def _message_in(self, reply: Reply, probe: Probe) -> dict[str, Any]:
        check_status(reply, probe)
        document = json_in(reply, probe)
        if not isinstance(document, dict) or not _PAYLOADS & set(document):
            raise Bad(f"the body is not a Seldon message: {reply.body[:120]!r}", probe)
        return document

    def _reach(self) -> str:
        probe = self._address.get(PING)
        reply = self._ask(probe)
        check_status(reply, probe)
        return f"it answers in {reply.seconds * 1000:.0f} ms"

    def _reach_graph(self) -> str:
        reply = self._ask(probe := self._address.get(READY))
        if reply.status != 200:
            raise Bad(f"the graph is not ready: HTTP {reply.status}{told(reply)}", probe)
        return f"a graph, it answers in {reply.seconds * 1000:.0f} ms"

    def _health(self) -> str:
        self._message_in(self._ask(probe := self._address.get(HEALTH)), probe)
        return "a health message"

    def _metadata(self, path: str) -> str:
        probe = self._address.get(path)
        reply = self._ask(probe)
        check_status(reply, probe, verdict=Verdict.DOUBTFUL)
        document = json_in(reply, probe)
        if not isinstance(document, dict) or "name" not in document:
            raise Bad("the metadata has no name", probe, verdict=Verdict.DOUBTFUL)
        return f"name {document['name']!r}"

    def _predict(self) -> str:
        """Send one message after the other, until one is answered."""
        failures = []
        for message in self._messages or example_requests.messages_to_try(learn(self._address)):
            reply = self._ask(probe := self._address.post_json(self._predictions, message))
            try:
                document = self._message_in(reply, probe)
            except Bad as bad:
                failures.append(bad)
                continue
            self._message = message
            return f"{_kind(document)} for {_kind(message)}, in {reply.seconds * 1000:.0f} ms"
        if len(failures) > 1:
            failures[0].text += "; text and records are refused too: give --row or --data with valid input"
        raise failures[0]

    def _predict_as_form(self) -> str:
        body = f"json={quote(json.dumps(self._message))}".encode()
        field = shlex.quote(f"json={json.dumps(self._message, ensure_ascii=False)}")
        url = shlex.quote(self._address.base + INTERNAL[Method.PREDICT])
        curl = f"{self._address.curl} --data-urlencode {field} {url}"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._message_in(self._ask(probe := Probe("POST", INTERNAL[Method.PREDICT], body, headers, curl)), probe)
        return "the form that older orchestrators send is accepted"

    def _external(self) -> str:
        self._message_in(self._ask(probe := self._address.post_json(EXTERNAL[Method.PREDICT], self._message)), probe)
        return f"answers at {EXTERNAL[Method.PREDICT]}"

    def _bad_message(self) -> str:
        probe = self._address.post_json(self._predictions, {"nothing": "useful"})
        reply = self._ask(probe)
        try:
            status = reply.json().get("status", {})
        except (ValueError, AttributeError):
            status = {}
        if reply.status < 400 or not isinstance(status, dict) or not status.get("info"):
            text = f"a message without payload gives HTTP {reply.status} and no reason"
            raise Bad(text, probe, verdict=Verdict.DOUBTFUL)
        return f"refused with HTTP {reply.status} and a reason"

    def _feedback(self) -> str:
        probe = self._address.post_json(self._feedbacks, {"request": self._message, "reward": 0.0})
        reply = self._ask(probe)
        check_status(reply, probe, verdict=Verdict.DOUBTFUL)
        return "taken"


def _kind(message: Any) -> str:
    """The kind of a message's payload, in words."""
    kind = next((key for key in ("strData", "binData", "jsonData", "data") if key in message), "no payload")
    if kind != "data" or not isinstance(message["data"], dict):
        return kind
    return next((key for key in ("ndarray", "tensor", "tftensor") if key in message["data"]), kind)
