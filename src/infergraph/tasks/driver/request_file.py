"""The check of a batch's input, all or nothing, before any of its requests is asked.

input ─▶ lines ─▶ each a request to the batch's endpoint, with a custom_id of its own ─▶ how many, or what is wrong

The memory does not grow with the file: digests of the ids are in a temporary file beside it, and are sorted in parts; a
line longer than a message may be is skipped, not read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from infergraph.tasks.openai import BatchError
from infergraph.wire import jsonl, request_lines
from infergraph.wire.request_lines import InvalidLine, RequestLine

ERRORS_LIMIT = 100
"""As many errors are told; the check ends with the last of them."""
_DIGEST = np.dtype([("low", "<u8"), ("high", "<u8")])
_LOOK_EVERY_LINES = 10_000
_SORTED_AT_ONCE = 1_000_000
_ENVELOPE_BYTES = 64 * 1024
"""Room in a line beside a body of the largest size."""


class Interrupted(Exception):
    """The check was ended before it was complete."""


class CheckedFile:
    """What the check has found: how many requests there are, and what is wrong with them."""

    def __init__(self) -> None:
        self.total = 0
        self.errors: list[BatchError] = []

    def add(self, line: int, fault: InvalidLine) -> None:
        """Add what is wrong with a line."""
        self.errors.append(BatchError(fault.code, fault.message, fault.param, line))

    @property
    def is_hopeless(self) -> bool:
        """Whether there are as many errors as are told."""
        return len(self.errors) >= ERRORS_LIMIT


def check(
    path: Path,
    end: int,
    endpoint: str,
    *,
    base_path: str,
    limit_bytes: int,
    is_over: Callable[[], bool] = lambda: False,
) -> CheckedFile:
    """Check a file. Blocking.

    Args:
        end: where reading ends.
        endpoint: the path that each request has to name, without the base path.
        limit_bytes: of a body; 0 for none.
        is_over: whether to end early.
    Raises: OSError; Interrupted.
    """
    found = CheckedFile()
    line_limit = limit_bytes + _ENVELOPE_BYTES if limit_bytes else end + 1
    with path.open("rb") as file, closing(_Ids(path.parent)) as ids:
        for number, line in enumerate(_lines(file, end, line_limit), 1):
            found.total = number
            if len(line) >= line_limit:
                found.add(number, InvalidLine("request_too_large", f"the line is over {line_limit} bytes"))
            elif fault := _fault(request := request_lines.read(line), endpoint, base_path):
                found.add(number, fault)
            elif isinstance(request, RequestLine):
                ids.add(number, request.custom_id)
            if found.is_hopeless:
                return found
            if number % _LOOK_EVERY_LINES == 0 and is_over():
                raise Interrupted
        for number, earlier in islice(ids.doubles(), ERRORS_LIMIT):
            found.add(number, InvalidLine("duplicate_custom_id", f"custom_id is that of line {earlier}", "custom_id"))
    found.errors = sorted(found.errors, key=lambda error: error.line or 0)[:ERRORS_LIMIT]
    return found


def _lines(file: BinaryIO, end: int, limit: int) -> Iterator[bytes]:
    """The lines up to `end`, without line ends; of a longer line its first `limit` bytes."""
    if file.read(len(jsonl.BOM)) != jsonl.BOM:
        file.seek(0)
    left = end - file.tell()
    while left > 0:
        line = part = file.readline(limit)
        left -= len(part)
        while part and not part.endswith(b"\n"):
            part = file.readline(limit)
            left -= len(part)
        yield line.removesuffix(b"\n")


def _fault(request: RequestLine | InvalidLine, endpoint: str, base_path: str) -> InvalidLine | None:
    if isinstance(request, InvalidLine):
        return request
    if request.url == endpoint or request_lines.path_of(request.url, base_path) == endpoint:
        return None
    return InvalidLine("invalid_url", f"url is {request.url!r:.200}, the batch's endpoint is {endpoint}", "url")


class _Ids:
    """The ids of all lines, as digests in a temporary file.

    Args:
        folder: where the file is; it has no name there.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._lines = 0

    def add(self, line: int, custom_id: str) -> None:
        """Add the id of a line; lines come in order."""
        self._file.write(bytes(_DIGEST.itemsize * (line - self._lines - 1)))
        self._file.write(blake2b(custom_id.encode(), digest_size=_DIGEST.itemsize).digest())
        self._lines = line

    def doubles(self) -> Iterator[tuple[int, int]]:
        """Each line whose id stands in an earlier one, with the number of that one; in no order."""
        self._file.flush()
        if not self._lines:
            return
        digests = np.memmap(self._file, _DIGEST, "r")
        parts = len(digests) // _SORTED_AT_ONCE + 1
        for part in range(parts):
            places = np.flatnonzero((digests["low"] % parts == part) & (digests["low"] != 0))
            some = digests[places]
            order = np.lexsort((places, some["high"], some["low"]))
            same = some[order][1:] == some[order][:-1]
            for at in np.flatnonzero(same):
                yield int(places[order[at + 1]]) + 1, int(places[order[at]]) + 1

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
