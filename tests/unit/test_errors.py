"""The tree of faults."""

from infergraph import errors
from infergraph.errors import Fault


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
