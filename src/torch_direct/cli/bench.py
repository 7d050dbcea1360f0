"""`torch-direct bench`: measure, and say what was measured where."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from torch_direct.errors import MissingExtraError

GIB = 1 << 30
RESULTS = Path("benchmarks", "results")

_WIDTH_OF_A_LOG = 120

bench = typer.Typer(help="Measure speed, after checking every answer.", no_args_is_help=True)


@bench.callback()
def main() -> None:
    """Measure speed, after checking every answer."""


@bench.command()
def gather(
    quick: Annotated[bool, typer.Option("--quick", help="A minute's worth of cases.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON file to write, with a picture beside it. "
            "Default: benchmarks/results/gather-GPU.json, or gather-GPU-partial.json for less "
            "than a full run."
        ),
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(
            help="limit, torch-direct, 'torch-direct sorted', index_select, cpu-pinned, "
            "cpu-pageable, wholegraph; several with commas. Default: all; --quick leaves out "
            "wholegraph."
        ),
    ] = None,
    row_bytes: Annotated[
        str | None, typer.Option(help="Row sizes, such as 128,512. Default: all.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of a case.")] = 5,
    footprint_limit: Annotated[
        float | None,
        typer.Option(
            min=0, help="GiB of the largest table. Default: the free memory, less 20 GiB."
        ),
    ] = None,
    graphs: Annotated[
        Path | None,
        typer.Option(help="Folder with the real graphs cnr2000 and ego_twitter, for their traces."),
    ] = None,
) -> None:
    """Measure how fast rows of host memory reach the GPU, beside the link and the other ways.

    Each system's answer is compared with PyTorch's before it is timed, and a wrong one gets no
    speed. The exit status is 1 where an answer was wrong or a group of cases did not finish.
    """
    from torch_direct.bench.gather.cases import ROW_BYTES
    from torch_direct.bench.gather.picture import draw
    from torch_direct.bench.gather.run import (
        GatherOutcome,
        default_systems,
        run_group,
        select_cases,
    )
    from torch_direct.bench.gather.systems import SYSTEMS
    from torch_direct.bench.machine import describe_machine, short_name
    from torch_direct.bench.results import header

    chosen = _names(systems, SYSTEMS, "--systems") or default_systems(quick=quick)
    sizes = _names(row_bytes, [str(size) for size in ROW_BYTES], "--row-bytes")
    selection = select_cases(
        quick=quick,
        row_bytes=None if sizes is None else [int(size) for size in sizes],
        footprint_limit=None if footprint_limit is None else int(footprint_limit * GIB),
        graphs=graphs,
    )
    console = _console()
    for reason, number in selection.left_out:
        console.print(f"left out: {number} cases, {reason}")
    if not selection.groups:
        raise typer.BadParameter("no case is left; allow larger tables or other row sizes")
    machine = describe_machine()
    found, begin = GatherOutcome(), time.monotonic()
    for group in selection.groups:
        with console.status(f"rows of {group.row_bytes:,} bytes: {len(group.cases)} cases"):
            outcome = run_group(group, chosen, repeats, graphs)
        found.merge(outcome)
        console.print(_speeds(group.row_bytes, outcome.rows, chosen))
    options = {
        "--quick": quick,
        "--systems": systems,
        "--row-bytes": row_bytes,
        "--repeats": repeats,
        "--footprint-limit": footprint_limit,
        "--graphs": graphs.name if graphs else None,
    }
    seconds = round(time.monotonic() - begin)
    results = {
        **header(machine, _command("gather", options)),
        **found.results(),
        "seconds": seconds,
    }
    _print_findings(console, results)
    partial = quick or systems or row_bytes or selection.left_out
    name = f"gather-{short_name(machine)}{'-partial' if partial else ''}.json"
    _save(console, results, out if out is not None else RESULTS / name, draw)
    if found.wrong or found.failures:
        raise typer.Exit(1)


@bench.command()
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
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of a case, of 32 batches each.")] = 5,
) -> None:
    """Measure how fast neighbourhoods are sampled, beside the other ways.

    A batch of each system is checked against the graph before the system is timed, and one that is
    wrong gets no speed. The exit status is 1 where a batch was wrong or a graph did not finish.
    Without a GPU a tiny graph is sampled, for trying the command out.
    """
    import torch

    from torch_direct.bench.machine import describe_machine, short_name
    from torch_direct.bench.results import header
    from torch_direct.bench.sample.cases import KINDS, graph_sizes, select_groups
    from torch_direct.bench.sample.picture import draw
    from torch_direct.bench.sample.run import SampleOutcome, run_group
    from torch_direct.bench.sample.systems import SYSTEMS

    sizes = {size.name: size for size in graph_sizes(gpu=torch.cuda.is_available())}
    chosen = _names(systems, SYSTEMS, "--systems") or SYSTEMS
    chosen_kinds = _names(kinds, KINDS, "--kinds") or KINDS
    chosen_graphs = _names(graphs, tuple(sizes), "--graphs") or tuple(sizes)
    console, machine = _console(), describe_machine()
    found, begin = SampleOutcome(), time.monotonic()
    for group in select_groups([sizes[name] for name in chosen_graphs], quick=quick):
        with console.status(f"{group.graph.name}: {len(group.cases)} kinds of batches"):
            outcome = run_group(group, chosen, chosen_kinds, repeats)
        found.merge(outcome)
        console.print(_batch_times(group.graph.name, outcome.rows))
    options = {
        "--quick": quick,
        "--systems": systems,
        "--graphs": graphs,
        "--kinds": kinds,
        "--repeats": repeats,
    }
    seconds = round(time.monotonic() - begin)
    about = header(machine, _command("sample", options))
    results = {**about, **found.results(), "seconds": seconds}
    _print_sample_findings(console, results)
    partial = quick or systems or graphs or kinds
    name = f"sample-{short_name(machine)}{'-partial' if partial else ''}.json"
    path = out if out is not None else RESULTS / name
    _save(console, results, path, draw)
    if found.wrong or found.failures:
        raise typer.Exit(1)


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_LOG
    return console


def _names(given: str | None, known: Sequence[str], option: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(name.strip() for name in given.split(","))
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{option} has {name!r}; expected some of {', '.join(known)}")
    return names


def _command(name: str, options: dict[str, Any]) -> str:
    """Return the command that measures the same, without the folders of this machine."""
    words = [f"torch-direct bench {name}"]
    for option, value in options.items():
        if value is True:
            words.append(option)
        elif value not in (None, False):
            words.append(f"{option} '{value}'" if " " in str(value) else f"{option} {value}")
    return " ".join(words)


def _speeds(row_bytes: int, rows: Sequence[dict[str, Any]], systems: Sequence[str]) -> Table:
    """Return a table with a line for each case and a column for each system."""
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        kind = row["order"] if row["dtype"] == "float32" else f"{row['order']}, {row['dtype']}"
        case = (f"{row['footprint_bytes'] / GIB:.3g} GiB", f"{row['rows']:,}", kind)
        lines.setdefault(case, {})[row["system"]] = _speed(row)
    measured = [name for name in systems if any(name in speeds for speeds in lines.values())]
    table = Table(title=f"rows of {row_bytes:,} bytes, GB/s", title_justify="left", box=SIMPLE_HEAD)
    for name in ("out of", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("order", no_wrap=True)
    for name in measured:
        table.add_column(name, justify="right")
    for case, speeds in lines.items():
        table.add_row(*case, *(speeds.get(name, "") for name in measured))
    return table


def _speed(row: dict[str, Any]) -> str:
    return f"{row['gbps']:.3g}" if row["correct"] else "[red]wrong[/red]"


def _print_findings(console: Console, results: dict[str, Any]) -> None:
    console.print(_goals(results["goals"]))
    for system, overlap in (results["overlap"] or {}).items():
        if isinstance(overlap, dict) and "step_slowdown" in overlap:
            console.print(
                f"a training step beside {system}: {overlap['step_ms_alone']:.2f} ms becomes "
                f"{overlap['step_ms_together']:.2f} ms, the gather's "
                f"{overlap['gather_ms_alone']:.2f} ms become {overlap['gather_ms_together']:.2f} ms"
            )
    _print_absent(console, results)
    for entry in results["created"]:
        gib = entry["footprint_bytes"] / GIB
        console.print(f"{entry['system']} took {entry['seconds']} s to allocate {gib:.3g} GiB")
    for row in results["rows"]:
        if not row["correct"]:
            where = f"{row['row_bytes']} B x {row['rows']:,}, {row['order']}, {row['dtype']}"
            console.print(f"wrong: {row['system']}, {where}: {row['error']}", style="red")
    for failure in results["failures"]:
        console.print(
            f"failed: rows of {failure['row_bytes']:,} bytes: {failure['reason']}", style="red"
        )


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


def _print_sample_findings(console: Console, results: dict[str, Any]) -> None:
    console.print(_goals(results["goals"]))
    _print_absent(console, results)
    for row in results["rows"]:
        if not row["correct"]:
            where = f"{row['graph']}, {row['kind']}, {row['fanout']}, {row['batch_size']:,} seeds"
            system = f"{row['system']} {row['placement']}"
            console.print(f"wrong: {system}, {where}: {row['error']}", style="red")
    for failure in results["failures"]:
        console.print(f"failed: {failure['graph']}: {failure['reason']}", style="red")


def _print_absent(console: Console, results: dict[str, Any]) -> None:
    for system, reason in results["absent"].items():
        console.print(f"absent: {system} {reason}")


def _save(
    console: Console,
    results: dict[str, Any],
    path: Path,
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    from torch_direct.bench.results import write_results

    write_results(results, path)
    console.print(f"results: {path}")
    picture = path.with_suffix(".png")
    try:
        draw(results, picture)
        console.print(f"picture: {picture}")
    except MissingExtraError as error:
        console.print(f"no picture: {error}")


def _goals(goals: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="goals", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("goal")
    for name in ("asked", "reached", "cases"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("worst case")
    marks = {True: "[green]met[/green]", False: "[red]missed[/red]", None: "not measured"}
    for goal in goals:
        reached = "" if goal["reached"] is None else f"{goal['reached']:.3f}"
        figures = (f"{goal['target']:.2f}", reached, str(goal["cases"]), marks[goal["met"]])
        table.add_row(goal["name"], *figures, goal["worst_case"] or "")
    return table
