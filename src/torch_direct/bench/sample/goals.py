"""What sampling is asked to reach, judged from the rows of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from torch_direct.bench.goals import Goal, judge_goal
from torch_direct.bench.outcome import Row
from torch_direct.bench.sample.cases import LARGE, SMALL, UNIFORM, WEIGHTED
from torch_direct.bench.sample.systems import CPU, GPU, OURS, PYG, UNIFIED, WHOLEGRAPH

FANOUT, BATCH_SIZE = "15,10,5", 1024
"""Of the batches that are judged."""

_Key = tuple[str, str, str]
"""System, placement and kind."""
_OURS: _Key = (OURS, UNIFIED, UNIFORM)
_OURS_WEIGHTED: _Key = (OURS, UNIFIED, WEIGHTED)

_RATIOS: dict[str, tuple[_Key, _Key, dict[str, float]]] = {
    "unified against wholegraph": (
        _OURS,
        (WHOLEGRAPH, UNIFIED, UNIFORM),
        {SMALL.name: 2.0, LARGE.name: 2.0},
    ),
    "unified against PyG": (_OURS, (PYG, CPU, UNIFORM), {SMALL.name: 10.0, LARGE.name: 3.0}),
    "unified against the graph in GPU memory": (
        _OURS,
        (OURS, GPU, UNIFORM),
        {SMALL.name: 0.5, LARGE.name: 0.25},
    ),
    "weighted against uniform": (
        _OURS_WEIGHTED,
        _OURS,
        {SMALL.name: 0.5, LARGE.name: 0.5},
    ),
}
"""Ratios of edges a second: of which to which, and what is asked for each graph."""


def judge(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Judge every goal.

    Args:
        rows: As in the file. A system whose batch was wrong is not judged.

    Returns:
        The goals as `Goal` has them, as dictionaries.
    """
    goals = (goal for graph in (SMALL, LARGE) for goal in _of_graph(graph.name, rows))
    return [asdict(goal) for goal in goals]


def _of_graph(graph: str, rows: Sequence[Row]) -> Iterator[Goal]:
    judged = (graph, FANOUT, BATCH_SIZE)
    found: dict[_Key, Row] = {
        (row["system"], row["placement"], row["kind"]): row
        for row in rows
        if (row["graph"], row["fanout"], row["batch_size"]) == judged and row["correct"]
    }
    for name, (system, other, targets) in _RATIOS.items():
        ratios = {}
        if system in found and other in found:
            ratios[_case(system)] = found[system]["edges_per_s"] / found[other]["edges_per_s"]
        yield judge_goal(f"{graph}: {name}, edges a second", targets[graph], ratios)
    cores = {
        _case(key): found[key]["ms_per_batch"] / found[key]["cpu_ms_per_batch"]
        for key in (_OURS, _OURS_WEIGHTED)
        if key in found
    }
    yield judge_goal(f"{graph}: time over CPU time, above 1 with under 1 core", 1.0, cores)


def _case(key: _Key) -> str:
    return f"{FANOUT}, batch {BATCH_SIZE}, {key[2]}"
