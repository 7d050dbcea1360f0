"""What the commands of `torch-direct bench` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from torch_direct.bench.results import write_results
from torch_direct.cli.folders import check_writable
from torch_direct.errors import MissingExtraError

RESULTS = Path("benchmarks", "results")
"""Where results go by default."""

REPEATS = 5
"""Rounds of a case by default; a run with fewer is partial."""

_WIDTH_OF_A_LOG = 120


def new_console() -> Console:
    """Return where to print; a log is wide enough for the tables."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_LOG
    return console


def names_in(given: str | None, known: Sequence[str], option: str) -> tuple[str, ...] | None:
    """Return the names that an option gives with commas, None where it is not given.

    Raises:
        typer.BadParameter: A name is not among those known.
    """
    if given is None:
        return None
    names = tuple(name.strip() for name in given.split(","))
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{option} has {name!r}; expected some of {', '.join(known)}")
    return names


def command_text(name: str, options: dict[str, Any]) -> str:
    """Return the command that measures the same, without the folders of this machine.

    Where its results go belongs to the machine, too.
    """
    words = [f"torch-direct bench {name}"]
    for option, value in options.items():
        if value is True:
            words.append(option)
        elif value not in (None, False):
            words.append(f"{option} '{value}'" if " " in str(value) else f"{option} {value}")
    return " ".join(words)


def results_path(
    out: Path | None, benchmark: str, machine: dict[str, Any], *, partial: bool
) -> Path:
    """Return which file to write, having checked that it can be.

    Args:
        out: The file that was asked for.
        benchmark: Of which it is.
        machine: As `describe_machine` gives it.
        partial: Whether the run leaves out a part of the benchmark.

    Raises:
        typer.BadParameter: It cannot be written.
    """
    from torch_direct.bench.machine import short_name

    name = f"{benchmark}-{short_name(machine)}{'-partial' if partial else ''}.json"
    path = out if out is not None else RESULTS / name
    if path.is_dir():
        raise typer.BadParameter(f"--out has {path}, a folder; expected a file in it")
    if path.suffix != ".json":
        raise typer.BadParameter(
            f"--out has {path}; expected a name that ends in .json, as its picture's does in .png"
        )
    check_writable(path.parent)
    return path


def print_absent(console: Console, absent: Mapping[str, str]) -> None:
    """Print which systems could not be measured, and why."""
    for system, reason in absent.items():
        console.print(f"absent: {system} {reason}")


def keep_so_far(results: dict[str, Any], path: Path) -> None:
    """Write what a run has found before its end, beside where it will write all."""
    write_results(results, _so_far(path))


def _so_far(path: Path) -> Path:
    return path.with_name(f"{path.stem}-so-far.json")


def save_results(
    console: Console,
    results: dict[str, Any],
    path: Path,
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Write results, and draw their picture beside them; without it the run has not failed.

    Where nothing was measured, and nothing failed, nothing is written.
    """
    _so_far(path).unlink(missing_ok=True)
    if not (results["rows"] or results.get("failures")):
        say_nothing_measured(console, path)
        return
    write_results(results, path)
    console.print(f"results: {path}")
    picture = path.with_suffix(".png")
    try:
        draw(results, picture)
        console.print(f"picture: {picture}")
    except (MissingExtraError, OSError) as error:
        console.print(f"no picture: {error}")


def say_nothing_measured(console: Console, path: Path) -> None:
    """Say that the file was not written."""
    console.print(f"nothing was measured; not written: {path}")


def goal_table(goals: Sequence[dict[str, Any]]) -> Table:
    """Return a table of the goals as the file has them."""
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
        table.add_row(escape(goal["name"]), *figures, goal["worst_case"] or "")
    return table
