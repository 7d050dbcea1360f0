"""What the gather is asked to reach, judged from the rows of a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch_direct.bench.gather.cases import GIB
from torch_direct.bench.gather.systems import CPU_PINNED, INDEX_SELECT, OURS, WHOLEGRAPH

Row = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """What was asked, and what came of it."""

    name: str
    """Which cases, and what is asked of them."""
    target: float
    """What the value must reach."""
    cases: int
    """How many cases were judged."""
    worst: float | None
    """The smallest value; None where nothing was measured."""
    median: float | None
    reached: float | None
    """The worst, median or mean, whichever is asked."""
    met: bool | None
    """None where nothing was measured."""
    worst_case: str | None
    """The case of the smallest value."""


def judge(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Judge every goal.

    Args:
        rows: Of all systems, as in the file. A case without the system to compare with, or with
            an answer that was wrong, is not judged.

    Returns:
        The goals as `Goal` has them, as dictionaries.
    """
    cases = _by_case(rows)
    return [asdict(goal) for goal in (*_of_the_limit(cases), *_of_peers(cases), *_of_cpu(cases))]


_LIMIT_GOALS: tuple[tuple[str, float, Callable[[Row], bool]], ...] = (
    (
        "1 KiB and more, 100,000 rows and more out of 16 GiB and more: share of the limit",
        0.90,
        lambda row: (
            row["row_bytes"] >= 1024
            and row["rows"] >= 100_000
            and row["footprint_bytes"] >= 16 * GIB
        ),
    ),
    *(
        (
            f"{row_bytes} bytes, {rows:,} rows out of {gib} GiB: share of the limit",
            target,
            lambda row, wanted=(row_bytes, rows, gib * GIB): (
                (row["row_bytes"], row["rows"], row["footprint_bytes"]) == wanted
            ),
        )
        for row_bytes, rows, gib, target in (
            (512, 1_000_000, 16, 0.85),
            (128, 4_000_000, 16, 0.85),
            (512, 200_000, 24, 0.60),
            (128, 1_000_000, 16, 0.45),
            (128, 200_000, 24, 0.20),
        )
    ),
)

_Cases = list[dict[str, Row]]
"""The rows of each case that have a speed, by system."""


def _by_case(rows: Sequence[Row]) -> _Cases:
    cases: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["gbps"] is not None:
            cases.setdefault(describe_case(row), {})[row["system"]] = row
    return [case for case in cases.values() if OURS in case]


def _of_the_limit(cases: _Cases) -> Iterator[Goal]:
    for name, target, named in _LIMIT_GOALS:
        shares = {
            describe_case(case[OURS]): case[OURS]["gbps"] / case[OURS]["limit_gbps"]
            for case in cases
            if named(case[OURS]) and case[OURS]["limit_gbps"] is not None
        }
        yield _goal(name, target, shares, min)


def _of_peers(cases: _Cases) -> Iterator[Goal]:
    ratios = {}
    for case in cases:
        peers = [case[peer]["gbps"] for peer in (WHOLEGRAPH, INDEX_SELECT) if peer in case]
        if peers:
            ratios[describe_case(case[OURS])] = case[OURS]["gbps"] / max(peers)
    compared = f"every case against the better of {WHOLEGRAPH} and {INDEX_SELECT}"
    yield _goal(f"{compared}: speed, worst", 0.97, ratios, min)
    yield _goal(f"{compared}: speed, median", 1.5, ratios, statistics.median)


def _of_cpu(cases: _Cases) -> Iterator[Goal]:
    compared = [case for case in cases if CPU_PINNED in case]
    ratios = {
        describe_case(case[OURS]): case[OURS]["gbps"] / case[CPU_PINNED]["gbps"]
        for case in compared
    }
    wide = {
        describe_case(case[OURS]): ratios[describe_case(case[OURS])]
        for case in compared
        if case[OURS]["row_bytes"] >= 256
    }
    cuts = {name: 1 - 1 / ratio for name, ratio in ratios.items()}
    yield _goal(f"256 bytes and more against {CPU_PINNED}: speed, worst", 1.0, wide, min)
    yield _goal(f"every case against {CPU_PINNED}: time cut, mean", 0.60, cuts, statistics.fmean)


def _goal(
    name: str,
    target: float,
    values: dict[str, float],
    choose: Callable[[Sequence[float]], float],
) -> Goal:
    if not values:
        return Goal(name, target, 0, None, None, None, None, None)
    figures = list(values.values())
    reached = choose(figures)
    return Goal(
        name=name,
        target=target,
        cases=len(figures),
        worst=round(min(figures), 3),
        median=round(statistics.median(figures), 3),
        reached=round(reached, 3),
        met=reached >= target,
        worst_case=min(values, key=lambda case: values[case]),
    )


def describe_case(row: Row) -> str:
    """Return the case of a row in words: ``512 B x 200,000 out of 24 GiB, uniform, float32``."""
    return (
        f"{row['row_bytes']} B x {row['rows']:,} out of {row['footprint_bytes'] / GIB:.4g} GiB, "
        f"{row['order']}, {row['dtype']}"
    )
