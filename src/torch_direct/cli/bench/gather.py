"""`torch-direct bench gather`: rows out of host memory."""

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
from torch_direct.cli.folders import check_there

GIB = 1 << 30


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
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of a case.")] = REPEATS,
    footprint_limit: Annotated[
        float | None,
        typer.Option(
            min=0, help="GiB of the largest table. Default: the free memory, less 20 GiB."
        ),
    ] = None,
    graphs: Annotated[
        Path | None,
        typer.Option(
            help="Folder with real graphs, for their traces: cnr2000/cnr-2000.graph-txt.gz and "
            "ego_twitter/ego-twitter-undirected.jlg."
        ),
    ] = None,
) -> None:
    """Measure how fast rows of host memory reach the GPU, beside the link and the other ways.

    Each system's answer is compared with PyTorch's before it is timed, and a wrong one gets no
    speed. The exit status is 1 where an answer was wrong or a group of cases did not finish.
    What is measured before an interruption is in a file of its own, whose name ends in -so-far.
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
    from torch_direct.bench.machine import describe_machine

    check_there("--graphs", graphs)
    chosen = names_in(systems, SYSTEMS, "--systems") or default_systems(quick=quick)
    sizes = names_in(row_bytes, [str(size) for size in ROW_BYTES], "--row-bytes")
    selection = select_cases(
        quick=quick,
        row_bytes=None if sizes is None else [int(size) for size in sizes],
        footprint_limit=None if footprint_limit is None else int(footprint_limit * GIB),
        graphs=graphs,
    )
    console = new_console()
    for reason, number in selection.left_out:
        console.print(f"left out: {number} cases, {reason}")
    if not selection.groups:
        raise typer.BadParameter("no case is left; allow larger tables or other row sizes")
    machine = describe_machine()
    partial = bool(quick or systems or row_bytes or repeats < REPEATS or selection.left_out)
    path = results_path(out, "gather", machine, partial=partial)
    options = {
        "--quick": quick,
        "--systems": systems,
        "--row-bytes": row_bytes,
        "--repeats": repeats,
        "--footprint-limit": footprint_limit,
        "--graphs": graphs.name if graphs else None,
    }
    found, begin = GatherOutcome(), time.monotonic()

    def results() -> dict[str, Any]:
        about = header(machine, command_text("gather", options))
        return {**about, **found.results(), "seconds": round(time.monotonic() - begin)}

    for group in selection.groups:
        with console.status(f"rows of {group.row_bytes:,} bytes: {len(group.cases)} cases"):
            outcome = run_group(group, chosen, repeats, graphs)
        found.merge(outcome)
        console.print(_speeds(group.row_bytes, outcome.rows, chosen))
        keep_so_far(results(), path)
    complete = results()
    _print_findings(console, complete)
    save_results(console, complete, path, draw)
    if found.wrong or found.failures:
        raise typer.Exit(1)


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
    console.print(goal_table(results["goals"]))
    for system, overlap in (results["overlap"] or {}).items():
        if isinstance(overlap, dict) and "step_slowdown" in overlap:
            console.print(
                f"a training step beside {system}: {overlap['step_ms_alone']:.2f} ms becomes "
                f"{overlap['step_ms_together']:.2f} ms, the gather's "
                f"{overlap['gather_ms_alone']:.2f} ms become {overlap['gather_ms_together']:.2f} ms"
            )
    print_absent(console, results["absent"])
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
