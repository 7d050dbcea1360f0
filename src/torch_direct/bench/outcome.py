"""What comes of a run, whose parts may fail one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
"""What was measured of one system in one case, as it goes into the file."""


@dataclass(frozen=True)
class Absent:
    """A system that could not be measured."""

    system: str
    reason: str


@dataclass
class Outcome:
    """What a run has found so far."""

    rows: list[Row] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Systems that were not measured, with the reason."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Parts of the run that did not come to their end."""

    def take(self, event: Absent | list[Row]) -> None:
        """Add what a part of the run found."""
        if isinstance(event, Absent):
            self.absent[event.system] = event.reason
        else:
            self.rows += event

    @property
    def wrong(self) -> list[Row]:
        """Rows of systems whose answer was wrong."""
        return [row for row in self.rows if not row["correct"]]
