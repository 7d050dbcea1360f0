"""The tables of all runs, as the page of the evaluation has them.

    python -m torch_direct.bench.train.tables FILE.json [FILE.json ...] PAGE.md

writes the results of all files between the two marks of the page, and draws their pictures,
`train.png` and `train-speed-up.png`, beside the first file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch_direct.bench.outcome import Row
from torch_direct.bench.picture import describe
from torch_direct.bench.results import short
from torch_direct.bench.train.goals import (
    MODEL,
    OURS,
    STOCK,
    STRONG,
    TWO_LINES,
    Figure,
    Systems,
    by_graph,
    cut,
    in_order,
    judge,
    name_of,
    ratio,
)
from torch_direct.bench.train.picture import draw, speed_up_path, systems_of
from torch_direct.bench.train.run import read_results
from torch_direct.errors import FileFormatError

BEGIN, END = "<!-- begin: results -->", "<!-- end: results -->"
"""The marks of a page: between them stands what is made from a file."""

_MODELS = {
    MODEL: "GraphSAGE, 3 layers of 256",
    "gat": "GAT, 3 layers of 4 heads of 64",
    "sage-small": "GraphSAGE, 2 layers of 16",
}
_PICTURE = "train.png"
_NOT_MEASURED = "not measured"
_GIB = 1 << 30


def merge(files: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Put files together, and judge the goals over the graphs of all.

    Args:
        files: What is in each.

    Returns:
        The results as one file would have them.

    Raises:
        FileFormatError: A graph is in more than one of them.
    """
    runs: dict[str, Any] = {}
    rows: list[Row] = []
    for results in files:
        if again := runs.keys() & results["runs"].keys():
            raise FileFormatError(
                f"more than one file has {', '.join(in_order(again))}; expected each graph in one, "
                "since systems are compared on one machine: leave a file out"
            )
        runs |= results["runs"]
        rows += results["rows"]
    return {"runs": runs, "rows": rows, "goals": judge(rows)}


def renew(page: str, results: dict[str, Any], sources: Sequence[str]) -> str:
    """Put results into a page.

    Args:
        page: Text with `BEGIN` and `END` in it.
        results: As in a file.
        sources: Links from the page to the files they are from.

    Returns:
        The page with the results in place of what was between the marks.

    Raises:
        FileFormatError: The marks are missing.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise FileFormatError(
            f"the page lacks marks; expected {BEGIN} and {END}, each on a line of its own, around "
            "the place of the results"
        )
    return f"{head}{BEGIN}\n{report(results, sources)}\n{END}{tail}"


def report(results: dict[str, Any], sources: Sequence[str]) -> str:
    """Return all tables in Markdown, with links to the pictures.

    Args:
        results: As in a file.
        sources: Links from the page to the files they are from.
    """
    return "\n\n".join(_sections(results, [Path(source) for source in sources]))


def _sections(results: dict[str, Any], sources: Sequence[Path]) -> Iterator[str]:
    picture = _picture_of(sources)
    yield f"All figures are in {', '.join(f'[{path.name}]({path})' for path in sources)}."
    yield f"![Epochs of each system against {STRONG}]({speed_up_path(picture)})"
    yield f"![Parts of an epoch alone, and the epoch as measured]({picture})"
    yield "### Machines"
    yield _machines(results["runs"])
    yield "### Runs"
    yield _runs(results["runs"], results["rows"])
    yield "### Goals"
    yield _goals(results["goals"])
    for model, title in _MODELS.items():
        if graphs := by_graph(results["rows"], model):
            yield f"### Epochs: {title}"
            yield _epochs(graphs)
    graphs = by_graph(results["rows"], MODEL)
    yield f"### Parts of an epoch: {_MODELS[MODEL]}"
    yield _parts(graphs)
    yield f"### Transfer alone: {_MODELS[MODEL]}"
    yield _transfers(graphs)
    yield f"### Bytes, energy, CPU time and memory: {_MODELS[MODEL]}"
    yield _costs(graphs)


def _picture_of(sources: Sequence[Path]) -> Path:
    return sources[0].with_name(_PICTURE)


def _machines(runs: dict[str, Any]) -> str:
    graphs: dict[tuple[str, ...], list[str]] = {}
    for graph in in_order(runs):
        machine = runs[graph]["machine"]
        about = (describe(machine), machine["driver"] or "", machine["torch"])
        graphs.setdefault(about, []).append(graph)
    names = ("machine", "driver", "torch", "graphs")
    lines = ((*about, ", ".join(measured)) for about, measured in graphs.items())
    return _table(names, lines, left=len(names))


def _runs(runs: dict[str, Any], rows: Sequence[Row]) -> str:
    names = ("graph", "data", "date", "a step (ms)", "command", "left out")
    lines = (
        line
        for graph in in_order(runs)
        for line in _runs_of(graph, runs[graph]["models"], [r for r in rows if r["graph"] == graph])
    )
    return _table(names, lines, left=len(names))


def _runs_of(
    graph: str, models: dict[str, dict[str, Any]], rows: Sequence[Row]
) -> Iterator[tuple[str, ...]]:
    """Yield a line for each run over a graph, whose models have its date in common."""
    runs = {run["date"]: run for run in models.values()}
    for date, run in runs.items():
        of_run = {name: one for name, one in models.items() if one["date"] == date}
        steps = {name: ms for one in of_run.values() for name, ms in one["step_ms"].items()}
        left_out = [f"`{system}` {reason}" for system, reason in run["absent"].items()]
        left_out += [
            f"`{row['system']}` with {row['model']}: {_first_clause(row['error'])}"
            for row in rows
            if row["model"] in of_run and not row["correct"]
        ]
        yield (
            graph,
            _data(of_run),
            date[:10],
            ", ".join(f"{name} {_value(ms)}" for name, ms in steps.items()),
            f"`{run['command']}`",
            "; ".join([*left_out, *run["failures"]]),
        )


def _first_clause(error: str) -> str:
    return error.partition(";")[0].partition("\n")[0]


def _data(models: dict[str, dict[str, Any]]) -> str:
    """Name the data of a run, with what the models that learned from it reach."""
    if any(run["stand_in"] for run in models.values()):
        return "stand-in"
    found = {name: run.get("accuracy") for name, run in models.items()}
    reached = [f"{name} {value:.3f}" for name, value in found.items() if value is not None]
    return f"published; accuracy: {', '.join(reached)}" if reached else "published"


def _goals(goals: Sequence[dict[str, Any]]) -> str:
    outcomes = {True: "met", False: "missed", None: _NOT_MEASURED}
    return _table(
        ("goal", "worst on", "outcome", "asked", "reached", "graphs"),
        (
            (
                goal["name"],
                goal["worst_case"] or "",
                outcomes[goal["met"]],
                f"{'≤' if goal['at_most'] else '≥'} {goal['target']:.2f}",
                "" if goal["reached"] is None else f"{goal['reached']:.2f}",
                str(goal["cases"]),
            )
            for goal in goals
        ),
        left=3,
    )


def _epochs(graphs: dict[str, Systems]) -> str:
    systems = systems_of(graphs)
    compared = ((OURS, STRONG), (OURS, STOCK), (TWO_LINES, STOCK))
    return _table(
        (
            "graph",
            *(f"{system} (s)" for system in systems),
            *(f"{system} against {other}" for system, other in compared),
        ),
        (
            (
                name_of(graph, rows),
                *(_of(rows, system, "epoch_s") for system in systems),
                *(_times(ratio("epoch_s", other, system), rows) for system, other in compared),
            )
            for graph, rows in graphs.items()
        ),
    )


def _parts(graphs: dict[str, Systems]) -> str:
    fields = ("epoch_s", "sample_s", "transfer_s", "train_s", "exposed_s")
    return _table(
        (
            *("graph", "system", "epoch (s)", "sampling alone (s)", "transfer alone (s)"),
            *("training alone (s)", "wait for data (s)", "a batch, quartiles (ms)"),
            *("batches", "seeds", "workers"),
        ),
        (
            (
                name,
                row["system"],
                *(_value(row[field]) for field in fields),
                _spread(row),
                str(row["batches"]),
                str(row["seeds"]),
                "" if row["workers"] is None else str(row["workers"]),
            )
            for name, row in _by_line(graphs)
        ),
        left=2,
    )


def _spread(row: dict[str, Any]) -> str:
    if row["ms_per_batch"] is None:
        return _NOT_MEASURED
    if row["ms_q1"] is None:
        return short(row["ms_per_batch"])
    quartiles = f"{short(row['ms_q1'])} to {short(row['ms_q3'])}"
    return f"{short(row['ms_per_batch'])}, {quartiles}"


def _transfers(graphs: dict[str, Systems]) -> str:
    return _table(
        (
            *("graph", "pageable copy (s)", "pinned CPU gather (s)", f"{OURS} (s)"),
            *("against pageable", "against pinned"),
        ),
        (
            (
                name_of(graph, rows),
                _of(rows, STOCK, "transfer_pageable_s"),
                _of(rows, STRONG, "transfer_s"),
                _of(rows, OURS, "transfer_s"),
                _change(cut("transfer_s", STOCK, "transfer_pageable_s"), rows),
                _change(cut("transfer_s", STRONG), rows),
            )
            for graph, rows in graphs.items()
        ),
    )


def _costs(graphs: dict[str, Systems]) -> str:
    fields = ("link_gb", "gpu_j", "gpu_w", "cpu_j", "cpu_s")
    return _table(
        (
            *("graph", "system", "over the link (GB)", "GPU (J)", "GPU (W)", "CPU (J)"),
            *("CPU seconds", "host memory, peak (GiB)"),
        ),
        (
            (name, row["system"], *(_value(row[field]) for field in fields), _peak(row))
            for name, row in _by_line(graphs)
        ),
        left=2,
    )


def _peak(row: dict[str, Any]) -> str:
    peak = row["host_peak_bytes"]
    return _NOT_MEASURED if peak is None else short(peak / _GIB)


def _by_line(graphs: dict[str, Systems]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row with the name of its graph, given once for all systems."""
    for graph, rows in graphs.items():
        name = name_of(graph, rows)
        for row in rows.values():
            yield name, row
            name = ""


def _of(rows: Systems, system: str, field: str) -> str:
    return _value(rows[system][field]) if system in rows else ""


def _change(figure: Figure, rows: Systems) -> str:
    value = figure(rows)
    return "" if value is None else f"{-100 * value:+.0f} %"


def _times(figure: Figure, rows: Systems) -> str:
    value = figure(rows)
    return "" if value is None else f"{value:.2f}x"


def _value(value: float | None) -> str:
    return _NOT_MEASURED if value is None else short(value)


def _table(names: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table in Markdown, with some columns to the left and the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(names) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *lines))


def main(arguments: Sequence[str] | None = None) -> None:
    """Renew a page and its pictures: the command of this module."""
    parser = argparse.ArgumentParser(description="Put the results of `bench train` into a page.")
    parser.add_argument("results", type=Path, nargs="+", help="JSON files that bench train wrote")
    parser.add_argument("page", type=Path, help=f"Markdown with {BEGIN} and {END}")
    given = parser.parse_args(arguments)
    files, page = sorted(given.results), given.page
    sources = [Path(os.path.relpath(file, page.parent)).as_posix() for file in files]
    try:
        results = merge(read_results(file) for file in files)
        renewed = renew(page.read_text(encoding="utf-8"), results, sources)
        page.write_text(renewed, encoding="utf-8")
    except (OSError, FileFormatError) as error:
        parser.error(str(error))
    draw(results, _picture_of(files))


if __name__ == "__main__":
    main()
