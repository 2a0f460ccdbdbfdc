"""The orchestrator's part: probe, ask, send feedback."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from infergraph.cli.checkup import Bad, Step, Verdict, told
from infergraph.cli.wire_probe import Address, Probe, Reply
from infergraph.errors import RemoteError


class SeldonCheckup:
    """Plays the orchestrator's part against a microservice.

    Args:
        message: what to send to /predict.
    """

    def __init__(self, address: Address, message: Any) -> None:
        self._address = address
        self._message = message

    def steps(self) -> list[Step]:
        """The steps in their order."""
        return [
            ("reach", self._reach, True),
            ("health", self._health, False),
            ("metadata", self._metadata, False),
            ("predict", self._predict, True),
            ("predict as a form", self._predict_as_form, False),
            ("external API", self._external, False),
            ("bad message", self._bad_message, False),
            ("feedback", self._feedback, False),
        ]

    def _ask(self, probe: Probe) -> Reply:
        try:
            return self._address.ask(probe)
        except RemoteError as fault:
            raise Bad(str(fault), probe) from fault

    def _message_in(self, reply: Reply, probe: Probe) -> dict[str, Any]:
        if reply.status != 200:
            raise Bad(f"HTTP {reply.status} instead of 200{told(reply)}", probe)
        try:
            document = reply.json()
        except ValueError as error:
            raise Bad(str(error), probe) from error
        if not isinstance(document, dict) or not {"data", "strData", "binData", "jsonData"} & set(document):
            raise Bad(f"the body is no Seldon message: {reply.body[:120]!r}", probe)
        return document

    def _reach(self) -> str:
        probe = self._address.get("/health/ping")
        reply = self._ask(probe)
        if reply.status != 200:
            raise Bad(f"HTTP {reply.status} instead of 200{told(reply)}", probe)
        return f"it answers in {reply.seconds * 1000:.0f} ms"

    def _health(self) -> str:
        self._message_in(self._ask(probe := self._address.get("/health/status")), probe)
        return "a health message"

    def _metadata(self) -> str:
        probe = self._address.get("/metadata")
        reply = self._ask(probe)
        if reply.status != 200:
            raise Bad(f"HTTP {reply.status} instead of 200{told(reply)}", probe, Verdict.DOUBTFUL)
        try:
            document = reply.json()
        except ValueError as error:
            raise Bad(str(error), probe) from error
        if not isinstance(document, dict) or "name" not in document:
            raise Bad("the metadata has no name", probe, Verdict.DOUBTFUL)
        return f"name {document['name']!r}"

    def _predict(self) -> str:
        reply = self._ask(probe := self._address.post_json("/predict", self._message))
        document = self._message_in(reply, probe)
        kind = next(key for key in ("data", "strData", "binData", "jsonData") if key in document)
        return f"a message with {kind} in {reply.seconds * 1000:.0f} ms"

    def _predict_as_form(self) -> str:
        body = f"json={quote(json.dumps(self._message))}".encode()
        curl = f"curl -i --data-urlencode 'json={json.dumps(self._message)}' {self._address.base}/predict"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._message_in(self._ask(probe := Probe("POST", "/predict", body, headers, curl)), probe)
        return "the form that older orchestrators send is understood"

    def _external(self) -> str:
        self._message_in(self._ask(probe := self._address.post_json("/api/v1.0/predictions", self._message)), probe)
        return "answers at /api/v1.0/predictions"

    def _bad_message(self) -> str:
        probe = self._address.post_json("/predict", {"nothing": "useful"})
        reply = self._ask(probe)
        try:
            status = reply.json().get("status", {})
        except (ValueError, AttributeError):
            status = {}
        if reply.status < 400 or not isinstance(status, dict) or not status.get("info"):
            text = f"a message without payload gives HTTP {reply.status} and no reason"
            raise Bad(text, probe, Verdict.DOUBTFUL)
        return f"refused with HTTP {reply.status} and a reason"

    def _feedback(self) -> str:
        probe = self._address.post_json("/send-feedback", {"request": self._message, "reward": 0.0})
        reply = self._ask(probe)
        if reply.status != 200:
            raise Bad(f"HTTP {reply.status} instead of 200{told(reply)}", probe, Verdict.DOUBTFUL)
        return "taken"
