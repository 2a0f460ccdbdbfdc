"""A component's `model_error_handler`: a Flask blueprint that turns the component's own exceptions into answers.

    exception ─▶ the blueprint's errorhandler for its class ─▶ status, body, headers

The blueprint is registered once on a Flask application that serves nothing; Flask itself picks and runs the handler.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from infergraph.errors import MissingExtra


def _serves_nothing(path: str = "") -> str:
    return ""


class HandledError(NamedTuple):
    """The answer that a blueprint's handler made."""

    status: int
    body: bytes
    headers: dict[str, str]


_UNHANDLED = "unhandled"


def answer(blueprint: Any, exception: BaseException) -> HandledError | None:
    """The answer of the blueprint's handler for `exception`.

    Args:
        blueprint: the component's `flask.Blueprint`; its `errorhandler`s and `app_errorhandler`s count alike.
        exception: what user code raised; the handler of its nearest class answers.
    Returns: None if the blueprint has no handler for it.
    Raises:
        MissingExtra: Flask is not installed.
        Exception: what the handler itself raises.
    """
    if not isinstance(exception, Exception):
        return None
    flask, app = _flask(), _application(blueprint)
    asked = app.request_context(flask.request.environ) if flask.has_request_context() else app.test_request_context("/")
    with asked:
        returned = app.handle_user_exception(exception)
        if returned is _UNHANDLED:
            return None
        response = app.make_response(returned)
        return HandledError(response.status_code, response.get_data(), dict(response.headers))


def _flask() -> ModuleType:
    try:
        import flask
    except ImportError as error:
        raise MissingExtra.of("flask", "flask", "a component's model_error_handler") from error
    return flask


@lru_cache(maxsize=32)
def _application(blueprint: Any) -> Any:
    app = _flask().Flask("infergraph.compat", static_folder=None)
    # Registered before the blueprint, whose own handler of Exception then replaces this one.
    app.register_error_handler(Exception, lambda _: _UNHANDLED)
    app.register_blueprint(blueprint)
    # An endpoint of the blueprint's name is what makes its `errorhandler`s apply beside its `app_errorhandler`s.
    for path in ("/", "/<path:path>"):
        app.add_url_rule(path, f"{blueprint.name}.infergraph", _serves_nothing, methods=["GET", "POST"])
    return app
