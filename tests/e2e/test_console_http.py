"""The console over HTTP: who may look, what a page is made of, and what it never shows."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from urllib.parse import quote, urlencode, urljoin

import pytest

from console_units import GRAPH
from infergraph.serving.console.rendering import number
from infergraph.tasks.files import DataFolder
from served import Reply, Served, served

PAGES = ("", "try", "tasks", "feedback")
PARTS = ("live", "task-list", "arms")
LINES = b'{"data": "Ada"}\n{"data": "Bob"}\n'
HOSTILE = "<img src=x onerror=alert(1)>\"'&/\u2028"


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A component with tasks, whose driver does not run."""
    data = tmp_path_factory.mktemp("data")
    secret = '[{"name": "healed", "value": "s3cret", "type": "STRING"}]'
    with served("console_units:Places", tasks=True, data_dir=str(data), parameters=secret) as there:
        yield there


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A graph with a router."""
    folder = tmp_path_factory.mktemp("graph")
    (folder / "offers.yaml").write_text(GRAPH)
    with served("offers.yaml", folder=folder, data_dir=str(folder / "data")) as there:
        yield there


def submit(there: Served, id: str, **headers: str) -> Reply:
    """A task over the public API."""
    return there.ask("POST", f"/api/v1.0/tasks?{urlencode({'id': id})}", LINES, headers)


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_made_of_our_own_files_alone(component: Served, page: str) -> None:
    """No inline script, style or handler stands in a page, and nothing on it comes from elsewhere."""
    reply = component.get(f"/console/{page}")
    html = reply.body.decode()
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["cache-control"] == "no-store"
    for tag in re.findall(r"<script[^>]*>", html):
        assert re.search(r'src="static/[\w.]+"', tag) or 'type="application/json"' in tag, tag
    assert not re.search(r"<[^>]+\s(on\w+|style)=", html)
    assert "<style" not in html
    assert not re.findall(r"""(?:src|href|action)=["'](?:https?:)?//""", html)


@pytest.mark.parametrize("part", PARTS)
def test_parts_have_no_page_around_them(component: Served, part: str) -> None:
    """What is put into a page that is there is a part of it, guarded as the page is."""
    reply = component.get(f"/console/{part}")
    assert reply.status == 200
    assert b"<html" not in reply.body
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_the_console_is_a_folder(component: Served) -> None:
    """/console leads to /console/, by a path that an ingress may have put anything before."""
    reply = component.get("/console")
    assert (reply.status, reply.headers["location"]) == (308, "console/")


def test_other_sites_cannot_look_but_may_link(component: Served) -> None:
    """Another site's script, frame or form gets 403; a link to a page is followed."""
    for headers in ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, {"Origin": "http://evil.example"}):
        reply = component.ask("GET", "/console/live", headers=headers)
        assert reply.status == 403
        assert b"Places" not in reply.body
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert component.ask("GET", "/console/", headers=followed).status == 200


def test_other_sites_change_no_tasks(component: Served) -> None:
    """A form or script of another site submits, stops and deletes nothing; a program does."""
    assert submit(component, "mine").status == 201
    assert submit(component, "theirs", Origin="http://evil.example").status == 403
    for path in ("POST /api/v1.0/tasks/mine/cancel", "DELETE /api/v1.0/tasks/mine", "DELETE /tasks/mine"):
        assert component.ask(*path.split(), headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    listed = component.get("/api/v1.0/tasks").json["tasks"]
    assert [task["id"] for task in listed if task["id"] in ("mine", "theirs")] == ["mine"]


def test_preferences_are_ours_to_set_and_lead_back_to_a_page(component: Served) -> None:
    """Language and colours are kept in cookies; another site cannot set them nor use them to lead astray."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def choose(headers: dict[str, str] | None = None, **fields: str) -> Reply:
        return component.ask("POST", "/console/preferences", urlencode(fields).encode(), {**form, **(headers or {})})

    reply = choose(language="zh", back="task?id=a%2Fb")
    assert (reply.status, reply.headers["location"]) == (303, "./task?id=a%2Fb")
    assert reply.headers["set-cookie"].startswith("infergraph_language=zh;")
    assert "HttpOnly" in reply.headers["set-cookie"]
    assert "set-cookie" not in choose(language="xx", theme="pink").headers
    for away in ("//evil.example", "https://evil.example", "/predict", "..//evil.example", "\r\nX: y"):
        assert choose(theme="dark", back=away).headers["location"] == "./"
    assert choose({"Origin": "http://evil.example"}, language="zh").status == 403
    assert choose(language="zh" * 9000).status == 413


def test_a_page_speaks_the_readers_language(component: Served) -> None:
    """The browser's preference counts, and the cookie counts more."""
    english = component.get("/console/")
    assert b'<html lang="en"' in english.body
    chinese = component.ask("GET", "/console/", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert '<html lang="zh-Hans"' in chinese.body.decode()
    assert "概览" in chinese.body.decode()
    chosen = component.ask(
        "GET", "/console/", headers={"Accept-Language": "zh", "Cookie": "infergraph_language=en; infergraph_theme=dark"}
    )
    assert b'<html lang="en" data-theme="dark"' in chosen.body


def test_static_files_are_asked_for_again_only_when_they_change(component: Served) -> None:
    """A file has a tag that saves its second journey; what is no file of ours is not there."""
    reply = component.get("/console/static/htmx.min.js")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    again = component.ask("GET", "/console/static/htmx.min.js", headers={"If-None-Match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    for name in ("__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "nothing"):
        assert component.get(f"/console/static/{name}").status == 404


def test_names_that_callers_choose_are_text(component: Served) -> None:
    """A task's name that is markup stands on its pages as it is written, in text and in links."""
    assert submit(component, HOSTILE).status == 201
    link = quote(HOSTILE, safe="")
    for path in (
        "tasks",
        "task-list",
        f"task?id={link}",
        f"task-live?id={link}",
        f"tasks?prefix={link}",
        f"try?{link}",
    ):
        html = component.get(f"/console/{path}").body.decode()
        assert "<img" not in html, path
    page = component.get(f"/console/task?id={link}").body.decode()
    assert escape(HOSTILE).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page
    assert f'hx-get="task-live?id={link}"' in page
    assert component.get(f"/console/task?id={link}").status == 200


def test_what_is_not_there_is_said_in_a_page(component: Served) -> None:
    """An unknown task is 404 with the way back; in a part of a page the fault alone stands."""
    whole = component.get("/console/task?id=nobody")
    assert whole.status == 404
    assert b'href="tasks"' in whole.body
    assert b"nobody" in whole.body
    part = component.ask("GET", "/console/task-live?id=nobody", headers={"HX-Request": "true"})
    assert part.status == 404
    assert b"<html" not in part.body
    assert component.get("/console/tasks?state=odd").status == 400
    assert component.get("/console/tasks?before=x").status == 400


def test_passwords_in_settings_are_not_shown(component: Served) -> None:
    """Constructor parameters are shown by name alone."""
    page = component.get("/console/").body.decode()
    assert "s3cret" not in page
    assert "healed = …" in page


def test_each_node_counts_what_it_answers(graph: Served) -> None:
    """A prediction adds one to every node on its way, and nothing to the others; the edge shows share and traffic."""
    for _ in range(3):
        reply = graph.post("/api/v1.0/predictions", {"data": {"ndarray": [[1, 2]]}})
        assert reply.json["data"]["ndarray"] == [[6.0, 1.0]]
    refused = graph.post("/api/v1.0/predictions", {"data": {"ndarray": [[-1, 2]]}})
    assert refused.status == 500
    live = graph.get("/console/live").body.decode()
    rows = re.findall(r"<strong>(\w+)</strong>.*?data-label=\"Errors\" class=\"[^\"]*\">(\d+)<", live, re.DOTALL)
    assert [row for row in rows if row[0] in ("scale", "choose", "plain", "friendly")] == [
        ("scale", "0"),
        ("choose", "0"),
        ("plain", "0"),
        ("friendly", "1"),
    ]
    assert re.search(r"<text class=\"share\"[^>]*><tspan class=\"rate\">[\d.]+/s</tspan> 100 %</text>", live)
    assert "4 so far" in live
    assert "EpsilonGreedy" in live


def test_a_request_tells_the_time_of_its_own_nodes(graph: Served, component: Served) -> None:
    """Asked for by a header, Server-Timing has each node that this very request went through; else it is not there."""
    question = {"data": {"ndarray": [[1, 2]]}}
    reply = graph.post("/api/v1.0/predictions", question, **{"Infergraph-Node-Times": "1"})
    told = re.findall(r'desc="([^"]*)";dur=([\d.e-]+)', reply.headers["server-timing"])
    assert [name for name, _ in told] == ["scale", "choose", "friendly"]
    assert all(float(milliseconds) > 0 for _, milliseconds in told)
    assert "server-timing" not in graph.post("/api/v1.0/predictions", question).headers
    one = component.post("/predict", {"jsonData": [{"data": "Ada"}]}, **{"Infergraph-Node-Times": "1"})
    assert 'desc="Places"' in one.headers["server-timing"]


def test_rewards_show_as_arms(graph: Served) -> None:
    """What a router has learnt stands on the page, branch by branch."""
    question = {"data": {"ndarray": [[1, 2]]}}
    answer = graph.post("/api/v1.0/predictions", question).json
    branch = answer["meta"]["routing"]["choose"]
    reward = graph.post("/api/v1.0/feedback", {"request": question, "response": answer, "reward": 0.5})
    assert reward.status == 200
    page = graph.get("/console/arms").body.decode()
    assert page.index("plain") < page.index("friendly")
    assert "0.500" in page
    assert page.count('class="ridge') == 2
    assert ("plain", "friendly")[branch] == "friendly"


def test_tasks_that_are_not_served_are_said_to_be_off(graph: Served) -> None:
    """Without tasks the page says which setting turns them on."""
    reply = graph.get("/console/tasks")
    assert reply.status == 404
    assert b"tasks=off" in reply.body


def test_a_unit_that_is_not_loaded_has_its_pages_all_the_same(tmp_path: Path) -> None:
    """While the unit loads, the overview says not ready, and the form is a guess that says so."""
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "class Slow:\n"
        "    def load(self):\n"
        f"        while not Path({str(tmp_path / 'go')!r}).exists():\n"
        "            time.sleep(0.01)\n"
        "    def predict(self, X, names):\n"
        "        return X\n"
    )
    with served("slow.py:Slow", folder=tmp_path, wait=False) as there:
        try:
            overview, form = there.get("/console/"), there.get("/console/try")
            assert overview.status == form.status == 200
            assert b"not ready" in overview.body
            assert b"is not loaded yet" in form.body
        finally:
            (tmp_path / "go").touch()
        while there.get("/ready").status != 200:
            time.sleep(0.01)
        assert b">ready</span>" in there.get("/console/live").body


def test_read_only_shows_and_sends_nothing(tmp_path: Path) -> None:
    """In a read-only console nothing can be sent, submitted, stopped or deleted, and the API is as it was."""
    with served("console_units:Places", tasks=True, data_dir=str(tmp_path), console="read-only") as there:
        assert submit(there, "one").status == 201
        for page in (*PAGES, "task?id=one"):
            html = there.get(f"/console/{page}").body.decode()
            assert "read-only" in html
            assert "data-act=" not in html
            assert 'type="file"' not in html
            for button in re.findall(r'<button[^>]*id="send"[^>]*>', html):
                assert "disabled" in button


def test_the_root_and_guessed_addresses_lead_to_pages(component: Served) -> None:
    """`/` and `/console` lead to the overview, and a guessed address of a task, slashes and all, leads to the task."""
    assert submit(component, "guessed/中 ?").status in (200, 201)
    for path in ("/", "/console", f"/console/tasks/{quote('guessed/中 ?')}", f"/console/task/{quote('guessed/中 ?')}"):
        moved = component.get(path)
        assert moved.status in (307, 308)
        arrived = component.get(urljoin(path, moved.headers["location"]))
        assert arrived.status == 200
        assert ("guessed/中 ?" in arrived.body.decode()) == ("task" in path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/predcit", "did you mean /predict?"),
        ("/v1/predict", "this server answers at /predict"),
        ("/nothing", "this server answers at /predict, and at all that /docs lists"),
    ],
)
def test_a_404_of_a_component_names_what_is_served(component: Served, path: str, words: str) -> None:
    """The envelope of a 404 names the path that was probably meant, or where the paths are listed."""
    reply = component.get(path)
    assert reply.status == 404
    assert reply.json["status"]["info"].endswith(f"{path}; {words}")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/seldon/default/offers/api/v1.0/predictions", "this server answers at /api/v1.0/predictions"),
        ("/api/v1/predictions", "did you mean /api/v1.0/predictions?"),
        ("/nothing", "this server answers at /api/v1.0/predictions, and at all that /docs lists"),
    ],
)
def test_a_404_of_a_graph_names_the_right_path(graph: Served, path: str, words: str) -> None:
    """Below the orchestrator's own line, a 404 names the path without the prefix of an ingress, or the nearest one."""
    reply = graph.post(path, {})
    assert (reply.status, reply.body.decode()) == (404, f"404 page not found\n{words}\n")


def test_off_is_off(tmp_path: Path) -> None:
    """With console=off nothing of it is there."""
    with served("console_units:Places", console="off") as there:
        for path in ("/console", "/console/", "/console/try", "/console/static/console.css"):
            assert there.get(path).status == 404


def test_every_task_is_on_one_page_of_the_list(component: Served, tmp_path: Path) -> None:
    """Following “older” from the first page shows each of many tasks once, newest first."""
    data = tmp_path / "data"
    with served("console_units:Places", tasks=True, data_dir=str(data)) as there:
        assert submit(there, "pattern").status == 201
        many(DataFolder(data).database, 120)
        seen: list[str] = []
        path = "/console/task-list"
        while path:
            html = there.get(path).body.decode()
            seen += re.findall(r'href="task\?id=([^"]+)"', html)
            older = re.search(r'id="older" href="tasks([^"]*)"', html)
            path = "/console/task-list" + older[1].replace("&amp;", "&") if older else ""
        assert seen == [f"copy-{place}" for place in reversed(range(120))] + ["pattern"]
        assert number(121) in there.get("/console/task-list?prefix=nobody").body.decode()


def many(path: Path, count: int) -> None:
    """Copies of the only task in a store."""
    with closing(sqlite3.connect(path, timeout=10)) as database, database:
        row = database.execute("select * from task").fetchone()
        columns = [name for _, name, *_ in database.execute("pragma table_info(task)")]
        for place in range(count):
            fresh = dict(zip(columns, row, strict=True)) | {
                "seq": row[columns.index("seq")] + 1 + place,
                "id": f"copy-{place}",
                "folder": f"folder-{place}",
                "idempotency_key": None,
            }
            database.execute(
                f"insert into task ({', '.join(fresh)}) values ({', '.join('?' * len(fresh))})", list(fresh.values())
            )


def test_the_form_begins_with_a_request_that_the_unit_answers(component: Served, graph: Served) -> None:
    """What “Try it” starts with can be sent as it stands: a sentence for texts, numbers for a graph of numbers."""
    for there, path, payload in ((component, "/predict", "jsonData"), (graph, "/api/v1.0/predictions", "data")):
        html = there.get("/console/try").body.decode()
        (raw,) = re.findall(r'"start":\s*(\{.*?\}),\s*"', html)
        start = json.loads(raw)
        assert payload in start
        assert there.post(path, start).status == 200
        assert payload == "data" or start["jsonData"][0]["data"], "a text is there to be sent"
