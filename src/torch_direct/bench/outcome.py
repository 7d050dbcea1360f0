"""What comes of a run, whose parts may fail one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch_direct.bench.child import in_child

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

    def merge(self, other: Outcome) -> None:
        """Add what another part of the run found."""
        self.rows += other.rows
        self.absent.update(other.absent)
        self.failures += other.failures

    @property
    def wrong(self) -> list[Row]:
        """Rows of systems whose answer was wrong."""
        return [row for row in self.rows if not row["correct"]]


def run_apart(
    outcome: Outcome,
    part: dict[str, Any],
    work: Callable[..., Iterable[Any]],
    *arguments: Any,
    seconds: float,
) -> None:
    """Do a part of a run in a fresh process; where that fails, the outcome says so.

    Args:
        outcome: Takes what the part yields.
        part: What the part is, as it goes into the file should it fail.
        work: A function of a module, which yields what the outcome takes.
        arguments: What to call it with.
        seconds: The longest that it may take.
    """
    try:
        for event in in_child(work, *arguments, seconds=seconds):
            outcome.take(event)
    except (ChildProcessError, TimeoutError) as error:
        outcome.failures.append({**part, "reason": str(error)})
