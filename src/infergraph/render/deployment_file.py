"""The file that is rendered: checked as a whole, then document by document, with what there is to say about it."""

from __future__ import annotations

from collections.abc import Mapping

from infergraph.graph import resolution, spec
from infergraph.render import refusals, warnings
from infergraph.render.findings import Findings


class DeploymentFile:
    """A deployment file: what is rendered of it, the warnings about it, and the reasons to refuse it, a line each.

    Args:
        source: its name, for messages.
        overrides: targets or addresses by node name.
    Raises: GraphError for a file that cannot be read, or lacks a node of the overrides.
    """

    def __init__(self, text: str, source: str, overrides: Mapping[str, str]) -> None:
        reading = spec.survey(text, source=source)
        resolution.check_overrides(reading.deployments, overrides)
        self._lines = spec.Lines(text)
        self.deployments: list[spec.Deployment] = []
        self.warnings: list[str] = []
        self.refusals = refusals.of_check(reading, self._lines, overrides)
        if not self.refusals:
            self.deployments = reading.deployments
            self.warnings = [warnings.of_other(other, source, self._lines) for other in reading.others]

    def add(self, findings: Findings) -> None:
        """Add what was found in one of its documents."""
        self.warnings += findings.lines(findings.warnings, self._lines, word="warning: ")
        self.refusals += findings.lines(findings.refusals, self._lines)
