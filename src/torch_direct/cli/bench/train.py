"""`torch-direct bench train`: training end to end, beside the other ways to feed a GPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from torch_direct.bench.results import header, short, write_results
from torch_direct.cli.bench.shared import (
    command_text,
    goal_table,
    names_in,
    new_console,
    print_absent,
    results_path,
    save_results,
    say_nothing_measured,
)
from torch_direct.cli.folders import check_there, check_writable

if TYPE_CHECKING:
    from torch_direct.bench.train.run import TrainOutcome

_BATCHES, _SECONDS_EACH = 100, 20.0
"""Of a full run; one with less is partial."""

_COLUMNS = {
    "epoch_s": "epoch, s",
    "sample_s": "sample",
    "transfer_s": "transfer",
    "train_s": "train",
    "exposed_s": "exposed",
    "link_gb": "GB",
    "cpu_s": "CPU s",
    "gpu_j": "GPU J",
    "ms_per_batch": "ms/batch",
    "batches": "batches",
}


def train(
    graph: Annotated[
        str | None,
        typer.Option(
            help="mag240m-papers, reddit, ogbn-products, twitter7, sk-2005, ogbn-papers100M, "
            "wikipedia_link_en, tiny. Default: ogbn-products; tiny without a GPU."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the graph, as torch-direct convert or OGB wrote it. "
            "Default: a stand-in of its size is made."
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="New folder to write the graph to, for a later --data.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="sage, gat, sage-small; several with commas. Default: all.")
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(
            help="all-in-cpu-stock, all-in-cpu, unified-features, torch-direct, graph-in-gpu, "
            "all-in-gpu. Default: all."
        ),
    ] = None,
    batches: Annotated[
        int, typer.Option(min=1, help="Batches timed of each system, at least.")
    ] = _BATCHES,
    seeds: Annotated[
        int, typer.Option(min=1, help="Times to repeat all rounds, with new seeds.")
    ] = 1,
    seconds_each: Annotated[
        float,
        typer.Option(
            min=0,
            help="Systems that take longer with a model get fewer rounds, two or more.",
        ),
    ] = _SECONDS_EACH,
    quick: Annotated[bool, typer.Option("--quick", help="One model and two rounds.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON file that the results are merged into, with pictures beside it. Default: "
            "benchmarks/results/train-GPU.json, or train-GPU-partial.json for less than a full "
            "run, and for tiny."
        ),
    ] = None,
) -> None:
    """Measure training on one graph, beside the other ways to bring it to the GPU.

    Batches of each system are compared with the data before the system is timed, and a wrong one
    gets no figures. The exit status is 1 where a batch was wrong or the run did not finish; where
    nothing was measured, the file stays as it was.
    Without a GPU a tiny graph is trained on, for trying the command out.
    """
    import torch

    from torch_direct.bench.machine import describe_machine
    from torch_direct.bench.train.graphs import GRAPHS, TINY
    from torch_direct.bench.train.group import Phase
    from torch_direct.bench.train.models import WORKLOADS
    from torch_direct.bench.train.picture import draw
    from torch_direct.bench.train.run import TrainOutcome, options_for, read_results, run_graph
    from torch_direct.bench.train.systems import SYSTEMS

    name = graph or ("ogbn-products" if torch.cuda.is_available() else "tiny")
    if name not in GRAPHS:
        raise typer.BadParameter(f"--graph has {name!r}; expected one of {', '.join(GRAPHS)}")
    _check_folders(data, save)
    options = options_for(
        GRAPHS[name],
        systems=names_in(systems, tuple(SYSTEMS), "--systems"),
        models=names_in(models, tuple(WORKLOADS), "--models"),
        batches=batches,
        seeds=seeds,
        seconds_each=seconds_each,
        quick=quick,
    )
    given = {
        "--graph": name,
        "--data": data.name if data else None,
        "--save": save.name if save else None,
        "--models": models,
        "--systems": systems,
        "--batches": batches,
        "--seeds": seeds,
        "--seconds-each": seconds_each,
        "--quick": quick,
    }
    console, machine = new_console(), describe_machine()
    less = batches < _BATCHES or seconds_each < _SECONDS_EACH or name == TINY.name
    # Other models are measured into the same file.
    path = results_path(out, "train", machine, partial=bool(quick or systems or less))
    before = read_results(path) if path.exists() else {}
    found, begin = TrainOutcome(), time.monotonic()

    def results() -> dict[str, Any]:
        about = header(machine, command_text("train", given))
        seconds = round(time.monotonic() - begin)
        return found.merged_into(before, name, {**about, "seconds": seconds})

    for event in run_graph(found, GRAPHS[name], options, data, save):
        if isinstance(event, Phase):
            console.print(f"{event.name} ({event.seconds:.1f} s)")
        elif event.rows:
            write_results(results(), path)
            if event.complete:
                console.print(_figures(name, event.model, event.rows))
    for cut_short in found.models.values():
        if not cut_short.complete:
            console.print(_figures(name, cut_short.model, cut_short.rows))
    if found.models:
        _print_findings(console, found, results()["goals"])
        save_results(console, results(), path, draw)
    elif not found.failures:
        print_absent(console, found.absent)
        say_nothing_measured(console, path)
    for reason in found.failures:
        console.print(f"failed: {name}: {reason}", style="red")
    if found.wrong or found.failures:
        raise typer.Exit(1)


def _check_folders(data: Path | None, save: Path | None) -> None:
    """Refuse, before anything is made, a folder that is not there or one that has something."""
    check_there("--data", data)
    if save is not None and save.exists() and not (save.is_dir() and not any(save.iterdir())):
        raise typer.BadParameter(
            f"--save has {save}, which is there already; expected a new or an empty folder"
        )
    if save is not None:
        check_writable(save)


def _figures(graph: str, model: str, rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table with a line for each system."""
    stand_in = " (stand-in)" if any(row["stand_in"] for row in rows) else ""
    title = f"{model} on {graph}{stand_in}, an epoch"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("system", no_wrap=True)
    for heading in _COLUMNS.values():
        table.add_column(heading, justify="right")
    for row in rows:
        figures = ["" if row[field] is None else short(row[field]) for field in _COLUMNS]
        table.add_row(row["system"], *(figures if row["correct"] else ["[red]wrong[/red]"]))
    return table


def _print_findings(console: Console, found: TrainOutcome, goals: Sequence[dict[str, Any]]) -> None:
    console.print(goal_table(goals))
    print_absent(console, found.absent)
    for measured in found.models.values():
        if measured.accuracy is not None:
            console.print(f"{measured.model} predicts {measured.accuracy:.3f} of validation nodes")
        for name, ms in measured.step_ms.items():
            takes = "did not fit into memory" if ms is None else f"takes {short(ms)} ms"
            console.print(f"a step of {name} {takes}")
    for row in found.wrong:
        where = f"{row['system']}, {row['model']} on {row['graph']}"
        console.print(f"wrong: {where}: {row['error']}", style="red")
