"""What training is asked to reach, judged from the rows of a run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from torch_direct.bench.goals import judge_goal
from torch_direct.bench.outcome import Row
from torch_direct.bench.train.graphs import GRAPHS, TINY

MODEL = "sage"
"""The model that is judged."""

STOCK, STRONG, TWO_LINES = "all-in-cpu-stock", "all-in-cpu", "unified-features"
"""PyG's loader as it comes, the CPU at its strongest, and the change of two lines."""
OURS = "torch-direct"
GRAPH_IN_GPU = "graph-in-gpu"
"""`OURS` with the graph in GPU memory, where much larger features would not fit."""
IN_GPU = "all-in-gpu"
"""Features and graph in GPU memory: the bound."""

Systems = dict[str, Row]
"""The rows of one graph and model, by system."""
Figure = Callable[[Systems], float | None]
"""Makes a value of the rows of a graph; None where a part of it was not measured."""


def ratio(field: str, system: str, other: str) -> Figure:
    """Return the figure: a field of one system over that of another."""

    def figure(systems: Systems) -> float | None:
        return _quotient(_field(systems, system, field), _field(systems, other, field))

    return figure


def cut(field: str, other: str, field_of_other: str | None = None) -> Figure:
    """Return the figure: by what part a field of `OURS` is below that of another system."""

    def figure(systems: Systems) -> float | None:
        before = _field(systems, other, field_of_other or field)
        left = _quotient(_field(systems, OURS, field), before)
        return None if left is None else 1 - left

    return figure


def overlap(systems: Systems) -> float | None:
    """Return the epoch of `OURS` over what it would take if everything overlapped."""
    fields = ("train_s", "sample_s", "transfer_s")
    train, sample, transfer = (_field(systems, OURS, field) for field in fields)
    if train is None or sample is None or transfer is None:
        return None
    return _quotient(_field(systems, OURS, "epoch_s"), max(train, sample + transfer))


class _Goal(NamedTuple):
    name: str
    target: float
    figure: Figure
    choose: Callable[[Sequence[float]], float] | None = None
    """Makes one value of those of all graphs. Default: the worst."""
    at_most: bool = False


_TWO_LINES = f"{TWO_LINES}, epoch against {STOCK}: speed-up"
_GOALS = (
    _Goal(
        f"transfer alone against {STRONG} (pinned): time cut, mean",
        0.50,
        cut("transfer_s", STRONG),
        statistics.fmean,
    ),
    _Goal(
        "transfer alone against x[idx].to('cuda') (pageable): time cut, mean",
        0.85,
        cut("transfer_s", STOCK, "transfer_pageable_s"),
        statistics.fmean,
    ),
    _Goal(f"wait for data against {STRONG}: time cut", 0.90, cut("exposed_s", STRONG)),
    _Goal("epoch over its longest part alone, at most", 1.15, overlap, at_most=True),
    _Goal(f"epoch against {STRONG}: speed-up", 2.0, ratio("epoch_s", STRONG, OURS)),
    _Goal(
        f"epoch against {STOCK}: speed-up, median",
        4.0,
        ratio("epoch_s", STOCK, OURS),
        statistics.median,
    ),
    _Goal(
        f"{_TWO_LINES}, on at least half of the graphs",
        1.6,
        ratio("epoch_s", STOCK, TWO_LINES),
        # Of an even number of graphs, half are as fast as the upper of the two in the middle.
        statistics.median_high,
    ),
    _Goal(f"{_TWO_LINES}, never slower", 1.0, ratio("epoch_s", STOCK, TWO_LINES)),
    _Goal(
        f"CPU seconds over those of {STRONG}, at most",
        0.10,
        ratio("cpu_s", OURS, STRONG),
        at_most=True,
    ),
    _Goal(f"GPU joules against {STRONG}: cut", 1 / 3, cut("gpu_j", STRONG)),
)


def judge(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Judge every goal over the graphs that have what it compares.

    A goal that names neither a mean, nor a median, nor a share of the graphs is about the worst of
    them.

    Args:
        rows: As in the file. A system whose batch was wrong is not judged, nor is the tiny graph.

    Returns:
        The goals as `torch_direct.bench.goals.Goal` has them, as dictionaries.
    """
    graphs = by_graph([row for row in rows if row["graph"] != TINY.name], MODEL)
    judged = []
    for name, target, figure, choose, at_most in _GOALS:
        found = {name_of(graph, systems): figure(systems) for graph, systems in graphs.items()}
        values = {graph: value for graph, value in found.items() if value is not None}
        judged.append(asdict(judge_goal(name, target, values, choose, at_most=at_most)))
    return judged


def by_graph(rows: Sequence[Row], model: str) -> dict[str, Systems]:
    """Return the rows of a model whose answers were right, by graph and system."""
    graphs: dict[str, Systems] = {}
    for row in rows:
        if row["model"] == model and row["correct"]:
            graphs.setdefault(row["graph"], {})[row["system"]] = row
    return {graph: graphs[graph] for graph in in_order(graphs)}


def in_order(graphs: Iterable[str]) -> list[str]:
    """Sort the names of graphs as `GRAPHS` has them; the file has those last measured last."""
    known = list(GRAPHS)
    return sorted(graphs, key=lambda graph: known.index(graph) if graph in GRAPHS else len(known))


def name_of(graph: str, systems: Systems) -> str:
    """Return the name of a graph, saying whether it is a stand-in."""
    stand_in = any(row["stand_in"] for row in systems.values())
    return f"{graph} (stand-in)" if stand_in else graph


def _field(systems: Systems, system: str, field: str) -> float | None:
    found: float | None = systems.get(system, {}).get(field)
    return found


def _quotient(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b
