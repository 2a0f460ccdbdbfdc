"""A remote gBuilder endpoint as a component: over a small endpoint by the contract, and over ones that break it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from infergraph.errors import DeadlinePassed, PayloadError, RemoteError, SettingsError
from infergraph_knowledge.remote_endpoint import RemoteEndpoint

ROWS = [{"id": 1, "data": "北京\u2028a"}, {"id": 2, "data": "b"}]


class Endpoint:
    """An endpoint by the contract that answers each row with its upper case; `says` replaces answers of a route."""

    def __init__(self, **says):
        self.says = says
        self.tasks: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.asked = asyncio.Event()
        self.stopped = asyncio.Event()

    def application(self) -> web.Application:
        """Its routes."""
        application = web.Application()
        application.router.add_post("/tasks", self.submit)
        application.router.add_get("/tasks/{id}", self.progress)
        application.router.add_get("/tasks/{id}/results", self.results)
        application.router.add_delete("/tasks/{id}", self.stop)
        return application

    def _said(self, route: str) -> web.Response | None:
        """What the test wants this call of `route` to answer; the last of several for all later calls."""
        says = self.says.get(route)
        if says is None:
            return None
        number = self.calls[route]
        self.calls[route] += 1
        status, body = says[min(number, len(says) - 1)]
        return web.Response(status=status, body=body)

    async def submit(self, request):
        """POST /tasks"""
        form = await request.post()
        assert form["immediate"] == "true"
        said = self._said("submit")
        if said is None or said.status == 200:
            self.tasks[form["task_id"]] = form[self.says.get("file_field", "task_file")].file.read()
        return said or web.json_response({"status": 200})

    async def progress(self, request):
        """GET /tasks/<id>"""
        self.asked.set()
        status = 2 if request.match_info["id"] in self.tasks else -1
        return self._said("progress") or web.json_response({"status": status})

    async def results(self, request):
        """GET /tasks/<id>/results"""
        said = self._said("results")
        if said is not None:
            return said
        lines = [json.loads(line) for line in self.tasks[request.match_info["id"]].split(b"\n") if line]
        answers = [{**line, "data": line["data"].upper()} for line in lines]
        return web.Response(body="".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers).encode())

    async def stop(self, request):
        """DELETE /tasks/<id>"""
        del self.tasks[request.match_info["id"]]
        self.stopped.set()
        return web.json_response({"status": 200})


@asynccontextmanager
async def served(endpoint: Endpoint):
    """The address of an endpoint on a free port."""
    runner = web.AppRunner(endpoint.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def ask(endpoint_says: dict, rows=ROWS, **parameters):
    """What the component answers over an endpoint that says such things."""

    async def run():
        endpoint = Endpoint(**endpoint_says)
        async with served(endpoint) as url:
            return await RemoteEndpoint(url + "/", **parameters).predict(rows)

    return asyncio.run(run())


def test_rows_go_there_and_back():
    """Every row is answered by the endpoint, in order, with its keys and its characters."""
    assert ask({}) == [{"id": 1, "data": "北京\u2028A"}, {"id": 2, "data": "B"}]
    assert ask({}, ROWS[1]) == {"id": 2, "data": "B"}
    assert ask({}, []) == []


def test_a_full_endpoint_is_asked_again():
    """503 means wait; the task is handed over when there is room."""
    says = {"submit": [(503, b'{"status":503}'), (503, b""), (200, b'{"status":200}')]}
    assert [row["id"] for row in ask(says)] == [1, 2]


def test_running_and_waiting_are_waited_for():
    """The results are asked for only once the task is finished."""
    says = {"progress": [(200, b'{"status": 1}'), (200, b'{"status": 0}'), (200, b'{"status": 2}')]}
    assert [row["id"] for row in ask(says)] == [1, 2]


def test_the_published_examples_field_name():
    """An endpoint that reads its upload from the part `file` is served by a parameter."""
    assert ask({"file_field": "file"}, ROWS[1], file_field="file") == {"id": 2, "data": "B"}


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ({"submit": [(400, b'{"status":400}')]}, r'answered 400 to POST /tasks: \{"status":400\}'),
        ({"progress": [(200, b'{"status": -1}')]}, "does not know the task any more"),
        ({"progress": [(200, b'{"status": 9}')]}, "answered .* where a task's status was asked for"),
        ({"progress": [(200, b"<html>")]}, "answered .* where a task's status was asked for"),
        (
            {"progress": [(200, b'{"status": 3}')], "results": [(409, b"out of memory")]},
            "failed the task: out of memory",
        ),
        ({"results": [(500, b"")]}, "answered 500 to GET /tasks/"),
        ({"results": [(200, b'{"id": 1}\n')]}, "answered 1 lines to 2 records"),
        ({"results": [(200, b'{"id": 1}\nnot json\n')]}, "answered a line that is not JSON: b'not json'"),
        ({"results": [(200, b"[1]\n[2]\n")]}, "answered a line that is not an object"),
    ],
)
def test_what_an_endpoint_does_wrong_is_told(says, text):
    """Each way of failing is a fault of the remote that names the endpoint and what it did."""
    with pytest.raises(RemoteError, match=rf"^the endpoint http://127\.0\.0\.1:\d+ {text}") as caught:
        ask(says)
    assert caught.value.status == 500, "a task's status is not the status of the request that waits for it"


def test_a_record_that_failed_there_is_named_here():
    """An error line of the endpoint is a fault of the record in its place."""
    line = json.dumps({"error": {"line": 2, "reason": "no data"}, "input": "{}"}).encode()
    with pytest.raises(PayloadError, match=r"^record 1: .* could not answer it: no data$"):
        ask({"results": [(200, b'{"id": 1}\n' + line)]})


def test_a_record_that_is_not_json_is_named():
    """What cannot be written as JSON is refused before anything is sent."""
    with pytest.raises(PayloadError, match=r"^record 1 cannot be written as JSON"):
        ask({}, [{"data": "x"}, {"data": float("nan")}])


def test_a_task_over_its_time_is_stopped_there():
    """When the time is over the task is deleted at the endpoint, and the fault says how long was waited."""

    async def run():
        endpoint = Endpoint(progress=[(200, b'{"status": 0}')])
        async with served(endpoint) as url:
            with pytest.raises(DeadlinePassed, match=r"did not finish the task in 0\.2 s"):
                await RemoteEndpoint(url, timeout_s=0.2).predict(ROWS)
            assert endpoint.stopped.is_set()
            assert endpoint.tasks == {}

    asyncio.run(run())


def test_a_request_that_is_given_up_stops_its_task():
    """When the caller goes away the task is deleted at the endpoint."""

    async def run():
        endpoint = Endpoint(progress=[(200, b'{"status": 0}')])
        async with served(endpoint) as url:
            asked = asyncio.create_task(RemoteEndpoint(url).predict(ROWS))
            await endpoint.asked.wait()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert endpoint.tasks == {}

    asyncio.run(run())


def test_nobody_there():
    """An address where nobody listens is a fault that names it."""

    async def run():
        async with served(Endpoint()) as url:
            pass
        with pytest.raises(RemoteError, match=rf"the endpoint {url} cannot be reached") as caught:
            await RemoteEndpoint(url).predict(ROWS)
        assert caught.value.status is None, "it may be asked again"

    asyncio.run(run())


@pytest.mark.parametrize("url", ["", "ftp://x", "localhost:9000", "http://"])
def test_an_address_that_is_none_is_refused(url):
    """What is no http address is told at construction."""
    with pytest.raises(SettingsError, match="url must be an http address"):
        RemoteEndpoint(url)
