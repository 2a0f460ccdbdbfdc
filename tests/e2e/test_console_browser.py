"""The console in a real browser: each page, each action, on a desk and on a phone."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from console_browser import WIDTHS, Watched, chromium
from console_units import GRAPH
from e2e.process_run import Supervised, plan_of, supervised
from infergraph.unit_source import UnitSource

SERVE = "infergraph.serving.server:serve"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    with chromium() as browser:
        yield browser


def source(target: str, folder: Path) -> dict[str, Any]:
    """What a server is told to serve."""
    return msgspec.to_builtins(UnitSource(target=target, folder=str(folder)))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """A server of a graph with a router that learns."""
    folder = tmp_path_factory.mktemp("graph")
    (folder / "offers.yaml").write_text(GRAPH)
    settings = {"data_dir": str(folder / "data")}
    with supervised(plan_of(settings, source("offers.yaml", folder), serve=SERVE), folder) as running:
        yield running


@pytest.fixture(scope="module")
def healed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose presence mends the component."""
    return tmp_path_factory.mktemp("healed") / "yes"


@pytest.fixture(scope="module")
def component(tmp_path_factory: pytest.TempPathFactory, healed: Path) -> Iterator[Supervised]:
    """A server of a component that extracts knowledge, with tasks."""
    folder = tmp_path_factory.mktemp("component")
    parameters = [
        {"name": "wait_s", "value": "0.02", "type": "FLOAT"},
        {"name": "healed", "value": str(healed), "type": "STRING"},
    ]
    settings = {
        "data_dir": str(folder / "data"),
        "tasks": True,
        "parameters": json.dumps(parameters),
        "task_chunk_target_s": 0.1,
        "task_disk_reserve_bytes": 0,
    }
    plan = plan_of(settings, source("console_units:Places", folder), serve=SERVE)
    with supervised(plan, folder) as running:
        yield running


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """A server of a component that streams."""
    folder = tmp_path_factory.mktemp("counting")
    plan = plan_of({"tasks": False}, source("console_units:Counts", folder), serve=SERVE)
    with supervised(plan, folder) as running:
        yield running


@pytest.fixture(params=WIDTHS)
def looking(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    """Opens a window of one of the two widths; what a page may not do fails the test at its end."""
    opened: list[tuple[Any, Watched]] = []

    def look(running: Supervised, **options: Any) -> Watched:
        context = browser.new_context(
            viewport={"width": request.param, "height": 800}, locale="en-GB", reduced_motion="reduce", **options
        )
        watched = Watched(context, f"http://127.0.0.1:{running.ports['http_port']}/console/", request.param)
        opened.append((context, watched))
        return watched

    yield look
    for context, _ in opened:
        context.close()
    for _, watched in opened:
        watched.check_quiet()


def ask(running: Supervised, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """A request of a program's own."""
    connection = http.client.HTTPConnection("127.0.0.1", running.ports["http_port"], timeout=30)
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method, path, raw, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def predict(running: Supervised, *row: float) -> Any:
    """A prediction of the graph."""
    return ask(running, "POST", "/api/v1.0/predictions", {"data": {"ndarray": [list(row)]}})[1]


def lines(*rows: dict[str, Any]) -> bytes:
    """A file for a task."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def submit(running: Supervised, id: str, body: bytes) -> None:
    """A task of a program's own."""
    assert ask(running, "POST", f"/api/v1.0/tasks?id={quote(id, safe='')}", body)[0] == 201


def node(page: Any, name: str) -> Any:
    """The row of a node in the overview."""
    return page.locator("section", has=page.locator("#h-nodes")).locator("tr", has_text=re.compile(f"^\\s*{name}\\b"))


# ── overview ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_overview_is_alive(graph: Supervised, looking: Any) -> None:
    """The picture has every node; what is asked meanwhile shows up by itself; the page is named and readable."""
    watched = looking(graph)
    page = watched.open("")
    assert page.locator("svg.graph:visible text.name").all_text_contents() == ["scale", "choose", "plain", "friendly"]
    assert page.locator("#ready").inner_text() == "ready"
    so_far = page.locator(".tile .note").first
    before = int(so_far.inner_text().split()[-3])
    for _ in range(7):
        predict(graph, 1, 2)
    page.wait_for_function(
        "([note, words]) => note.textContent === words",
        arg=[so_far.element_handle(), f"last minute · {before + 7} so far"],
    )
    assert page.locator("svg.graph:visible .share .rate").count() == 3
    assert page.locator(".chart path.line").count() >= 2
    boxes = [each.bounding_box() for each in page.locator("svg.graph:visible g").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= watched.width for box in boxes), "no card is cut off"
    assert node(page, "friendly").locator("td[data-label='Share']").inner_text().endswith("100 %")
    assert node(page, "plain").locator("td[data-label='Share']").inner_text().endswith("0 %")
    assert page.locator("#announce").inner_text() in ("", "ready")
    page.get_by_text(re.compile(r"^All \d+ settings$")).click()
    assert page.get_by_text("task_queue_limit", exact=True).is_visible()
    page.get_by_text(re.compile(r"^All \d+ settings$")).click()
    watched.check_access()
    watched.keep("overview")


def test_the_overview_in_the_dark_and_in_chinese(graph: Supervised, looking: Any) -> None:
    """Language and colours are switched on the page, stay on the next one, and are as readable."""
    watched = looking(graph)
    page = watched.open("")
    page.get_by_role("button", name="Dark", exact=True).click()
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    page.get_by_role("button", name="中文", exact=True).click()
    page.wait_for_selector("html[lang=zh-Hans]")
    assert page.get_by_role("heading", name="推理图").is_visible()
    watched.check_access()
    watched.keep("overview-dark-zh")
    page.get_by_role("link", name="反馈").click()
    page.wait_for_selector("html[lang=zh-Hans][data-theme=dark] h1:has-text('反馈')")
    watched.check_access()


def test_a_server_that_is_gone_is_said_and_comes_back(graph: Supervised, looking: Any) -> None:
    """Without the server the page says so and keeps what it showed; with it the words go."""
    watched = looking(graph)
    watched.forgiven += ["ERR_INTERNET_DISCONNECTED", "Failed to fetch"]
    page = watched.open("")
    page.context.set_offline(True)
    page.locator(".notice.lost").wait_for(state="visible")
    assert page.locator("svg.graph:visible").is_visible()
    page.context.set_offline(False)
    page.locator(".notice.lost").wait_for(state="hidden")


# ── try it ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_is_asked_answered_and_rewarded(graph: Supervised, looking: Any) -> None:
    """Cells become a tensor; the answer shows its numbers, its way and times; its reward reaches the router."""
    watched = looking(graph)
    page = watched.open("try")
    page.get_by_label("Row 1, column width").fill("3")
    page.get_by_label("Row 1, column height").fill("4.5")
    assert '"values":[3,4.5]' in page.locator("#code").inner_text()
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#shown .values td").first.wait_for()
    assert page.locator("#shown .values td").all_inner_texts() == ["15", "1"]
    hops = page.locator(".route .hop")
    assert [hops.nth(place).get_attribute("data-node") for place in range(4)] == [
        "scale",
        "choose",
        "plain",
        "friendly",
    ]
    assert "chosen" in page.locator("[data-node=friendly]").inner_text()
    assert "idle" in (page.locator("[data-node=plain]").get_attribute("class") or "")
    assert re.search(r"\d (µs|ms)", page.locator("[data-node=friendly] .num").inner_text())
    watched.check_access()
    watched.keep("try-table")
    rewarded = tries(graph)
    page.get_by_role("button", name="Yes, reward 1").click()
    page.get_by_text("sent along the route").wait_for()
    assert tries(graph) == rewarded + 1


def tries(running: Supervised) -> int:
    """How often the friendly branch was rewarded, as the console's own part says."""
    connection = running.connect()
    connection.request("GET", "/console/arms")
    html = connection.getresponse().read().decode()
    connection.close()
    row = html[html.index("<strong>friendly") :]
    return int(re.search(r'data-label="Rewarded">(\d+)<', row)[1])  # type: ignore[index]


PASTE = """(text) => {
  const cells = new DataTransfer();
  cells.setData("text", text);
  const paste = new ClipboardEvent("paste", { clipboardData: cells, bubbles: true, cancelable: true });
  document.activeElement.dispatchEvent(paste);
}"""


def test_cells_are_pasted_and_rows_come_and_go(graph: Supervised, looking: Any) -> None:
    """A spreadsheet's cells fill the table from where they are pasted; rows and columns are added and removed."""
    watched = looking(graph)
    page = watched.open("try")
    page.get_by_label("Row 1, column width").focus()
    page.evaluate(PASTE, "1\t2\n3\t4\n5\t6\n")
    assert '"shape":[3,2],"values":[1,2,3,4,5,6]' in page.locator("#code").inner_text()
    page.get_by_role("button", name="Remove row 2").click()
    assert '"values":[1,2,5,6]' in page.locator("#code").inner_text()
    page.get_by_role("button", name="Row", exact=True).click()
    page.get_by_role("button", name="Column", exact=True).click()
    assert '"shape":[3,3]' in page.locator("#code").inner_text()
    page.get_by_label("Row 1, column width").fill("wide")
    assert '"ndarray":[["wide"' in page.locator("#code").inner_text(), "a tensor holds numbers alone"


def test_json_is_checked_while_it_is_typed_and_sent_as_it_stands(graph: Supervised, looking: Any) -> None:
    """What is no JSON is marked with its place and not sent; what is, is sent with its numbers spelt as typed."""
    watched = looking(graph)
    page = watched.open("try")
    page.get_by_role("tab", name="JSON").click()
    field = page.get_by_label("The message as JSON")
    field.fill('{"data":\n  {"ndarray": [[1, 2]}}')
    assert "line 2, column 22" in page.locator("#json-hint").inner_text()
    assert field.get_attribute("aria-invalid") == "true"
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data) if "predictions" in request.url else None)
    page.get_by_role("button", name="Send", exact=True).click()
    assert sent == []
    watched.keep("try-json-wrong")
    body = '{"data": {"ndarray": [[1.0, 12345678901234567890]]}, "meta": {"puid": "mine"}}'
    field.fill(body)
    assert field.get_attribute("aria-invalid") == "false"
    field.press("Control+Enter")
    page.locator("#status .pill.ok").wait_for()
    assert sent == [body]
    page.get_by_text("Full response").click()
    assert '"puid": "mine"' in page.locator("#shown pre").inner_text()


def test_a_csv_file_is_dropped_on_the_form(graph: Supervised, looking: Any) -> None:
    """The header gives the names, the index column is left out, and the rows are sent as they are shown."""
    watched = looking(graph)
    page = watched.open("try")
    text = ",width,height\n0,1.5,2\n1,3,4\n"
    transfer = page.evaluate_handle(
        """(text) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], "sizes.csv", { type: "text/csv" }));
          return transfer;
        }""",
        text,
    )
    page.dispatch_event("#ask", "drop", {"dataTransfer": transfer})
    page.get_by_label("Row 2, column height").wait_for()
    assert page.get_by_label("Row 1, column width").input_value() == "1.5"
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#shown .values td").first.wait_for()
    assert page.locator("#shown .values td").all_inner_texts() == ["7", "1", "14", "1"]


def test_a_fault_says_what_where_and_what_to_do(graph: Supervised, looking: Any) -> None:
    """A refusal stands on the page with its text as text, its status, its node, and advice."""
    watched = looking(graph)
    watched.forgiven.append("500")
    page = watched.open("try")
    page.get_by_label("Row 1, column width").fill("-3")
    page.get_by_role("button", name="Send", exact=True).click()
    box = page.locator("#shown .notice.bad")
    box.wait_for()
    assert "a width is never <b>negative</b>" in box.inner_text()
    assert "HTTP 500" in box.inner_text()
    assert "node friendly" in box.inner_text()
    assert "see the server's log for details" in box.inner_text()
    watched.check_access()
    watched.keep("try-fault")


def test_the_same_call_is_there_to_copy_and_works(graph: Supervised, looking: Any, tmp_path: Path) -> None:
    """Each language has its tab, reached by arrow keys; what is copied as Python runs and gives the same answer."""
    watched = looking(graph, permissions=["clipboard-read", "clipboard-write"])
    page = watched.open("try")
    page.get_by_label("Row 1, column width").fill("2")
    page.get_by_role("tab", name="curl", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Python").get_attribute("aria-selected") == "true"
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied.").wait_for()
    code = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip().replace(" ", "") == "[[4.1.]]"
    page.keyboard.press("Tab")
    page.get_by_role("tab", name="Python").press("ArrowRight")
    assert f"127.0.0.1:{graph.ports['grpc_port']} seldon.protos.Seldon/Predict" in page.locator("#code").inner_text()


def test_tensors_have_a_field_each_and_their_answer_its_parameters(graph: Supervised, looking: Any) -> None:
    """The open inference protocol is a method like the others: fields from the metadata, outputs, parameters, route."""
    watched = looking(graph)
    page = watched.open("try")
    page.get_by_label("Method").select_option("/v2/models/offers/infer")
    assert page.get_by_role("tab", name="Tensors").get_attribute("aria-selected") == "true"
    assert page.get_by_label("Name", exact=True).input_value() == "input-0"
    assert page.get_by_label("Datatype").input_value() == "FP64"
    page.get_by_label("Shape").fill("2, 2")
    page.get_by_label("Elements").fill("1, 2, 3")
    assert "needs 4 elements, and there are 3" in page.locator("#tensors-hint").inner_text()
    page.get_by_label("Elements").fill("1, 2, 3, 4.5")
    assert '"shape":[2,2]' in page.locator("#code").inner_text()
    watched.check_access()
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#shown .values td").first.wait_for()
    assert page.locator("#shown .values td").all_inner_texts() == ["6", "1", "15", "1"]
    assert "seldon_routing" in page.locator("#shown .facts").inner_text()
    assert "chosen" in page.locator("[data-node=friendly]").inner_text()
    assert re.search(r"\d (µs|ms)", page.locator("[data-node=friendly] .num").inner_text())
    watched.check_access()
    watched.keep("try-tensors")
    page.get_by_label("Method").select_option("/api/v1.0/predictions")
    assert page.get_by_role("tab", name="Table").get_attribute("aria-selected") == "true"
    page.get_by_label("Method").select_option("/v2/models/offers/infer")
    assert page.get_by_label("Elements").input_value() == "1, 2, 3, 4.5"
    page.get_by_role("button", name="Tensor", exact=True).click()
    page.get_by_role("button", name="Remove tensor input-1").click()
    watched.forgiven.append("400")
    page.get_by_label("Elements").fill("1, 2, 3, wide")
    page.get_by_role("button", name="Send", exact=True).click()
    box = page.locator("#shown .notice")
    box.wait_for()
    assert "input-0" in box.inner_text()


def test_the_items_of_a_stream_are_shown_as_they_come(counting: Supervised, looking: Any) -> None:
    """A component that streams has a method for it; an endless stream grows until it is stopped; an error ends one."""
    watched = looking(counting)
    page = watched.open("try")
    page.get_by_label("Method").select_option("/v2/models/Counts/infer_stream")
    page.get_by_label("Shape").fill("1")
    page.get_by_label("Elements").fill("2")
    assert "client.stream(inputs)" in _copied_as(page, "Python")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_text("3 items").wait_for()
    assert page.locator("#shown .items li").all_inner_texts() == ['"first"', "1", "2"]
    watched.check_access()
    watched.keep("try-stream")
    page.get_by_label("Elements").fill("0")
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#shown .items .bad").wait_for()
    assert page.locator("#shown .items .bad").inner_text() == "there is <b>nothing</b> to count"
    page.get_by_label("Elements").fill("-1")
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#shown .items li").nth(5).wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stop").wait_for(state="detached")
    assert page.get_by_role("button", name="Send", exact=True).is_enabled()


def _copied_as(page: Any, language: str) -> str:
    page.get_by_role("tab", name=language).click()
    shown: str = page.locator("#code").inner_text()
    return shown


def test_the_same_inference_is_there_to_copy(graph: Supervised, looking: Any) -> None:
    """The Python lines use Triton's client and run; curl and grpcurl name the path and the call."""
    watched = looking(graph, permissions=["clipboard-read", "clipboard-write"])
    page = watched.open("try")
    page.get_by_label("Method").select_option("/v2/models/offers/infer")
    page.get_by_label("Elements").fill("2, 3")
    assert "/v2/models/offers/infer" in page.locator("#code").inner_text()
    page.get_by_role("tab", name="Python").click()
    code = page.locator("#code").inner_text()
    run = {"capture_output": True, "text": True, "timeout": 60, "check": True}
    done = subprocess.run([sys.executable, "-c", code], **run)
    assert done.stdout.strip() == "output-0 [[10.  1.]]"
    page.get_by_role("tab", name="grpcurl").click()
    code = page.locator("#code").inner_text()
    assert f"127.0.0.1:{graph.ports['grpc_port']} inference.GRPCInferenceService/ModelInfer" in code
    assert '"contents":{"fp64_contents":[2,3]}' in code


def test_knowledge_is_drawn(component: Supervised, looking: Any) -> None:
    """A text box asks a unit of knowledge; entities are marked in their text and triples are a graph and a table."""
    watched = looking(component)
    page = watched.open("try")
    page.get_by_role("textbox", name="Text").fill("Ada met Bob in London & <i>Paris</i>")
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator(".entities mark").first.wait_for()
    marks = page.locator(".entities mark").all_text_contents()
    assert marks == ["AdaPER", "BobLOC", "LondonPER", "ParisLOC"]
    assert page.locator("svg.triples rect").count() == 4
    assert page.locator("svg.triples text.rel").all_text_contents() == ["knows"] * 3
    assert "<i>" in page.locator(".entities").inner_text()
    watched.check_access()
    watched.keep("try-knowledge")
    page.reload()
    page.get_by_label("Earlier requests").select_option(index=1)
    assert page.get_by_role("textbox", name="Text").input_value().startswith("Ada met Bob")


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_from_its_file_to_its_results(component: Supervised, looking: Any, healed: Path, tmp_path: Path) -> None:
    """A file is chosen, looked at, sent, watched to its end; failed lines are told, tried again, and all downloaded."""
    healed.unlink(missing_ok=True)
    watched = looking(component)
    page = watched.open("tasks")
    rows = [{"data": f"Ada saw Place{number}", **({"bad": "the scan"} if number == 3 else {})} for number in range(40)]
    file = tmp_path / "corpus.jsonl"
    file.write_bytes(lines(*rows))
    page.locator("#file").set_input_files(file)
    page.locator("#preview", has_text="Ada saw Place0").wait_for()
    id = f"corpus-{watched.width}"
    page.get_by_label("Name", exact=True).fill(id)
    watched.check_access()
    watched.keep("tasks-new")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/task?id=*")
    page.locator("#state:has-text('finished')").wait_for()
    assert page.locator("section", has=page.locator("#h-failed")).get_by_text("cannot read the scan").is_visible()
    watched.check_access()
    watched.keep("task-finished")
    healed.touch()
    page.get_by_role("button", name="Retry the failed line").click()
    page.locator("#retry").wait_for(state="detached")
    page.locator("#state:has-text('finished')").wait_for()
    with page.expect_download() as loading:
        page.get_by_role("link", name="Results", exact=True).click()
    answers = [json.loads(line) for line in Path(loading.value.path()).read_text().splitlines()]
    assert [answer["data"] for answer in answers] == [row["data"] for row in rows]
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Delete").click()
    watched.keep("task-sure")
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url("**/tasks")
    assert ask(component, "GET", f"/api/v1.0/tasks/{id}")[0] == 404


def test_a_running_task_is_watched_and_stopped(component: Supervised, looking: Any) -> None:
    """Progress moves without a reload and with the time that is left; after Stop the task is gone."""
    watched = looking(component)
    id = f"long/run {watched.width}?&"
    submit(component, id, lines(*({"data": f"Ada {number}"} for number in range(3000))))
    page = watched.open("tasks")
    page.get_by_role("link", name=id).click()
    page.locator("#state:has-text('running')").wait_for()
    page.wait_for_function("() => document.querySelector('progress.large').value > 0")
    seen = page.locator("progress.large").evaluate("each => each.value")
    page.wait_for_function("value => document.querySelector('progress.large').value > value", arg=seen)
    page.get_by_text(re.compile("about .* left")).wait_for()
    assert page.get_by_role("link", name="Results so far").is_visible()
    watched.keep("task-running")
    watched.open("tasks")
    page.get_by_role("link", name=id).wait_for()
    watched.check_access()
    watched.keep("tasks")
    page.get_by_role("link", name=id).click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stop it").click()
    page.wait_for_url("**/tasks")
    assert ask(component, "GET", f"/api/v1.0/tasks/{quote(id, safe='')}")[0] == 404
    page.get_by_role("link", name=id).wait_for(state="detached")


def test_what_is_no_task_file_is_said_before_and_after(component: Supervised, looking: Any, tmp_path: Path) -> None:
    """An empty file is not sent; a file that is no JSONL is warned of; a name that is taken says what to do."""
    watched = looking(component)
    watched.forgiven.append("409")
    page = watched.open("tasks")
    empty, table = tmp_path / "empty.jsonl", tmp_path / "table.csv"
    empty.write_bytes(b"")
    table.write_text("a;b\n1;2\n")
    page.locator("#file").set_input_files(empty)
    page.get_by_text("The file is empty").wait_for()
    assert page.locator("#start").is_hidden()
    page.locator("#file").set_input_files(table)
    page.get_by_text("Line 1 is not JSON").wait_for()
    id = f"taken-{watched.width}"
    submit(component, id, lines({"data": "Ada"}))
    good = tmp_path / "good.jsonl"
    good.write_bytes(lines({"data": "Bob"}))
    page.locator("#file").set_input_files(good)
    page.get_by_label("Name", exact=True).fill(id)
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("Choose another name").wait_for()
    watched.check_access()
    watched.keep("tasks-refused")


def test_a_name_that_is_markup_runs_nothing(component: Supervised, looking: Any, healed: Path) -> None:
    """Names, records and reasons full of markup are shown as they are, and no script of theirs runs."""
    healed.unlink(missing_ok=True)
    watched = looking(component)
    id = f"<img src=x onerror=\"document.title='run'\">{watched.width}"
    submit(component, id, lines({"data": "<script>document.title='run'</script>", "bad": "<svg onload=alert(1)>"}))
    page = watched.open(f"task?id={quote(id, safe='')}")
    page.locator("#state:has-text('failed')").wait_for()
    assert page.get_by_text("cannot read <svg onload=alert(1)>").first.is_visible()
    watched.keep("task-failed")
    watched.open("tasks")
    assert page.get_by_role("link", name=id).is_visible()
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert "run" not in page.title()
    watched.keep("tasks-markup")


# ── feedback ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reward_moves_the_arms(graph: Supervised, looking: Any) -> None:
    """The form is filled in with the last request; the reward that is sent shows in the table beside the curves."""
    watched = looking(graph)
    page = watched.open("try")
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#status .pill.ok").wait_for()
    watched.open("feedback")
    assert '"routing"' in page.get_by_label("Its response").input_value()
    rewarded = tries(graph)
    page.get_by_label("Reward: 0 is bad").fill("0.4")
    page.locator("#reward").fill("0.4")
    page.get_by_role("button", name="Send the reward").click()
    page.get_by_text("Sent: reward 0.4.").wait_for()
    row = page.locator("#arms tr", has_text="friendly")
    page.wait_for_function(
        "([row, count]) => row.querySelector(\"[data-label='Rewarded']\").textContent === count",
        arg=[row.element_handle(), str(rewarded + 1)],
    )
    assert page.locator("svg.belief path.ridge").count() == 2
    watched.check_access()
    watched.keep("feedback")
    page.get_by_label("Its response").fill("no JSON")
    page.get_by_role("button", name="Send the reward").click()
    assert "line 1" in page.locator("#response-hint").inner_text()
    assert tries(graph) == rewarded + 1


# ── everywhere ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_keyboard_is_enough(graph: Supervised, looking: Any) -> None:
    """The first key leads past the bar; every control can be reached, shows where it is, and works."""
    watched = looking(graph)
    page = watched.open("")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Try it").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/try")
    page.get_by_role("tab", name="Table").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("The message as JSON").is_visible()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or page.evaluate("document.activeElement === document.body")
    assert {"json", "tidy", "send", "copy", "code"} <= reached


def test_another_sites_form_starts_no_task(component: Supervised, looking: Any) -> None:
    """A page of another site that posts a form to the task endpoint gets 403, and there is no task."""
    watched = looking(component)
    watched.forgiven += ["403", "elsewhere"]
    action = f"http://127.0.0.1:{component.ports['http_port']}/api/v1.0/tasks?id=forged"
    form = f'<form method=post enctype="text/plain" action="{action}"><input name=\'{{"data":"x"}}\' value=""></form>'
    watched.page.route("http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html"))
    watched.page.goto("http://evil.example/")
    with watched.page.expect_navigation() as going:
        watched.page.evaluate("document.forms[0].submit()")
    assert going.value.status == 403
    assert ask(component, "GET", "/api/v1.0/tasks/forged")[0] == 404
