"""Checks an endpoint as gBuilder uses it: register, submit, poll, fetch, stop."""

from __future__ import annotations

import functools
import json
import time
import uuid
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from infergraph.cli import example_requests
from infergraph.cli.checkup import Bad, Step, Verdict, asked, check_status, json_in, learn, told
from infergraph.cli.example_requests import MARK, Rows
from infergraph.cli.wire_probe import Address, Probe, Reply
from infergraph.protocol import gbuilder
from infergraph.protocol.gbuilder import TaskStatus
from infergraph.protocol.paths import TASKS
from infergraph.tasks.availability import Availability

STATUS_LIMIT_S = 3.0
STOP_LIMIT_S = 1.0
_LONG_LINES = 20_000
_WAITS_S = (0.02, 0.05, 0.1, 0.2, 0.5)
_STATES = {status.value: status.name.lower() for status in TaskStatus}
_ENDED = {TaskStatus.FINISHED, TaskStatus.FAILED, TaskStatus.UNKNOWN}


Probes = tuple[Probe, ...]


class TaskCheckup:
    """Calls a task endpoint like gBuilder.

    Args:
        rows: the rows to send; by default what the metadata asks for, otherwise each kind in turn.
        task_timeout_s: how long a small task may take.
    """

    def __init__(self, address: Address, *, rows: Rows | None = None, task_timeout_s: float = 60.0) -> None:
        self._address = address
        self._ask = functools.partial(asked, address)
        self._task_timeout_s = task_timeout_s
        self._given = rows
        self._candidates: list[Rows] = []
        self._rows = rows or example_requests.rows_to_try(None)[0]
        self._run = f"doctor-{uuid.uuid4().hex[:8]}"
        self._first = f"{self._run}-1"
        self._submitted = self._form(self._first, b"")  # checked by later steps

    def steps(self) -> list[Step]:
        """The steps in order."""
        return [
            ("reach", self._reach, True),
            ("status", self._status, True),
            ("submit", self._submit, True),
            ("finish", self._finish, True),
            ("results", self._results, True),
            ("submit as `file`", self._submit_as_file, False),
            ("submit again", self._submit_again, False),
            ("bad records", self._bad_records, False),
            ("unknown task", self._unknown, False),
            ("stop", self._stop, False),
            ("free again", self._free_again, False),
        ]

    # ── shared by the steps ──────────────────────────────────────────────────────────────────────────────────────

    def _number(self, probe: Probe) -> int:
        """The number under `status` in the answer."""
        reply = self._ask(probe)
        check_status(reply, probe)
        document = json_in(reply, probe)
        number = document.get("status") if isinstance(document, dict) else None
        if isinstance(number, bool) or not isinstance(number, int):
            raise Bad(f'the body is not {{"status": number}}: {reply.body[:120]!r}', probe)
        return number

    def _form(self, id: str, content: bytes, *, field: str = "task_file") -> Probe:
        return self._address.post_form(gbuilder.TASKS, {"task_id": id, "immediate": "true"}, field, content)

    def _state(self, id: str) -> tuple[int, Probe]:
        probe = self._address.get(gbuilder.task_path(id))
        number = self._number(probe)
        if number not in _STATES:
            raise Bad(f"{number} is not a task state (0, 1, 2, 3 or -1)", probe)
        return number, probe

    def _until(self, id: str, wanted: Collection[int], within_s: float) -> tuple[int, Probe]:
        """Poll until the task is in one of the wanted states, or until the time limit."""
        deadline = time.monotonic() + within_s
        for turn in range(1 << 30):
            state, probe = self._state(id)
            if state in wanted or time.monotonic() > deadline:
                return state, probe
            time.sleep(_WAITS_S[min(turn, len(_WAITS_S) - 1)])
        raise AssertionError("the time limit has passed already")

    def _lines(self, id: str, form: Probe) -> tuple[list[Any], Probes]:
        """The results of the task submitted by `form`, and the requests that show them."""
        probes = (form, self._address.get(gbuilder.results_path(id)))
        reply = self._ask(probes[1])
        check_status(reply, *probes)
        rows = []
        for number, line in enumerate(reply.body.removesuffix(b"\n").split(b"\n"), 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise Bad(f"line {number} of the results is not JSON: {line[:80]!r}", *probes) from error
        return rows, probes

    def _compare(self, sent: list[Any], rows: list[Any], probes: Probes) -> int:
        """Check that each row is answered in its place; returns the number of error lines."""
        if len(rows) != len(sent):
            raise Bad(f"{len(rows)} lines came back for {len(sent)}", *probes)
        failed = 0
        for number, (row, given) in enumerate(zip(rows, sent, strict=True), 1):
            if _is_error(row):
                failed += 1
            elif not self._rows.marked:
                continue
            elif not isinstance(row, dict) or MARK not in row:
                raise Bad(f"line {number}: the row's own keys are missing", *probes)
            elif row[MARK] != given[MARK]:
                place = row[MARK] + 1 if isinstance(row[MARK], int) else row[MARK]
                text = f"the results are out of order: line {number} answers line {place} of the input"
                raise Bad(text, *probes)
        return failed

    # ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────

    def _reach(self) -> str:
        probe = self._address.get(gbuilder.STATUS)
        reply = self._ask(probe, timeout_s=STATUS_LIMIT_S * 3)
        return f"it answers (HTTP {reply.status})"

    def _status(self) -> str:
        probe = self._address.get(gbuilder.STATUS)
        number = self._number(probe)
        seconds = self._ask(probe).seconds
        if number not in set(Availability):
            raise Bad(f"{number} is not an endpoint status (1, 2 or 3)", probe)
        if number == Availability.BROKEN:
            raise Bad("the endpoint answers 3: it is in error and cannot serve", probe)
        if seconds > STATUS_LIMIT_S:
            raise Bad(f"it took {seconds:.1f} s; a registration waits {STATUS_LIMIT_S:g} s", probe)
        if number == Availability.FULL:
            raise Bad("the endpoint answers 2: it is full; try again later", probe)
        return f"available, in {seconds * 1000:.0f} ms"

    def _submit(self) -> str:
        self._candidates = [self._given] if self._given else example_requests.rows_to_try(learn(self._address))
        self._rows = self._candidates[0]
        probe = self._form(self._first, _jsonl(self._rows.rows))
        reply = self._ask(probe)
        if reply.status == 200:
            self._accepted(reply, probe)
            self._submitted = probe
            return f"accepted: {len(self._rows.rows)} {self._rows.kind}"
        other = self._ask(self._form(self._first, _jsonl(self._rows.rows), field="file"))
        if other.status == 200:
            raise Bad("the file is accepted only under the field `file`; the contract says `task_file`", probe)
        raise Bad(f"HTTP {reply.status} instead of 200{told(reply)}", probe)

    @staticmethod
    def _accepted(reply: Reply, probe: Probe) -> None:
        document = json_in(reply, probe)
        if not isinstance(document, dict) or document.get("status") != 200:
            raise Bad(f'the body is not {{"status": 200}}: {reply.body[:120]!r}', probe)

    def _finish(self) -> str:
        """Wait for the task; if it failed, for another one with rows of another kind."""
        began = time.monotonic()
        reasons = []
        for place, rows in enumerate(self._candidates):
            if place:
                self._rows, self._first = rows, f"{self._run}-1-{place}"
                reply = self._ask(probe := self._form(self._first, _jsonl(rows.rows)))
                if reply.status != 200:
                    continue
                self._submitted = probe
            form = self._submitted
            state, probe = self._until(self._first, _ENDED, self._task_timeout_s)
            seconds = time.monotonic() - began
            if state == TaskStatus.FINISHED:
                return f"finished after {seconds:.1f} s" + (f", with {rows.kind} for rows" if place else "")
            if state != TaskStatus.FAILED:
                text = f"after {seconds:.1f} s the task is {_STATES[state]}, not finished"
                raise Bad(text, form, probe)
            reasons.append(f"{rows.kind}: {self._why_failed()}")
        text = f"the task failed ({'; '.join(reasons)}): send valid rows with --rows or --row"
        raise Bad(text, form, probe)

    def _why_failed(self) -> str:
        """Why the task failed, from the native API, if the server has it."""
        with suppress(Bad, ValueError, AttributeError):
            reply = self._ask(self._address.get(f"{TASKS}/{self._first}"))
            return str(reply.json().get("error") or "no reason given")
        return "no reason given"

    def _results(self) -> str:
        rows, probes = self._lines(self._first, self._submitted)
        failed = self._compare(self._rows.rows, rows, probes)
        if failed:
            reason = next(row["error"] for row in rows if _is_error(row))
            text = f"{failed} of {len(rows)} rows failed: {reason}"
            raise Bad(text, *probes, verdict=Verdict.DOUBTFUL)
        if not self._rows.marked:
            return f"{len(rows)} lines, {self._order(rows)}"
        added = sorted(set(rows[0]) - set(self._rows.rows[0]))
        return f"{len(rows)} lines in order" + (f", each with {', '.join(added)}" if added else "")

    def _order(self, rows: list[Any]) -> str:
        """The order of unmarked rows: the first one alone, and all in reverse order, must get the same answers."""
        answers = [_content(row) for row in rows]
        if all(answer == answers[0] for answer in answers):
            return "all equal, so their order cannot be checked"
        sent = self._rows.rows
        for name, given, expected in (("alone", sent[:1], answers[:1]), ("backwards", sent[::-1], answers[::-1])):
            id = f"{self._run}-{name}"
            self._accepted(self._ask(form := self._form(id, _jsonl(given))), form)
            self._until(id, _ENDED, self._task_timeout_s)
            others, probes = self._lines(id, form)
            if [_content(row) for row in others] != expected:
                text = f"the same rows {name} get different answers: they are out of order, or not deterministic"
                raise Bad(text, self._submitted, *probes, verdict=Verdict.DOUBTFUL)
        return "in order"

    def _submit_as_file(self) -> str:
        probe = self._form(f"{self._run}-2", _jsonl(self._rows.rows), field="file")
        reply = self._ask(probe)
        if reply.status != 200:
            text = f"the published example's field `file` is not accepted (HTTP {reply.status})"
            raise Bad(text, probe, verdict=Verdict.DOUBTFUL)
        self._until(f"{self._run}-2", _ENDED, self._task_timeout_s)
        return "taken too"

    def _submit_again(self) -> str:
        probe = self._form(self._first, _jsonl(self._rows.rows))
        reply = self._ask(probe)
        if reply.status != 200:
            text = f"a repeated POST is not harmless: HTTP {reply.status}{told(reply)}"
            raise Bad(text, probe, verdict=Verdict.DOUBTFUL)
        return "a repeated POST is harmless"

    def _bad_records(self) -> str:
        id = f"{self._run}-3"
        lines = [json.dumps(row, ensure_ascii=False).encode() for row in self._rows.rows]
        lines.insert(1, b"this is not JSON")
        sent = [*self._rows.rows[:1], {MARK: None}, *self._rows.rows[1:]]
        reply = self._ask(form := self._form(id, b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\n"))
        if reply.status != 200:
            text = f"a file with one bad line is refused: HTTP {reply.status}"
            raise Bad(text, form, verdict=Verdict.DOUBTFUL)
        state, probe = self._until(id, _ENDED, self._task_timeout_s)
        if state != TaskStatus.FINISHED:
            raise Bad(f"one bad line leaves the task {_STATES[state]}", form, probe, verdict=Verdict.DOUBTFUL)
        rows, probes = self._lines(id, form)
        if len(rows) != len(sent) or not _is_error(rows[1]):
            raise Bad("a bad line is not answered in its place", *probes, verdict=Verdict.DOUBTFUL)
        self._compare(sent, rows, probes)
        return "a bad line affects only itself"

    def _unknown(self) -> str:
        state, probe = self._state(f"{self._run}-unknown")
        if state != TaskStatus.UNKNOWN:
            raise Bad(f"an unknown task is {_STATES[state]}, expected -1", probe)
        probe = self._address.get(gbuilder.results_path(f"{self._run}-unknown"))
        reply = self._ask(probe)
        if reply.status < 400:
            raise Bad(f"results of an unknown task are answered with HTTP {reply.status}", probe)
        return "reported as unknown"

    def _stop(self) -> str:
        lines = _LONG_LINES
        for turn in range(4):
            id = f"{self._run}-long-{turn}"
            reply = self._ask(form := self._form(id, _jsonl(self._rows.rows) * (lines // len(self._rows.rows))))
            if reply.status != 200:
                raise Bad(f"a task of {lines} lines is refused: HTTP {reply.status}{told(reply)}", form)
            self._until(id, {0, 2, 3, -1}, self._task_timeout_s)
            stop = self._address.get(gbuilder.task_path(id), "DELETE")
            reply = self._ask(stop)
            if reply.status == 409 and self._state(id)[0] == TaskStatus.FINISHED:
                lines *= 8  # it ended too soon: try a longer one
                continue
            return self._stopped(id, reply, (form, stop))
        raise Bad(f"a task of {lines // 8} lines ends before it can be stopped", verdict=Verdict.DOUBTFUL)

    def _stopped(self, id: str, reply: Reply, probes: tuple[Probe, Probe]) -> str:
        if reply.status != 200:
            raise Bad(f"DELETE of a running task: HTTP {reply.status} instead of 200{told(reply)}", *probes)
        self._accepted(reply, probes[1])
        state, after = self._state(id)
        if state != TaskStatus.UNKNOWN:
            raise Bad(f"DELETE answered 200, but the task is still {_STATES[state]}, expected -1", *probes, after)
        if reply.seconds > STOP_LIMIT_S:
            raise Bad(f"DELETE took {reply.seconds:.1f} s", *probes, verdict=Verdict.DOUBTFUL)
        return f"a running task is stopped in {reply.seconds * 1000:.0f} ms"

    def _free_again(self) -> str:
        probe = self._address.get(gbuilder.STATUS)
        number = self._number(probe)
        if number != Availability.AVAILABLE:
            raise Bad(f"after the stop the endpoint answers {number}, expected 1", probe)
        id = f"{self._run}-4"
        self._accepted(self._ask(form := self._form(id, _jsonl(self._rows.rows))), form)
        state, probe = self._until(id, _ENDED, self._task_timeout_s)
        if state != TaskStatus.FINISHED:
            raise Bad(f"after the stop a new task is {_STATES[state]}", form, probe)
        return "it accepts and finishes the next task"


def _jsonl(rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _is_error(row: Any) -> bool:
    """Whether a line is the answer to a bad record."""
    return isinstance(row, dict) and "error" in row and MARK not in row


def _content(row: Any) -> Any:
    """An answer without the request's id, which differs each time."""
    return {key: value for key, value in row.items() if key != "meta"} if isinstance(row, dict) else row
