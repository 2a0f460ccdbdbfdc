"""`flask.request` inside a component's hooks: Seldon's wrapper was a Flask application, so components look there.

the current request ─▶ a WSGI environment ─▶ the request context of a Flask application that serves nothing
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import itertools
import sys
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

from infergraph.message import Context

_HEADERS_WITHOUT_PREFIX = {"CONTENT_TYPE", "CONTENT_LENGTH"}
_FILES_LIMIT = 200


def scope(context: Context, request: object) -> AbstractContextManager[Any] | None:
    """What makes `flask.request` and `flask.current_app` those of a request; None in a process without Flask.

    Args:
        request: its body is there for `flask.request.get_data()` where it came over REST.
    """
    if "flask" not in sys.modules:
        return None
    scope: AbstractContextManager[Any] = _application().request_context(_environment(context, request))
    return scope


def expect(component: object) -> None:
    """Import Flask now if a file beside the component's speaks of it: an import inside a hook would be too late."""
    try:
        folder = Path(inspect.getfile(type(component))).parent
        files = itertools.islice(folder.glob("*.py"), _FILES_LIMIT)
        wanted = any(b"flask" in file.read_bytes() for file in files)
    except (OSError, TypeError):  # a class without a file, a file that cannot be read
        return
    if wanted and "flask" not in sys.modules and importlib.util.find_spec("flask") is not None:
        importlib.import_module("flask")


@cache
def _application() -> Any:
    from flask import Flask

    app = Flask("infergraph.compat", static_folder=None)
    # A path that is not found would be an exception, kept by the request that its own traceback refers to: such a cycle
    # keeps the request's body until the garbage collector comes.
    for path in ("/", "/<path:path>"):
        app.add_url_rule(path, "infergraph", _serves_nothing, methods=["GET", "POST"])
    return app


def _serves_nothing(path: str = "") -> str:
    return ""


def _environment(context: Context, request: object) -> dict[str, Any]:
    """The request as PEP 3333 has it."""
    body = getattr(request, "raw", None) or b""
    environment: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": context.path or "/",
        "QUERY_STRING": context.query.decode("latin-1"),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in context.headers:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in _HEADERS_WITHOUT_PREFIX else f"HTTP_{key}"
        text = value.decode("latin-1")
        environment[key] = f"{environment[key]},{text}" if key in environment else text
    environment["CONTENT_LENGTH"] = str(len(body))
    return environment
