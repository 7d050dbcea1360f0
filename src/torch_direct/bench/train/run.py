"""A run over one graph, in its own process, and the file that takes up what comes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch_direct.bench.child import in_child
from torch_direct.bench.outcome import Absent, Row
from torch_direct.bench.train.contest import Options
from torch_direct.bench.train.goals import STOCK, STRONG, TWO_LINES, judge
from torch_direct.bench.train.graphs import TINY, GraphSize
from torch_direct.bench.train.group import Event, Facts, ModelRows, Phase, measure_graph
from torch_direct.bench.train.models import WORKLOADS
from torch_direct.bench.train.systems import SYSTEMS
from torch_direct.errors import FileFormatError

_WORKERS = {STOCK: (8, 12, 16), TWO_LINES: (8, 12, 16), STRONG: (4, 8, 12, 16)}
_WORKERS_OF_A_TINY_GRAPH = dict.fromkeys(_WORKERS, (2,))
_ROUNDS, _ROUNDS_IN_QUICK = 4, 2
_BLOCK_SECONDS = 1.0
_SECONDS_OF_A_RUN = 1800.0

_KEYS = {"graph", "stand_in", "model", "system", "correct"}
"""Of a row, by which it is merged and judged."""

Results = dict[str, Any]
"""What is in the file: `runs` by graph, `rows` and `goals`."""


def options_for(
    size: GraphSize,
    *,
    systems: tuple[str, ...] | None,
    models: tuple[str, ...] | None,
    batches: int,
    seeds: int,
    seconds_each: float,
    quick: bool,
) -> Options:
    """Return how to measure a graph.

    Args:
        size: Which graph.
        systems: Names out of `SYSTEMS`; all by default.
        models: Names out of `WORKLOADS`; all by default, one in a quick run.
        batches: To be timed of each system in all.
        seeds: How many times all is gone through.
        seconds_each: Of a system with a model, about, at most.
        quick: Fewer rounds and models.
    """
    tiny = size == TINY
    names = tuple(WORKLOADS)
    return Options(
        systems=systems or tuple(SYSTEMS),
        models=models or (names[:1] if quick else names),
        batches=batches,
        rounds=_ROUNDS_IN_QUICK if quick else _ROUNDS,
        seeds=seeds,
        seconds_each=seconds_each,
        block_seconds=0.0 if tiny else _BLOCK_SECONDS,
        workers=_WORKERS_OF_A_TINY_GRAPH if tiny else _WORKERS,
        threads=1 if tiny else len(os.sched_getaffinity(0)),
    )


class TrainOutcome:
    """What a run over one graph has found so far."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.models: dict[str, ModelRows] = {}
        self.absent: dict[str, str] = {}
        self.failures: list[str] = []

    @property
    def wrong(self) -> list[Row]:
        """Rows of systems whose answer was wrong."""
        rows = (row for found in self.models.values() for row in found.rows)
        return [row for row in rows if not row["correct"]]

    def take(self, event: Event) -> None:
        """Add what a part of the run found."""
        match event:
            case Absent():
                self.absent[event.system] = event.reason
            case Facts():
                for name, value in event.facts.items():
                    known = self.facts.get(name)
                    self.facts[name] = {**known, **value} if isinstance(known, dict) else value
            case ModelRows() if event.rows:
                self.models[event.model] = event

    def merged_into(self, before: Results, graph: str, about: dict[str, Any]) -> Results:
        """Return a file's contents with this run in the place of what it measured again.

        Other models of the graph stay where they come from the same kind of machine, since the file
        names one for each graph. Epochs without their parts replace nothing.

        Args:
            before: What is in the file, or nothing.
            graph: Which graph.
            about: Machine, command, date and seconds of the run.
        """
        machine = about["machine"]
        old = before.get("runs", {}).get(graph, {})
        measured = {
            name: found
            for name, found in self.models.items()
            if found.complete or name not in old.get("models", {})
        }
        if not measured:
            return {**before, "goals": judge(before["rows"])}
        run = {name: value for name, value in about.items() if name != "machine"}
        run = {**run, **self.facts, "absent": self.absent, "failures": self.failures}
        models = {
            name: {**run, "step_ms": found.step_ms, "accuracy": found.accuracy}
            for name, found in measured.items()
        }
        same_machine = old.get("machine") == machine
        if same_machine:
            models = {**old["models"], **models}
        rows = [
            row
            for row in before.get("rows", [])
            if row["graph"] != graph or (same_machine and row["model"] not in measured)
        ]
        rows += [row for found in measured.values() for row in found.rows]
        runs = {**before.get("runs", {}), graph: {"machine": machine, "models": models}}
        return {"runs": runs, "rows": rows, "goals": judge(rows)}


def run_graph(
    outcome: TrainOutcome,
    size: GraphSize,
    options: Options,
    folder: Path | None,
    save: Path | None,
) -> Iterator[Phase | ModelRows]:
    """Measure a graph in a fresh process; where that fails, the outcome says so.

    Args:
        outcome: Takes what is found.
        size: Which graph.
        options: Of the run.
        folder: Where the graph is read from; None for a stand-in.
        save: Where to write it.

    Yields:
        Parts of the run as they end, and the rows of a model once they are in the outcome.
    """
    try:
        for event in in_child(
            measure_graph, size, options, folder, save, seconds=_SECONDS_OF_A_RUN
        ):
            outcome.take(event)
            if isinstance(event, (Phase, ModelRows)):
                yield event
    except (ChildProcessError, TimeoutError) as error:
        outcome.failures.append(str(error))


def read_results(path: Path) -> Results:
    """Read a file of `bench train`.

    Raises:
        FileFormatError: It is another file.
        OSError: It cannot be read.
    """
    try:
        results: Results = json.loads(path.read_text(encoding="utf-8"))
        rows_fit = all(row.keys() >= _KEYS for row in results["rows"])
        ours = rows_fit and all(
            {"machine", "models"} <= run.keys() for run in results["runs"].values()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if not ours:
        raise FileFormatError(
            f"{path} does not have the results of bench train; expected runs, and rows with "
            f"{', '.join(sorted(_KEYS))}: name another file"
        )
    return results
