"""What rendering has to say about a file: warnings about what is not rendered, and reasons to refuse it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from infergraph.graph.spec import Deployment, Lines


class Finding(NamedTuple):
    """A place in a document, and what is to be said of it."""

    field: str
    text: str


class Findings:
    """The warnings and refusals of one document, in the order found; each is kept once."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.warnings: dict[Finding, None] = {}
        self.refusals: dict[Finding, None] = {}

    def warn(self, field: str, text: str) -> None:
        """Add a warning."""
        self.warnings[Finding(field, text)] = None

    def refuse(self, field: str, text: str) -> None:
        """Add a reason to refuse the file."""
        self.refusals[Finding(field, text)] = None

    def lines(self, found: Iterable[Finding], lines: Lines, *, word: str = "") -> list[str]:
        """One line for each: `FILE:LINE: FIELD: TEXT`.

        Args:
            word: stands before the field.
        """
        return [line_of(lines, self.deployment, each.field, each.text, word=word) for each in found]


def line_of(lines: Lines, deployment: Deployment, field: str, text: str, *, word: str = "") -> str:
    """`FILE:LINE: FIELD: TEXT` for a place in the document of `deployment`; its first line for a field of none."""
    line = lines.of(deployment.document, deployment.field(field))
    where = f"{deployment.source}:{line}" if line else deployment.source
    return f"{where}: {word}{field}: {' '.join(text.split())}"
