"""A whole run: which cases, each group in its own process, and what comes of it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch_direct.bench.gather.cases import (
    GIB,
    Case,
    Group,
    all_cases,
    in_groups,
    quick_cases,
)
from torch_direct.bench.gather.goals import judge
from torch_direct.bench.gather.group import (
    Created,
    Event,
    Options,
    Overlap,
    measure_group,
)
from torch_direct.bench.gather.rows import has_graph
from torch_direct.bench.gather.systems import SYSTEMS, WHOLEGRAPH
from torch_direct.bench.outcome import Outcome, run_apart
from torch_direct.memory.pages import available_memory

_BYTES_LEFT = 20 * GIB
"""Host memory that a table leaves to all else, such as WholeGraph's copy."""
_SECONDS_OF_A_GROUP = 240.0
_SECONDS_OF_A_SYSTEM = 1.0


@dataclass
class GatherOutcome(Outcome):
    """What a run has found so far."""

    created: list[dict[str, Any]] = field(default_factory=list)
    """Seconds that systems took to make memory of their own."""
    overlap: dict[str, Any] | None = None

    def take(self, event: Event) -> None:
        """Add what a group found."""
        if isinstance(event, Created):
            self.created.append(
                {
                    "system": event.system,
                    "footprint_bytes": event.footprint_bytes,
                    "seconds": round(event.seconds, 2),
                }
            )
        elif isinstance(event, Overlap):
            self.overlap = event.figures
        else:
            super().take(event)

    def merge(self, other: Outcome) -> None:
        """Add what another group found."""
        super().merge(other)
        if isinstance(other, GatherOutcome):
            self.created += other.created
            self.overlap = other.overlap or self.overlap

    def results(self) -> dict[str, Any]:
        """Return what goes into the file behind its header."""
        return {
            "rows": self.rows,
            "goals": judge(self.rows),
            "overlap": self.overlap,
            "created": self.created,
            "absent": self.absent,
            "failures": self.failures,
        }


@dataclass(frozen=True)
class Selection:
    """What to measure."""

    groups: list[Group]
    left_out: list[tuple[str, int]]
    """Why cases are left out, and how many."""


def select_cases(
    *,
    quick: bool,
    row_bytes: Sequence[int] | None,
    footprint_limit: int | None,
    graphs: Path | None,
) -> Selection:
    """Choose the cases that are asked for and can be measured here.

    Args:
        quick: Whether a minute's worth is enough.
        row_bytes: Row sizes, all if None.
        footprint_limit: Bytes of the largest table; by default what is free but for 20 GiB.
        graphs: Folder of the real graphs.
    """
    cases = quick_cases() if quick else all_cases()
    if row_bytes is not None:
        cases = [case for case in cases if case.row_bytes in row_bytes]
    limit = available_memory() - _BYTES_LEFT if footprint_limit is None else footprint_limit
    left_out: list[tuple[str, int]] = []
    conditions: list[tuple[str, Callable[[Case], bool]]] = [
        (
            f"tables of more than {max(0, limit) / GIB:.4g} GiB",
            lambda case: case.footprint_bytes <= limit,
        ),
        (
            "traces whose graph is not there: see --graphs",
            lambda case: case.graph is None or has_graph(graphs, case.graph),
        ),
    ]
    for reason, holds in conditions:
        kept = [case for case in cases if holds(case)]
        if len(kept) < len(cases):
            left_out.append((reason, len(cases) - len(kept)))
        cases = kept
    return Selection(in_groups(cases), left_out)


def default_systems(*, quick: bool) -> tuple[str, ...]:
    """Return what is measured unless asked otherwise: quickly, all but WholeGraph."""
    return tuple(system for system in SYSTEMS if not quick or system != WHOLEGRAPH)


def run_group(
    group: Group, systems: tuple[str, ...], rounds: int, graphs: Path | None
) -> GatherOutcome:
    """Measure a group in a fresh process; where that fails, the outcome says so.

    Args:
        group: What to measure.
        systems: Names out of `SYSTEMS`.
        rounds: Rounds of a case.
        graphs: Folder of the real graphs.
    """
    outcome = GatherOutcome()
    options = Options(systems, rounds, _SECONDS_OF_A_SYSTEM, graphs)
    part = {"row_bytes": group.row_bytes}
    run_apart(outcome, part, measure_group, group, options, seconds=_SECONDS_OF_A_GROUP)
    return outcome
