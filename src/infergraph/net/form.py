"""Multipart forms with one file, as task endpoints take them.

fields ─▶ head ┊ the file's bytes, streamed ┊ tail
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import NamedTuple

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # as browsers write them


class Form(NamedTuple):
    """A form around one file.

    Args:
        content_type: of the form.
        head: the bytes before the file.
        tail: the bytes after the file.
    """

    content_type: str
    head: bytes
    tail: bytes

    @classmethod
    def of(
        cls, fields: Mapping[str, str], *, file_field: str, file_name: str = "task.jsonl", file_type: str = ""
    ) -> Form:
        """The form of some fields and a file.

        Args:
            file_type: its content type; empty if unknown.
        """
        boundary = uuid.uuid4().hex
        parts = [f"{_disposition(boundary, name)}\r\n\r\n{value}\r\n" for name, value in fields.items()]
        file = f'{_disposition(boundary, file_field)}; filename="{file_name.translate(_ESCAPES)}"\r\n'
        kind = f"Content-Type: {file_type}\r\n" if file_type else ""
        head = "".join([*parts, file, kind, "\r\n"])
        content_type = f"multipart/form-data; boundary={boundary}"
        return cls(content_type, head.encode("utf-8", "replace"), f"\r\n--{boundary}--\r\n".encode())


def _disposition(boundary: str, name: str) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name.translate(_ESCAPES)}"'
