"""Knowledge extraction with the installed command: a project of one method, and a flowline of endpoints."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import knowledge_models as models
from e2e.test_commands import COMMAND, clean_environment, running

EXAMPLES = Path(__file__).parents[2] / "examples" / "knowledge"
TEXTS = ["鲁迅出生于浙江绍兴，曾在北京大学任教。", "今天天气很好。"]


def post(url: str, body: object) -> object:
    """What a JSON body is answered with."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def run_task(port: int, task_id: str, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The result rows of a task submitted, watched and fetched by the gBuilder routes."""
    boundary = "----infergraph-test"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="task_id"\r\n\r\n{task_id}\r\n',
        f'--{boundary}\r\nContent-Disposition: form-data; name="immediate"\r\n\r\ntrue\r\n',
        f'--{boundary}\r\nContent-Disposition: form-data; name="task_file"; filename="t.jsonl"\r\n\r\n{lines}\r\n',
        f"--{boundary}--\r\n",
    ]
    root = f"http://127.0.0.1:{port}/tasks"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(root, "".join(parts).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response) == {"status": 200}
    deadline = time.monotonic() + 60
    status = 1
    while status in (0, 1):
        assert time.monotonic() < deadline
        with urllib.request.urlopen(f"{root}/{task_id}", timeout=60) as response:
            status = json.load(response)["status"]
        time.sleep(0.02)
    assert status == 2
    with urllib.request.urlopen(f"{root}/{task_id}/results", timeout=60) as response:
        return [json.loads(line) for line in response.read().splitlines()]


def test_a_new_project_is_an_endpoint_at_once(tmp_path):
    """What `init ner` wrote is served as it is, and answers over REST and as a task, in any locale."""
    subprocess.run([COMMAND, "init", "ner", "town-finder"], cwd=tmp_path, check=True, capture_output=True)
    project = tmp_path / "town-finder"
    with running(project, "serve", "town_finder.py:TownFinder", "--data-dir", str(tmp_path), LC_ALL="C") as (_, port):
        answer = post(f"http://127.0.0.1:{port}/predict", {"jsonData": {"data": TEXTS[0]}})
        rows = [json.loads(line) for line in (project / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        results = run_task(port, "first", rows)
    assert answer["jsonData"]["entity"] == ["鲁迅", "绍兴", "北京大学"]
    assert [(row["id"], row["entity"]) for row in results] == [(1, ["鲁迅", "绍兴", "北京大学"]), (2, [])]


@pytest.mark.timeout(240)
def test_a_flowline_of_endpoints_is_a_graph(tmp_path):
    """A graph whose NER is a task endpoint elsewhere answers over REST, and is a task endpoint itself."""
    models.weights()
    flowline = (EXAMPLES / "flowline.yaml").read_text(encoding="utf-8")
    rows = [{"id": 1, "data": "《流浪地球》由郭帆执导，吴京主演。"}, {"id": 2, "data": TEXTS[1]}]
    ner = ("serve", "infergraph_knowledge.chinese:ChineseNer", "--data-dir", str(tmp_path / "ner"))
    with running(tmp_path, *ner) as (_, ner_port):
        assert flowline.count("http://127.0.0.1:9001") == 1
        graph = tmp_path / "flowline.yaml"
        graph.write_text(flowline.replace("127.0.0.1:9001", f"127.0.0.1:{ner_port}"), encoding="utf-8")
        with running(tmp_path, "serve", str(graph), "--data-dir", str(tmp_path / "graph")) as (_, port):
            answer = post(f"http://127.0.0.1:{port}/api/v1.0/predictions", {"jsonData": rows[0]})
            results = run_task(port, "flow", rows)
    assert answer["jsonData"]["relation"] == ["导演", "主演"]
    assert [row["relation"] for row in results] == [["导演", "主演"], []]
    assert [row["id"] for row in results] == [1, 2]


@pytest.mark.timeout(240)
def test_the_demo_runs_to_its_end():
    """The tour fetches, serves, asks over both protocols, runs one task, stops another, and leaves nothing running."""
    models.weights()
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "Over gRPC: the same triples.",
        "Its first triples (214 lines out for 214 in):",
        "its status is now -1.",
        "Stopped; the server's exit code is 0.",
    ):
        assert said in done.stdout
