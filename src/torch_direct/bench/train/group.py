"""Measure all models on one graph, in one process, over one copy of it in host memory."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from torch_direct.bench.outcome import Absent, Row
from torch_direct.bench.results import rounded
from torch_direct.bench.train.contest import Contest, Options, precision
from torch_direct.bench.train.data import TrainData, load_data
from torch_direct.bench.train.graphs import GraphSize
from torch_direct.bench.train.models import WORKLOADS
from torch_direct.bench.train.system import Start
from torch_direct.bench.train.systems import SYSTEMS


@dataclass(frozen=True)
class Phase:
    """A part of the run is over."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Facts:
    """What is known of the graph, and of the run over it."""

    facts: dict[str, Any]


@dataclass(frozen=True)
class ModelRows:
    """All rows of a model, what its steps take, and how well it predicts."""

    model: str
    rows: list[Row]
    step_ms: dict[str, float | None]
    """Milliseconds of a step by its name; None where it did not fit into memory."""
    accuracy: float | None
    """On validation nodes, after the epochs of all systems; None for a stand-in."""
    complete: bool = True
    """Whether the parts of an epoch were measured too, which takes long."""


Event = Absent | Phase | Facts | ModelRows


def measure_graph(
    size: GraphSize, options: Options, folder: Path | None, save: Path | None
) -> Iterator[Event]:
    """Measure every model with every system.

    Args:
        size: Which graph.
        options: Of the run.
        folder: Where it is read from; None for a stand-in.
        save: Where to write it.

    Yields:
        Phases as they end, systems that are absent, what is known of the graph and of the run, and
        what came of each model.
    """
    torch.set_num_threads(options.threads)
    begin = time.monotonic()
    data = load_data(size, folder, save)
    yield Phase(f"{size.name} is in host memory: {data.nbytes / 1e9:.1f} GB", _since(begin))
    yield Facts(_describe(data))
    begin = time.monotonic()
    starts: dict[str, Start] = {}
    for name in options.systems:
        found = SYSTEMS[name](data)
        if isinstance(found, Absent):
            yield found
        else:
            starts[name] = found
    yield Phase(f"{len(starts)} systems are set up", _since(begin))
    workers: dict[str, int] | None = None
    with precision("high"):
        for model in options.models:
            contest = Contest(data, WORKLOADS[model], options)
            if workers is None:
                workers = yield from _choose_workers(contest, starts)
            yield from _measure_model(size.name, contest, starts, workers)


def _choose_workers(
    contest: Contest, starts: Mapping[str, Start]
) -> Generator[Event, None, dict[str, int]]:
    """Return the number of workers with which each system is fastest."""
    workers: dict[str, int] = {}
    for name, numbers in contest.options.workers.items():
        workers[name] = max(numbers)
        if name not in starts:
            continue
        begin = time.monotonic()
        tried = {number: contest.try_workers(name, starts[name], number) for number in numbers}
        seconds = {number: each for number, each in tried.items() if isinstance(each, float)}
        workers[name] = min(seconds, key=lambda number: seconds[number], default=max(numbers))
        yield Phase(f"{name} is fastest with {workers[name]} workers", _since(begin))
        found = {
            str(number): rounded(1000 * each) if isinstance(each, float) else each
            for number, each in tried.items()
        }
        yield Facts({"workers_ms": {name: found}})
    return workers


def _measure_model(
    graph: str, contest: Contest, starts: Mapping[str, Start], workers: Mapping[str, int]
) -> Iterator[Event]:
    model = contest.workload.name
    with ExitStack() as stack:
        for name, start in starts.items():
            begin = time.monotonic()
            contest.open(name, start, workers.get(name, 0), stack)
            yield Phase(f"{model}: {name} is ready and checked", _since(begin))
        begin = time.monotonic()
        contest.take_turns()
        yield Phase(f"{model}: epochs", _since(begin))
        # Before the steps are measured, which train on the same few batches over and over.
        accuracy = contest.accuracy()
        yield ModelRows(model, _rows(graph, contest), {}, accuracy, complete=False)
        begin = time.monotonic()
        steps = contest.measure_alone()
        yield Phase(f"{model}: sampling, transfer and training alone", _since(begin))
    yield ModelRows(model, _rows(graph, contest), steps, accuracy)


def _rows(graph: str, contest: Contest) -> list[Row]:
    return [{"graph": graph, **row} for row in contest.rows()]


def _describe(data: TrainData) -> dict[str, Any]:
    return {
        "stand_in": data.stand_in,
        "nodes": data.graph.num_nodes,
        "edges": data.graph.num_edges,
        "features": data.x.shape[1],
        "dtype": str(data.x.dtype).removeprefix("torch."),
        "row_bytes": data.x.shape[1] * data.x.element_size(),
        "train_nodes": data.train_nodes.numel(),
    }


def _since(begin: float) -> float:
    return round(time.monotonic() - begin, 1)
