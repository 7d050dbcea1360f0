"""`torch-direct bench sample`: neighbour sampling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from torch_direct.bench.results import header
from torch_direct.cli.bench.shared import (
    REPEATS,
    command_text,
    goal_table,
    keep_so_far,
    names_in,
    new_console,
    print_absent,
    results_path,
    save_results,
)


def sample(
    quick: Annotated[
        bool, typer.Option("--quick", help="One kind of batch of the smaller graph.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON file to write, with a picture beside it. "
            "Default: benchmarks/results/sample-GPU.json, or sample-GPU-partial.json for less "
            "than a full run."
        ),
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(help="torch-direct, wholegraph, pyg; several with commas. Default: all."),
    ] = None,
    graphs: Annotated[
        str | None, typer.Option(help="power-law-250m, power-law-1.6b. Default: both.")
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="Kinds of sampling of torch-direct: uniform, weighted, temporal. Default: all."
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Rounds of a case, of 32 batches each.")
    ] = REPEATS,
) -> None:
    """Measure how fast neighbourhoods are sampled, beside the other ways.

    A batch of each system is checked against the graph before the system is timed, and one that is
    wrong gets no speed. The exit status is 1 where a batch was wrong or a graph did not finish.
    What is measured before an interruption is in a file of its own, whose name ends in -so-far.
    Without a GPU a tiny graph is sampled, for trying the command out.
    """
    import torch

    from torch_direct.bench.machine import describe_machine
    from torch_direct.bench.sample.cases import KINDS, graph_sizes, select_groups
    from torch_direct.bench.sample.picture import draw
    from torch_direct.bench.sample.run import SampleOutcome, run_group
    from torch_direct.bench.sample.systems import SYSTEMS

    gpu = torch.cuda.is_available()
    sizes = {size.name: size for size in graph_sizes(gpu=gpu)}
    chosen = names_in(systems, SYSTEMS, "--systems") or SYSTEMS
    chosen_kinds = names_in(kinds, KINDS, "--kinds") or KINDS
    option = "--graphs" if gpu else "--graphs, without a GPU,"
    chosen_graphs = names_in(graphs, tuple(sizes), option) or tuple(sizes)
    console, machine = new_console(), describe_machine()
    partial = bool(quick or systems or graphs or kinds or repeats < REPEATS)
    path = results_path(out, "sample", machine, partial=partial)
    options = {
        "--quick": quick,
        "--systems": systems,
        "--graphs": graphs,
        "--kinds": kinds,
        "--repeats": repeats,
    }
    found, begin = SampleOutcome(), time.monotonic()

    def results() -> dict[str, Any]:
        about = header(machine, command_text("sample", options))
        return {**about, **found.results(), "seconds": round(time.monotonic() - begin)}

    for group in select_groups([sizes[name] for name in chosen_graphs], quick=quick):
        with console.status(f"{group.graph.name}: {len(group.cases)} kinds of batches"):
            outcome = run_group(group, chosen, chosen_kinds, repeats)
        found.merge(outcome)
        console.print(_batch_times(group.graph.name, outcome.rows))
        keep_so_far(results(), path)
    complete = results()
    _print_findings(console, complete)
    save_results(console, complete, path, draw)
    if found.wrong or found.failures:
        raise typer.Exit(1)


def _batch_times(graph: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table with a line for each kind of batch and a column for each way to sample it."""
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    columns: dict[str, None] = {}
    for row in rows:
        column = f"{row['system']} {row['placement']}"
        columns[column] = None
        case = (row["kind"], row["fanout"], f"{row['batch_size']:,}")
        time_of_it = f"{row['ms_per_batch']:.3g}" if row["correct"] else "[red]wrong[/red]"
        lines.setdefault(case, {})[column] = time_of_it
    table = Table(title=f"{graph}, ms a batch", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("kind", no_wrap=True)
    for name in ("fanout", "seeds", *columns):
        table.add_column(name, justify="right")
    for case, times in lines.items():
        table.add_row(*case, *(times.get(column, "") for column in columns))
    return table


def _print_findings(console: Console, results: dict[str, Any]) -> None:
    console.print(goal_table(results["goals"]))
    print_absent(console, results["absent"])
    for row in results["rows"]:
        if not row["correct"]:
            where = f"{row['graph']}, {row['kind']}, {row['fanout']}, {row['batch_size']:,} seeds"
            system = f"{row['system']} {row['placement']}"
            console.print(f"wrong: {system}, {where}: {row['error']}", style="red")
    for failure in results["failures"]:
        console.print(f"failed: {failure['graph']}: {failure['reason']}", style="red")
