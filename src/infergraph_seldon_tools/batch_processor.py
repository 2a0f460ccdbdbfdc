"""A file of requests, one JSON value a line, sent to a deployment; a file of answers in the same order.

    lines ─▶ batches ─▶ worker threads ─▶ SeldonClient ─▶ one output line for each input line

Every input line gets its line: an answer with its identifiers under `meta.tags`, or a failure with its reason.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infergraph.net.backoff import Backoff
from infergraph.protocol.headers import PUID_KEY
from infergraph_seldon_tools.seldon_client import (
    SeldonCallCredentials,
    SeldonChannelCredentials,
    SeldonClient,
    SeldonClientException,
)

_log = logging.getLogger(__name__)

SELDON_PUID_HEADER = PUID_KEY
CHOICES_GATEWAY_TYPE = ["ambassador", "seldon", "istio"]
CHOICES_TRANSPORT = ["rest", "grpc"]
CHOICES_DATA_TYPE = ["data", "json", "str", "raw"]
CHOICES_PAYLOAD_TYPE = ["ndarray", "tensor", "tftensor"]
CHOICES_METHOD = ["predict", "feedback"]
CHOICES_LOG_LEVEL = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_ENV = "SELDON_BATCH_"
_BACKOFF = Backoff(first_s=0.1, limit_s=5.0)


class Line(NamedTuple):
    """One line of the input and its id; `number` counts from 0."""

    number: int
    text: str
    instance_id: str


class Asking(NamedTuple):
    """How lines are asked with."""

    client: SeldonClient
    batch_id: str
    method: str
    data_type: str
    payload_type: str
    attempts: int
    interval_s: float


class _Refused(Exception):
    """The deployment gave no answer; the text says why."""


def start_multithreaded_batch_worker(
    deployment_name: str,
    gateway_type: str,
    namespace: str,
    host: str,
    transport: str,
    data_type: str,
    payload_type: str,
    workers: int,
    retries: int,
    batch_size: int,
    input_data_path: str,
    output_data_path: str,
    method: str,
    log_level: str,
    benchmark: bool,
    batch_id: str,
    batch_interval: float,
    call_credentials_token: str,
    use_ssl: bool,
    ssl_verify: bool,
) -> int:
    """Answer every line of a file.

    Args:
        retries: how often a line is tried, at least once; the time between doubles.
        batch_size: rows of one request; more than one for `data` and `raw` arrays of one row a line.
        batch_interval: the shortest time from one request of a worker to its next, in seconds.
        batch_id: the batch's name in the tags of its lines; one is made if it is empty.
    Returns: how many lines failed.
    Raises:
        ValueError: arguments that do not go together.
        OSError: the input cannot be read, or the output not be written.
    Promises: the output has the input's order and number of lines.
    """
    logging.basicConfig(level=CHOICES_LOG_LEVEL[log_level])
    _check(method, data_type, payload_type, batch_size, Path(input_data_path), Path(output_data_path))
    started = time.monotonic()
    client = SeldonClient(
        gateway=gateway_type,
        transport=transport,
        deployment_name=deployment_name,
        payload_type=payload_type,
        gateway_endpoint=host,
        namespace=namespace,
        client_return_type="dict",
        ssl=use_ssl,
        call_credentials=SeldonCallCredentials(token=call_credentials_token) if call_credentials_token else None,
        channel_credentials=SeldonChannelCredentials(verify=ssl_verify) if use_ssl else None,
    )
    asking = Asking(
        client, batch_id or str(uuid.uuid1()), method, data_type, payload_type, max(retries, 1), batch_interval
    )
    total = failed = 0
    with client, open(input_data_path) as source, open(output_data_path, "w") as target:
        for answer in _answers(_batches(source, batch_size), asking, workers):
            total += 1
            failed += "batch_id" in answer.get("meta", {})
            target.write(json.dumps(answer) + "\n")
            if total % 100 == 0:
                _log.info("Processed instances: %d", total)
    _log.info("Total processed instances: %d, of which %d failed", total, failed)
    if benchmark:
        _log.info("Elapsed time: %.3f s", time.monotonic() - started)
    return failed


def _check(method: str, data_type: str, payload_type: str, batch_size: int, source: Path, target: Path) -> None:
    if method == "feedback" and data_type != "raw":
        raise ValueError("feedback needs the data type raw: each line a whole feedback")
    if batch_size > 1 and (method == "feedback" or data_type not in ("data", "raw") or payload_type == "tftensor"):
        raise ValueError("a batch size over 1 is for predictions of data or raw, as ndarray or tensor")
    if target.exists() and source.exists() and source.samefile(target):
        raise ValueError(f"the output {target} is the input: it would be overwritten")


def _batches(source: Iterable[str], size: int) -> Iterator[list[Line]]:
    lines = (Line(number, text, str(uuid.uuid1())) for number, text in enumerate(source))
    while batch := list(islice(lines, size)):
        yield batch


def _answers(batches: Iterator[list[Line]], asking: Asking, workers: int) -> Iterator[dict[str, Any]]:
    """The answers in the order of the lines, with a bounded number of batches in work."""
    waiting: deque[Future[list[dict[str, Any]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches:
            waiting.append(pool.submit(_answer_batch, batch, asking))
            if len(waiting) >= 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _answer_batch(batch: Sequence[Line], asking: Asking) -> list[dict[str, Any]]:
    started = time.monotonic()
    answers: dict[int, dict[str, Any]] = {}
    readable: list[tuple[Line, Any]] = []
    for line in batch:
        try:
            readable.append((line, json.loads(line.text)))
        except ValueError as error:
            answers[line.number] = _failure(line, asking, str(error))
    if len(batch) > 1:
        answers |= _ask_together(readable, asking)
    else:
        answers |= {line.number: _ask_alone(line, value, asking) for line, value in readable}
    if asking.interval_s:
        time.sleep(max(0.0, asking.interval_s - (time.monotonic() - started)))
    return [answers[line.number] for line in batch]


def _ask_alone(line: Line, value: Any, asking: Asking) -> dict[str, Any]:
    tags = _tags(line, asking)
    try:
        answer = _ask(_payload(value, tags, asking), line.instance_id, asking)
    except (_Refused, ValueError, TypeError) as error:
        return _failure(line, asking, str(error))
    return _tagged(answer, tags)


def _payload(value: Any, tags: Mapping[str, Any], asking: Asking) -> dict[str, Any]:
    if asking.data_type == "raw":
        if not isinstance(value, dict):
            raise ValueError(f"a raw line is a whole message, not {type(value).__name__}")
        return {"raw_data": value if asking.method == "feedback" else _tagged(value, tags)}
    if asking.data_type == "data":
        return {"data": np.array(value), "meta": tags}
    if asking.data_type == "str":
        if not isinstance(value, str):
            raise ValueError(f"a str line is a JSON string, not {type(value).__name__}")
        return {"str_data": value, "meta": tags}
    return {"json_data": value, "meta": tags}


def _ask_together(lines: Sequence[tuple[Line, Any]], asking: Asking) -> dict[int, dict[str, Any]]:
    """One request for many lines, each of one row; a line that does not fit the others fails alone."""
    answers: dict[int, dict[str, Any]] = {}
    rows: list[tuple[Line, Any, Mapping[str, Any]]] = []
    names: Any = None
    for line, value in lines:
        try:
            row, own_names, own_tags = _row(value, asking)
            if rows and (len(row) != len(rows[0][1]) or own_names != names):
                raise ValueError("the row's width or names differ from those of its batch")
        except (ValueError, TypeError, KeyError, IndexError) as error:
            answers[line.number] = _failure(line, asking, str(error) or type(error).__name__)
            continue
        names = own_names
        rows.append((line, row, own_tags))
    if not rows:
        return answers
    first = rows[0][0]
    payload = {"data": np.array([row for _, row, _ in rows]), "names": names, "meta": {"batch_id": asking.batch_id}}
    try:
        parts = _split(_ask(payload, first.instance_id, asking), len(rows))
    except (_Refused, ValueError, TypeError, KeyError) as error:
        return answers | {line.number: _failure(line, asking, str(error)) for line, *_ in rows}
    for position, ((line, _, own_tags), part) in enumerate(zip(rows, parts, strict=True)):
        tags = _tags(line, asking) | {"batch_instance_id": f"{first.instance_id}-item-{position}"}
        answers[line.number] = _tagged(part, {**own_tags, **tags})
    return answers


def _row(value: Any, asking: Asking) -> tuple[list[Any], Any, Mapping[str, Any]]:
    """The one row of a line, its names and its tags."""
    names: Any = None
    tags: Mapping[str, Any] = {}
    rows = value
    if asking.data_type == "raw":
        data = value["data"]
        names, tags = data.get("names"), (value.get("meta") or {}).get("tags") or {}
        tensor = data.get("tensor")
        rows = data["ndarray"] if tensor is None else np.array(tensor["values"]).reshape(tensor["shape"]).tolist()
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], list):
        raise ValueError("with a batch size over 1 a line holds exactly one row")
    return rows[0], names, tags


def _split(answer: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """An answer of `count` rows as one answer for each row."""
    data = answer["data"]
    tensor = data.get("tensor")
    rows = data["ndarray"] if tensor is None else np.array(tensor["values"]).reshape(tensor["shape"]).tolist()
    if len(rows) != count:
        raise ValueError(f"{count} rows were sent and {len(rows)} came back")
    kept: dict[str, Any] = {"names": data.get("names", [])}
    if tensor is None:
        forms: list[dict[str, Any]] = [{"ndarray": [row]} for row in rows]
    else:
        forms = [{"tensor": {"shape": [1, *tensor["shape"][1:]], "values": np.ravel(row).tolist()}} for row in rows]
    return [{**answer, "data": kept | form} for form in forms]


def _ask(payload: Mapping[str, Any], instance_id: str, asking: Asking) -> dict[str, Any]:
    """The deployment's answer, tried as often as asked for; the time between tries doubles."""
    headers = {SELDON_PUID_HEADER: instance_id}
    reason = ""
    for attempt in range(asking.attempts):
        time.sleep(_BACKOFF.wait_s(attempt))
        try:
            result: Any
            if asking.method == "feedback":
                result = asking.client.feedback(raw_request=payload["raw_data"], headers=headers)
            else:
                result = asking.client.predict(**payload, headers=headers)
        except SeldonClientException as error:
            reason = str(error)
            continue
        if result.success and isinstance(result.response, dict):
            answer: dict[str, Any] = result.response
            return answer
        status = result.response.get("status") if isinstance(result.response, dict) else None
        info = status.get("info") if isinstance(status, dict) else None
        reason = f"{result.msg} {info}" if info else str(result.msg) or "no readable answer"
    raise _Refused(reason)


def _tags(line: Line, asking: Asking) -> dict[str, Any]:
    return {"batch_id": asking.batch_id, "batch_instance_id": line.instance_id, "batch_index": line.number}


def _tagged(message: Mapping[str, Any], tags: Mapping[str, Any]) -> dict[str, Any]:
    meta = message.get("meta") or {}
    return {**message, "meta": {**meta, "tags": {**(meta.get("tags") or {}), **tags}}}


def _failure(line: Line, asking: Asking, reason: str) -> dict[str, Any]:
    return {"status": {"info": "FAILURE", "reason": reason, "status": 1}, "meta": _tags(line, asking)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seldon-batch-processor", description="Send a file of requests to a deployment.", add_help=False
    )
    parser.add_argument("--help", action="help")

    def option(*flags: str, env: str, default: Any = None, **more: Any) -> None:
        value = os.environ.get(_ENV + env, default)
        parser.add_argument(*flags, default=value, required=default is None and value is None, **more)

    option("-d", "--deployment-name", env="DEPLOYMENT_NAME")
    option("-g", "--gateway-type", env="GATEWAY_TYPE", default="istio", choices=CHOICES_GATEWAY_TYPE)
    option("-n", "--namespace", env="NAMESPACE", default="default")
    option("-h", "--host", env="HOST", default="istio-ingressgateway.istio-system.svc.cluster.local:80")
    option("--transport", env="TRANSPORT", default="rest", choices=CHOICES_TRANSPORT)
    option("-a", "--data-type", env="DATA_TYPE", default="data", choices=CHOICES_DATA_TYPE)
    option("-p", "--payload-type", env="PAYLOAD_TYPE", default="ndarray", choices=CHOICES_PAYLOAD_TYPE)
    option("-w", "--workers", env="WORKERS", default="1", type=int)
    option("-r", "--retries", env="RETRIES", default="3", type=int)
    option("-i", "--input-data-path", env="INPUT_DATA_PATH", default="/assets/input-data.txt")
    option("-o", "--output-data-path", env="OUTPUT_DATA_PATH", default="/assets/output-data.txt")
    option("-m", "--method", env="METHOD", default="predict", choices=CHOICES_METHOD)
    option("-l", "--log-level", env="LOG_LEVEL", default="info", choices=list(CHOICES_LOG_LEVEL))
    option("-u", "--batch-id", env="ID", default="")
    option("-s", "--batch-size", env="SIZE", default="1", type=int)
    option("-t", "--batch-interval", env="MIN_INTERVAL", default="0", type=float)
    option("--call-credentials-token", env="CALL_CREDENTIALS_TOKEN", default="")
    for flags, env, default in (
        (("-b", "--benchmark"), "BENCHMARK", "false"),
        (("--use-ssl",), "USE_SSL", "false"),
        (("--ssl-verify",), "SSL_VERIFY", "true"),
    ):
        option(*flags, env=env, default=default, nargs="?", const="true", type=_bool)
    return parser


def _bool(text: str) -> bool:
    return text.lower() in ("1", "true", "t", "yes", "y", "on")


def main() -> None:
    """`seldon-batch-processor`: exit 0 if any line was answered, 1 if all failed, 2 for wrong arguments or files."""
    arguments = _parser().parse_args()
    try:
        failed = start_multithreaded_batch_worker(**vars(arguments))
        with open(arguments.output_data_path) as target:
            total = sum(1 for _ in target)
    except (ValueError, OSError) as error:
        print(f"seldon-batch-processor: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if total and failed == total else 0)


if __name__ == "__main__":
    main()
