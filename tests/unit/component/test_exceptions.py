"""Exceptions of user code, and the status that each declares."""

import pytest
from starlette.exceptions import HTTPException
from werkzeug.exceptions import UnprocessableEntity

from infergraph.component.exceptions import declared_status, text_of


class OnClass(Exception):
    """Declares its status on the class."""

    status_code = 418


class Computed(Exception):
    """Declares its status as a property."""

    @property
    def status_code(self) -> int:
        return 409


class Broken(Exception):
    """Cannot compute its status."""

    @property
    def status_code(self) -> int:
        raise RuntimeError("no status")


def _with(error: Exception, **attributes: object) -> Exception:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("none"), None),
        (OnClass(), 418),
        (_with(OnClass(), status_code=451), 451),
        (_with(OnClass(), status_code="451"), 451),
        (_with(OnClass(), status_code=None), 500),
        (_with(ValueError(), status_code=422), 422),
        (_with(ValueError(), status_code="422"), 422),
        (_with(ValueError(), status_code=999), 500),
        (_with(ValueError(), status_code="E422"), None),
        (_with(ValueError(), status_code=None), None),
        (_with(ValueError(), status_code=True), None),
        (HTTPException(422, "no price"), 422),
        (UnprocessableEntity("no price"), 422),
        (Computed(), 409),
        (Broken(), None),
        (_with(ValueError(), status_code=401, response=object()), None),
        (_with(OnClass(), response=object()), 418),
    ],
    ids=repr,
)
def test_an_error_declares_its_status_on_its_class_or_on_itself(error: Exception, status: int | None) -> None:
    """Starlette's and Flask's errors do the latter; the status in an HTTP client's error is that of another server."""
    assert declared_status(error) == status


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no price"), "no price"),
        (ValueError(), "ValueError"),
        (SystemExit(), "SystemExit"),
        (SystemExit(0), "SystemExit: 0"),
        (SystemExit("bye"), "SystemExit: bye"),
    ],
)
def test_an_error_says_what_it_is(error: BaseException, text: str) -> None:
    """By its message, or else its class; the code of `sys.exit` alone would say nothing."""
    assert text_of(error) == text
