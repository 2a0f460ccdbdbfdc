"""Files, components and clients that were found in use, and what is right for each: `tests/contract/cases/bugs`."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from infergraph.errors import PayloadError
from infergraph.settings import Settings
from infergraph.tasks.batch import BatchConfig, run_batch
from infergraph.tasks.clocks import Clocks

CASES = Path(__file__).parent.parent / "contract" / "cases" / "bugs"
COMMAND = str(Path(sys.executable).parent / "infergraph")


def case(tmp_path: Path, name: str) -> Path:
    """A copy of a case's folder."""
    return Path(shutil.copytree(CASES / name, tmp_path / name))


def batch(folder: Path, *arguments: str, code: int = 0, input: bytes | None = None, **environment: str) -> str:
    """`infergraph batch` in a folder, ending with this exit code; its standard output and error."""
    done = subprocess.run(
        [COMMAND, "batch", *arguments],
        cwd=folder,
        input=input,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stdout.decode()
    return done.stdout.decode()


def rows(path: Path) -> list[Any]:
    """The lines of a result file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_rows_asked_again_are_what_the_file_says(tmp_path: Path) -> None:
    """A bad line changes no answer of its neighbours, whatever the component does to its rows."""
    folder = case(tmp_path, "a4-rows-asked-again")
    batch(folder, "count.py:Count", "counts.jsonl", "-o", "counts.out")
    batch(folder, "count.py:Pop", "texts.jsonl", "-o", "texts.out")
    counts, texts = rows(folder / "counts.out"), rows(folder / "texts.out")
    assert [row.get("n") for row in counts] == [1, 1, None, 1]
    assert [row.get("length") for row in texts] == [2, 3, None, 4]
    assert texts[2]["error"]["reason"] == "empty text"


def test_batch_takes_the_row_mode(tmp_path: Path) -> None:
    """`--task-rows`, its environment variable, and a run that is begun again with another mode after it failed."""
    folder = case(tmp_path, "b02-batch-rows")
    batch(folder, "scale.py:Scale", "rows.jsonl", "-o", "a.jsonl", "--task-rows", "instance")
    batch(folder, "scale.py:Scale", "messages.jsonl", "-o", "b.jsonl", INFERGRAPH_TASK_ROWS="message")
    assert rows(folder / "a.jsonl") == [[2.0, 4.0], [6.0, 9.0]]
    assert [row["data"]["ndarray"] for row in rows(folder / "b.jsonl")] == [[[2.0, 4.0], [6.0, 8.0]], [[14.0]]]
    told = batch(folder, "scale.py:Scale", "rows.jsonl", "-o", "c.jsonl", code=1)
    assert "task_rows=instance takes such lines" in told
    batch(folder, "scale.py:Scale", "rows.jsonl", "-o", "c.jsonl", "--task-rows", "instance")
    assert rows(folder / "c.jsonl") == [[2.0, 4.0], [6.0, 9.0]]


def test_probabilities_of_several_targets_stay_with_their_rows(tmp_path: Path) -> None:
    """A multi-output model's answers are dealt out by row, for any number of lines."""
    folder = case(tmp_path, "b05-multi-output-task")
    subprocess.run([sys.executable, "make_model.py"], cwd=folder, check=True, timeout=100)
    expected = {
        "rows": [[[1, 0], [1, 0]], [[0, 1], [1, 0]]],
        "three": [[[1, 0], [1, 0]], [[0, 1], [1, 0]], [[1, 0], [0, 1]]],
    }
    for name, answers in expected.items():
        batch(folder, "deployment.yaml", f"{name}.jsonl", "-o", f"{name}.out")
        assert rows(folder / f"{name}.out") == answers


def test_a_line_is_read_as_a_request_is(tmp_path: Path) -> None:
    """NaN, infinities and half characters are read, as `/predict` reads them."""
    folder = case(tmp_path, "c2-json-two-readers")
    batch(folder, "echo.py:Echo", "rows.jsonl", "-o", "out.jsonl")
    assert [row["seen"] for row in rows(folder / "out.jsonl")] == [
        ["id", "score"], ["id", "score"], ["id", "text"], ["id", "score"], ["id"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        ("error", b'{"error":{"line":1,'),
        ("null", b'{"score":null}\n'),
        ("literal", b'{"score":NaN}\n'),
    ],
)
def test_nan_in_a_result_is_what_the_setting_says(tmp_path: Path, policy: str, line: bytes) -> None:
    """`task_nan`: a line with NaN in its result fails, or has null or the bare word in its place."""
    (tmp_path / "score.py").write_text(
        "class Score:\n"
        "    def predict(self, X, names=None):\n"
        "        return [{'score': float('nan') if row else 1.0} for row in X]\n"
    )
    (tmp_path / "rows.jsonl").write_text('{"is": "bad"}\n{}\n')
    batch(tmp_path, "score.py:Score", "rows.jsonl", "-o", "out.jsonl", INFERGRAPH_TASK_NAN=policy)
    assert (tmp_path / "out.jsonl").read_bytes().startswith(line)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("array.json", "one JSON array over several lines"),
        ("array-one-line.json", "one JSON array; a line for each item"),
        ("pretty.jsonl", "JSON objects over several lines"),
        ("old-mac.jsonl", "end in CR"),
    ],
)
def test_a_file_that_is_no_jsonl_is_refused_as_such(tmp_path: Path, file: str, told: str) -> None:
    """The fault of a file is told once, before the work, and nothing is left behind."""
    config = BatchConfig(
        input=CASES / "c3-whole-file" / file, output=tmp_path / "out", factory="", source="", settings=Settings()
    )
    with pytest.raises(PayloadError, match=told):
        run_batch(config, Clocks())
    assert not list(tmp_path.iterdir())


def test_the_place_of_the_output_is_looked_at(tmp_path: Path) -> None:
    """Pipes are written to, a link's target is replaced, and folders and the input are refused before the work."""
    folder = case(tmp_path, "b16-batch-output")
    os.mkfifo(folder / "pipe")
    (folder / "kept.jsonl").write_text("old")
    (folder / "kept.jsonl").chmod(0o640)
    (folder / "link.jsonl").symlink_to("kept.jsonl")
    (folder / "folder").mkdir()
    shutil.copy(folder / "rows.jsonl", folder / "same.jsonl")
    answers = [{"text": "a", "length": 1}, {"text": "bb", "length": 2}]
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((folder / "pipe").read_bytes()), daemon=True)
    reader.start()
    batch(folder, "echo.py:Echo", "rows.jsonl", "-o", "pipe")
    reader.join(60)
    assert [json.loads(line) for line in read[0].splitlines()] == answers
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)
    batch(folder, "echo.py:Echo", "rows.jsonl", "-o", "link.jsonl")
    assert (folder / "link.jsonl").is_symlink()
    assert rows(folder / "kept.jsonl") == answers
    assert stat.S_IMODE((folder / "kept.jsonl").stat().st_mode) == 0o640
    assert "it is a folder" in batch(folder, "echo.py:Echo", "rows.jsonl", "-o", "folder", code=1)
    assert "the input itself" in batch(folder, "echo.py:Echo", "same.jsonl", "-o", "same.jsonl", code=1)
    assert rows(folder / "same.jsonl") == [{"text": "a"}, {"text": "bb"}]
    out = batch(folder, "echo.py:Echo", "rows.jsonl", "-o", "/dev/stdout")
    assert all(json.dumps(row, separators=(",", ":")) in out for row in answers)
    assert not list(folder.glob("*.infergraph"))


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_output_has_the_mode_of_a_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    """The umask decides who may read the answers."""
    folder = case(tmp_path, "b16-batch-output")
    script = f"umask {mask:03o}; exec {COMMAND} batch echo.py:Echo rows.jsonl -o out.jsonl"
    subprocess.run(["sh", "-c", script], cwd=folder, check=True, timeout=100, stderr=subprocess.DEVNULL)
    assert stat.S_IMODE((folder / "out.jsonl").stat().st_mode) == mode


def test_a_pipe_is_an_input(tmp_path: Path) -> None:
    """Standard input and pipes are read once and answered; nothing else is left."""
    folder = case(tmp_path, "b17-batch-pipe")
    lines = (folder / "rows.jsonl").read_bytes()
    batch(folder, "echo.py:Echo", "-", "-o", "out.jsonl", input=lines)
    script = f"cat rows.jsonl | {COMMAND} batch echo.py:Echo /dev/stdin -o out2.jsonl"
    subprocess.run(["sh", "-c", script], cwd=folder, check=True, timeout=100, stderr=subprocess.DEVNULL)
    assert rows(folder / "out.jsonl") == rows(folder / "out2.jsonl") == [
        {"text": "a", "length": 1}, {"text": "bb", "length": 2},
    ]  # fmt: skip
    assert "it is a folder" in batch(folder, "echo.py:Echo", ".", "-o", "out3.jsonl", code=1)
    assert "standard input: the file is empty" in batch(
        folder, "echo.py:Echo", "-", "-o", "out3.jsonl", code=1, input=b""
    )
    assert not list(folder.glob("*out3*"))
    assert not list(folder.glob("*.infergraph"))


def test_a_file_of_another_encoding_is_named(tmp_path: Path) -> None:
    """`--encoding` reads it; without, the error of a line says what to do."""
    folder = case(tmp_path, "b16-batch-output")
    (folder / "gbk.jsonl").write_bytes('{"text": "绍兴在浙江"}\n'.encode("gbk"))
    batch(folder, "echo.py:Echo", "gbk.jsonl", "-o", "out.jsonl", "--encoding", "GBK")
    assert rows(folder / "out.jsonl") == [{"text": "绍兴在浙江", "length": 5}]
    told = batch(folder, "echo.py:Echo", "gbk.jsonl", "-o", "out2.jsonl", code=1)
    assert "not UTF-8 at byte 11 of the line" in told
    assert "--encoding gb18030" in told
