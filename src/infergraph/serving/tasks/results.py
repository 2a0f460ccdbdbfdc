"""Result files as downloads, with range requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.responses import FileResponse, Response, StreamingResponse

from infergraph.errors import TaskFault
from infergraph.tasks.service import ResultFile, read_block

_NAME_LIMIT = 60
"""Maximum characters of a file name: at four bytes each, still within the limit of every file system."""


def results_response(file: ResultFile, id: str) -> Response:
    """A result file as a download; a finished one supports range requests.

    Raises: TaskFault if the file no longer exists.
    """
    if file.size and not file.path.exists():
        raise TaskFault(f"the answers of task {id!r} are gone from the disk", reason="TASK_FILES")
    headers = {"content-disposition": disposition(id, file.kind.name)}
    if file.sha256:
        headers["etag"] = f'"{file.sha256}"'
    if file.is_complete and file.size:
        return FileResponse(file.path, media_type=file.kind.media_type, headers=headers)
    headers["content-length"] = str(file.size)
    return StreamingResponse(_stream(file), media_type=file.kind.media_type, headers=headers)


async def _stream(file: ResultFile) -> AsyncIterator[bytes]:
    offset = 0
    while offset < file.size:
        block = await asyncio.to_thread(read_block, file, offset)
        if not block:
            return
        offset += len(block)
        yield block


def disposition(id: str, ending: str) -> str:
    """A Content-Disposition header that names the download after the task; unsafe characters of the id are replaced."""
    name = "".join(char if char.isalnum() or char in "-_." else "_" for char in id[:_NAME_LIMIT]).lstrip(".")
    name = name or "results"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}.{ending}\"; filename*=UTF-8''{quote(name, safe='')}.{ending}"
