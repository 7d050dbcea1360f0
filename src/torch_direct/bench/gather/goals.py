"""What the gather is asked to reach, judged from the rows of a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from torch_direct.bench.gather.cases import GIB
from torch_direct.bench.gather.systems import CPU_PINNED, INDEX_SELECT, OURS, WHOLEGRAPH
from torch_direct.bench.goals import Goal, judge_goal
from torch_direct.bench.outcome import Row


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
        yield judge_goal(name, target, shares, min)


def _of_peers(cases: _Cases) -> Iterator[Goal]:
    ratios = {}
    for case in cases:
        peers = [case[peer]["gbps"] for peer in (WHOLEGRAPH, INDEX_SELECT) if peer in case]
        if peers:
            ratios[describe_case(case[OURS])] = case[OURS]["gbps"] / max(peers)
    compared = f"every case against the better of {WHOLEGRAPH} and {INDEX_SELECT}"
    yield judge_goal(f"{compared}: speed, worst", 0.97, ratios, min)
    yield judge_goal(f"{compared}: speed, median", 1.5, ratios, statistics.median)


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
    yield judge_goal(f"256 bytes and more against {CPU_PINNED}: speed, worst", 1.0, wide, min)
    yield judge_goal(
        f"every case against {CPU_PINNED}: time cut, mean", 0.60, cuts, statistics.fmean
    )


def describe_case(row: Row) -> str:
    """Return the case of a row in words: ``512 B x 200,000 out of 24 GiB, uniform, float32``."""
    return (
        f"{row['row_bytes']} B x {row['rows']:,} out of {row['footprint_bytes'] / GIB:.4g} GiB, "
        f"{row['order']}, {row['dtype']}"
    )
