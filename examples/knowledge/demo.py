"""A tour of knowledge extraction: fetch the weights, serve the graph, ask it, hand it a task, stop one, show triples.

    python examples/knowledge/demo.py           (--keep leaves the server up at the end)

Everything goes the way gBuilder goes: a multipart upload, the state of the task by its id, the result file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from infergraph.wire import prediction
from infergraph_knowledge import RelationRecord, triples

HERE = Path(__file__).parent
CORPUS = HERE / "corpus_zh.jsonl"
COMMAND = str(Path(sys.executable).with_name("infergraph"))
PARAGRAPH = (
    "《三体》是刘慈欣创作的科幻小说，2008年由重庆出版社出版。鲁迅，原名周树人，1881年9月25日出生于浙江绍兴。"
    "华为技术有限公司总部设在深圳，创始人是任正非。"
)
LONG_COPIES = 200
"""How often the corpus is repeated in the task that is stopped."""
SHOWN_TRIPLES = 12
RUNNING = (0, 1)

console = Console(highlight=False)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run(*arguments: str) -> None:
    """Run a command of infergraph and show it."""
    console.print(f"\n[bold]$ infergraph {' '.join(arguments)}[/bold]")
    subprocess.run([COMMAND, *arguments], check=True)


class Endpoint:
    """The served graph, and how to ask it."""

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.url = f"http://127.0.0.1:{http_port}"
        self._grpc_port = grpc_port

    async def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """What a path answers. Raises: urllib.error.URLError for an error, or if nobody listens."""
        headers = {} if body is None else {"Content-Type": kind}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with await asyncio.to_thread(urllib.request.urlopen, request, timeout=60) as response:
            return bytes(response.read())

    async def is_ready(self) -> bool:
        """Whether its models are loaded."""
        try:
            await self._ask("GET", "/ready")
        except OSError:
            return False
        return True

    async def ask_rest(self, text: str) -> dict[str, Any]:
        """The record that a text is answered with over REST."""
        body = json.dumps({"jsonData": {"data": text}}).encode()
        return dict(json.loads(await self._ask("POST", "/api/v1.0/predictions", body))["jsonData"])

    async def ask_grpc(self, text: str) -> dict[str, Any]:
        """The same over gRPC."""
        request = json_format.ParseDict({"jsonData": {"data": text}}, prediction.SeldonMessage())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._grpc_port}") as channel:
            predict = channel.unary_unary(
                "/seldon.protos.Seldon/Predict",
                request_serializer=prediction.SeldonMessage.SerializeToString,
                response_deserializer=prediction.SeldonMessage.FromString,
            )
            answer = await predict(request, timeout=30)
        return dict(json_format.MessageToDict(answer)["jsonData"])

    async def submit(self, task_id: str, lines: bytes) -> None:
        """Submit a task, as gBuilder does."""
        boundary = uuid.uuid4().hex
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("task_id", task_id), ("immediate", "true"))
        )
        file = f'--{boundary}\r\nContent-Disposition: form-data; name="task_file"; filename="corpus.jsonl"\r\n\r\n'
        form = (head + file).encode() + lines + f"\r\n--{boundary}--\r\n".encode()
        await self._ask("POST", "/tasks", form, f"multipart/form-data; boundary={boundary}")

    async def status(self, task_id: str) -> int:
        """Its state by gBuilder's numbers: 0 running, 1 waiting, 2 finished, 3 failed, -1 no such task."""
        return int(json.loads(await self._ask("GET", f"/tasks/{task_id}"))["status"])

    async def rows_done(self, task_id: str) -> int:
        """How many of its rows are done, by the native API."""
        return int(json.loads(await self._ask("GET", f"/api/v1.0/tasks/{task_id}"))["done"])

    async def results(self, task_id: str) -> bytes:
        """Its result file."""
        return await self._ask("GET", f"/tasks/{task_id}/results")

    async def stop(self, task_id: str) -> None:
        """Stop it."""
        await self._ask("DELETE", f"/tasks/{task_id}")


async def wait_until_ready(endpoint: Endpoint, server: subprocess.Popen[bytes]) -> None:
    """Wait for the server, which loads its models behind open ports."""
    began = time.monotonic()
    while server.poll() is None:
        if await endpoint.is_ready():
            console.print(f"Ready after {time.monotonic() - began:.1f} s.")
            return
        await asyncio.sleep(0.05)
    sys.exit(f"the server ended with exit code {server.returncode}")


def show_triples(title: str, rows: list[dict[str, Any]]) -> None:
    """A table of the first triples of `rows`."""
    table = Table("head", "relation", "tail", box=None, pad_edge=False)
    found = [triple for row in rows for triple in RelationRecord.read(row).triples]
    for triple in found[:SHOWN_TRIPLES]:
        table.add_row(triple.head, triple.relation, triple.tail)
    console.print(f"\n{title}")
    console.print(table)


async def follow(endpoint: Endpoint, task_id: str, rows: int) -> None:
    """A bar that moves with the rows of a task, until it has ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"task {task_id}", total=rows)
        while (status := await endpoint.status(task_id)) in RUNNING:
            progress.update(bar, completed=await endpoint.rows_done(task_id))
            await asyncio.sleep(0.1)
        progress.update(bar, completed=rows)
    if status != 2:
        sys.exit(f"the task ended with status {status}")


async def tour(endpoint: Endpoint, work: Path) -> None:
    """Ask online, run a task, stop another one, and export the triples."""
    answer = await endpoint.ask_rest(PARAGRAPH)
    console.print(f"\n{PARAGRAPH}")
    show_triples("Over REST:", [answer])
    same = (await endpoint.ask_grpc(PARAGRAPH))["relation"] == answer["relation"]
    console.print(f"\nOver gRPC: {'the same triples' if same else 'other triples!'}.")

    corpus = CORPUS.read_bytes()
    rows = corpus.count(b"\n")
    console.print(f"\nA task: the {rows} sentences of {CORPUS.name}, by gBuilder's routes.")
    began = time.monotonic()
    await endpoint.submit("corpus", corpus)
    await follow(endpoint, "corpus", rows)
    console.print(f"Finished after {time.monotonic() - began:.1f} s, its worker's start included.")

    results = work / "corpus.jsonl"
    results.write_bytes(await endpoint.results("corpus"))
    answers = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    show_triples(f"Its first triples ({len(answers)} lines out for {rows} in):", answers)
    counts = Counter(relation for row in answers for relation in row["relation"])
    console.print("\n" + ", ".join(f"{relation} {count}" for relation, count in counts.most_common(10)))

    await endpoint.submit("long", corpus * LONG_COPIES)
    async with asyncio.timeout(60):
        while await endpoint.status("long") != 0:  # noqa: ASYNC110 - its state is told by nothing but an answer
            await asyncio.sleep(0.02)
    began = time.monotonic()
    await endpoint.stop("long")
    took_ms = 1000 * (time.monotonic() - began)
    console.print(
        f"\nA task of {rows * LONG_COPIES:,} rows stopped while it ran: {took_ms:.0f} ms for the DELETE; ", end=""
    )
    console.print(f"its status is now {await endpoint.status('long')}.")

    done = triples.export(results, work / "triples.csv")
    console.print(
        f"Exported {done.triples} triples as CSV (infergraph export-triples also writes N-Triples and Turtle)."
    )


async def main() -> int:
    """The whole tour; the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--keep", action="store_true", help="leave the server up until Ctrl-C")
    keep = arguments.parse_args().keep
    run("knowledge", "fetch", "jiagu")
    http_port, grpc_port = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        command = [
            "serve", str(HERE / "flow.yaml"), "--http-port", str(http_port), "--grpc-port", str(grpc_port),
            "--metrics-port", "0", "--data-dir", str(work / "data"), "--log-level", "WARNING",
        ]  # fmt: skip
        console.print(f"\n[bold]$ infergraph {' '.join(command[:2])} …[/bold]")
        server = subprocess.Popen([COMMAND, *command])  # noqa: ASYNC220 - it only starts it
        try:
            endpoint = Endpoint(http_port, grpc_port)
            await wait_until_ready(endpoint, server)
            await tour(endpoint, work)
            if keep:
                console.print(f"\nThe server is up at {endpoint.url}. Ctrl-C stops it.")
                await asyncio.to_thread(server.wait)
        except asyncio.CancelledError:
            console.print()
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(timeout=60)
    console.print(f"\nStopped; the server's exit code is {code}.")
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
