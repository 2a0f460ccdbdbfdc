"""/docs in a real browser: every operation can be tried, on a desk and on a phone, by day and by night."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console_browser import WIDTHS, Watched, chromium
from contract.test_openapi import a_graph, a_task_endpoint
from served import Served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A component that is served with tasks."""
    with a_task_endpoint(tmp_path_factory.mktemp("component")) as there:
        yield there


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with a_graph(tmp_path_factory.mktemp("graph")) as there:
        yield there


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in ("light", "dark")], ids=str)
def view(request: pytest.FixtureRequest, browser: Any, component: Served) -> Iterator[Watched]:
    """The page of the component at a width, in a theme."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    watched = Watched(context, f"http://127.0.0.1:{component.http_port}", width)
    watched.open("/docs").wait_for_selector("details.operation")
    yield watched
    watched.check_quiet()
    context.close()


def opened(page: Any, operation: str) -> Any:
    """The box of an operation, open."""
    box = page.locator(f"#{operation}")
    if box.get_attribute("open") is None:
        box.locator("summary").click()
    return box


def test_looks(view: Watched) -> None:
    """Nothing sticks out, every field and picture has a name, every text has contrast, also with everything open."""
    scheme = "dark" if view.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    view.keep(f"docs-{scheme}")
    view.page.evaluate("document.querySelectorAll('details').forEach(box => { box.open = true; })")
    view.page.wait_for_function("document.querySelectorAll('details.operation:not(:has(.inner))').length === 0")
    view.check_access()
    view.keep(f"docs-open-{scheme}")


def test_an_example_is_sent(view: Watched) -> None:
    """The example of the body is answered with 200; the answer is shown."""
    box = opened(view.page, "post_api_v1_0_predictions")
    box.get_by_role("button", name="Send").click()
    box.locator(".told.good").wait_for()
    assert box.locator(".told").inner_text().startswith("200 OK")
    answer = json.loads(box.get_by_label("Answer").inner_text())
    assert answer["data"]["tensor"] == {"shape": [1, 2], "values": [0, 0]}


def test_a_refusal_is_shown(view: Watched) -> None:
    """A body that is no JSON is marked while it is typed, and the server's refusal is shown."""
    view.forgiven.append("400")
    box = opened(view.page, "post_api_v1_0_predictions")
    area = box.locator("textarea")
    area.fill("{broken")
    assert area.get_attribute("aria-invalid") == "true"
    box.get_by_role("button", name="Send").click()
    box.locator(".told.bad").wait_for()
    assert "Can't find JSON" in box.get_by_label("Answer").inner_text()


def test_a_call_is_copied(view: Watched, component: Served) -> None:
    """The same call as a curl line goes to the clipboard."""
    box = opened(view.page, "post_api_v1_0_feedback")
    box.get_by_role("button", name="Copy as curl").click()
    box.get_by_text("Copied.").wait_for()
    line = view.page.evaluate("navigator.clipboard.readText()")
    assert line.startswith(f"curl -s -X POST 'http://127.0.0.1:{component.http_port}/api/v1.0/feedback'")
    assert "reward" in line


def test_a_task_is_submitted_and_looked_at(view: Watched, tmp_path: Path) -> None:
    """A file goes up through the form; the task is found by its id in the path, and listed by a query."""
    (tmp_path / "rows.jsonl").write_text('{"data": 1}\n')
    box = opened(view.page, "post_api_v1_0_tasks")
    name = f"a/{view.width} 中{tmp_path.name}"
    box.locator("input[name=task_id]").fill(name)
    box.locator("input[type=file]").set_input_files(tmp_path / "rows.jsonl")
    box.get_by_role("button", name="Send").click()
    box.locator(".told.good").wait_for()
    assert box.locator(".told").inner_text().startswith("201")
    shown = opened(view.page, "get_api_v1_0_tasks_id")
    shown.locator("input[name=id]").fill(name)
    shown.get_by_role("button", name="Send").click()
    shown.locator(".told.good").wait_for()
    assert json.loads(shown.get_by_label("Answer").inner_text())["id"] == name
    listed = opened(view.page, "get_api_v1_0_tasks")
    listed.locator("input[name=prefix]").fill(name)
    listed.get_by_role("button", name="Send").click()
    listed.locator(".told.good").wait_for()
    assert [task["id"] for task in json.loads(listed.get_by_label("Answer").inner_text())["tasks"]] == [name]


def test_the_filter_and_the_links(view: Watched) -> None:
    """The filter hides what has not its text; a schema's name leads to the schema."""
    view.page.get_by_role("searchbox").fill("feedback")
    assert view.page.locator("details.operation:visible").count() == 3
    view.page.get_by_role("searchbox").fill("")
    box = opened(view.page, "post_api_v1_0_feedback")
    box.get_by_role("link", name="Feedback").click()
    view.page.locator("#schema-Feedback[open]").wait_for()


def test_a_graph(browser: Any, graph: Served) -> None:
    """A graph's page names its nodes, offers them, and shows the error of the graph's front."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    view = Watched(context, f"http://127.0.0.1:{graph.http_port}", 1280)
    page = view.open("/docs")
    page.get_by_text("Nodes: café, choose, model.").wait_for()
    box = opened(page, "get_api_v1_0_metadata_model")
    assert box.locator("select option").all_inner_texts() == ["café", "choose", "model"]
    box.get_by_role("button", name="Send").click()
    box.locator(".told.good").wait_for()
    view.keep("docs-graph")
    view.check_access()
    view.check_quiet()
    context.close()
