"""The tree of faults."""

from collections.abc import Callable

from infergraph import errors
from infergraph.errors import Fault, GraphError, did_you_mean, traceback_text


def tree_of(kind: type[Fault], prefix: str = "") -> list[str]:
    """The classes below `kind`, drawn."""
    lines = []
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    for place, child in enumerate(children):
        is_last = place == len(children) - 1
        lines.append(f"{prefix}{'└── ' if is_last else '├── '}{child.__name__}")
        lines.extend(tree_of(child, prefix + ("    " if is_last else "│   ")))
    return lines


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    """The tree in the module's docstring is the tree of the classes."""
    drawn = [line.strip("\n") for line in (errors.__doc__ or "").splitlines() if "──" in line]
    assert drawn == ["    " + line for line in tree_of(Fault)]


def test_a_fault_always_has_text() -> None:
    """str() of a fault is never empty, whatever it was made with."""
    assert str(Fault("")) == "Fault"
    assert str(errors.ComponentError("")) == "ComponentError"


def _raised(make: Callable[[], object]) -> BaseException:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError


def test_a_startup_fault_needs_no_traceback() -> None:
    """What is wrong with a file is said by the fault's text, whatever a library raised behind it."""

    def read() -> None:
        try:
            int("x")
        except ValueError as error:
            raise GraphError("graph.yaml:1:1: no graph") from error

    assert traceback_text(_raised(read)) == ""


def test_an_error_of_our_own_keeps_its_whole_traceback() -> None:
    """Whatever is no fault is shown as Python shows it."""
    assert traceback_text(_raised(lambda: int("x"))).startswith("Traceback (most recent call last):")


def test_near_words_are_suggested() -> None:
    """A word that resembles known ones is answered with them, any other with nothing."""
    assert did_you_mean("serv", ["serve", "show"]) == "; did you mean 'serve'?"
    assert did_you_mean("xyz", ["serve", "show"]) == ""
