"""The pictures of a run: where the time of an epoch goes, and how much faster it gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_direct.bench.picture import describe, draw_groups
from torch_direct.bench.train.goals import (
    GRAPH_IN_GPU,
    MODEL,
    OURS,
    STOCK,
    STRONG,
    TWO_LINES,
    Systems,
    by_graph,
    name_of,
    ratio,
)
from torch_direct.picture import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    dress,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTS = {
    "sample_s": ("sampling alone", BLUE),
    "transfer_s": ("transfer alone", ORANGE),
    "train_s": ("training alone", GREEN),
}
_COLOURS = {STOCK: PURPLE, STRONG: GREEN, TWO_LINES: SKY, OURS: VERMILION, GRAPH_IN_GPU: BLUE}
_PANELS_IN_A_ROW = 2
_GRAPHS_IN_A_ROW = 4
_LEAST_WIDTH = 9.0
"""Inches: titles and legends are not cut, and a page shows it large enough to read."""
_ROOM_FOR_A_NUMBER = 1.25
"""Of the longest bar."""
_DWARFED = 2
"""A bar of the stock loader so many times as long as the others is cut off at the edge."""


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the two pictures of GraphSAGE.

    The machine stands above, or with each graph where it is not the same for all.

    Args:
        results: As in the file.
        path: Where to write a PNG of where the time goes; that of the speed-ups is written to
            `speed_up_path` of it. Files that are there already are replaced.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    graphs = by_graph(results["rows"], MODEL)
    names = {graph: name_of(graph, systems) for graph, systems in graphs.items()}
    machines = {graph: results["runs"][graph]["machine"] for graph in graphs}
    machine, *others = sorted({describe(machine) for machine in machines.values()}) or [""]
    if others:
        machine = ""
        names = {graph: f"{name}\n{_in_short(machines[graph])}" for graph, name in names.items()}
    _draw_parts(graphs, names, machine).savefig(path)
    _draw_speed_ups(graphs, names, machine).savefig(speed_up_path(path))


def _in_short(machine: dict[str, Any]) -> str:
    return f"{machine['gpu'] or 'no GPU'}, {machine['cores']} cores"


def speed_up_path(path: Path) -> Path:
    """Return where the picture of the speed-ups is, given that of the time."""
    return path.with_name(f"{path.stem}-speed-up{path.suffix}")


def systems_of(graphs: dict[str, Systems]) -> list[str]:
    """Return the systems that were measured on any of the graphs: those of the CPU first."""
    found = dict.fromkeys(system for systems in graphs.values() for system in systems)
    return [
        *(name for name in _COLOURS if name in found),
        *(name for name in found if name not in _COLOURS),
    ]


def _draw_parts(graphs: dict[str, Systems], names: dict[str, str], machine: str) -> Figure:
    columns = max(1, min(_PANELS_IN_A_ROW, len(graphs)))
    rows = max(1, math.ceil(len(graphs) / columns))
    systems = systems_of(graphs)
    height = 1.6 + rows * (1.0 + 0.45 * len(systems))
    figure = new_figure(width=max(_LEAST_WIDTH, 2.5 + 3.2 * columns), height=height)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for axes, (graph, measured) in zip(panels, graphs.items(), strict=False):
        dress(axes, "", "seconds an epoch", "")
        axes.set_title(names[graph], loc="left", fontsize=10, fontweight="bold")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        _draw_bars(axes, measured, systems)
    for axes in panels[len(graphs) :]:
        axes.set_axis_off()
    cut = any(_longest(measured) > _width(measured) for measured in graphs.values())
    hint = " (▸ longer than shown)" if cut else ""
    title = f"An epoch of GraphSAGE: its parts alone, and as measured{hint}"
    figure.suptitle(
        f"{title}\n{machine}".rstrip(),
        fontsize=13,
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_bars(axes: Axes, measured: Systems, systems: Sequence[str]) -> None:
    """Draw two bars for each system, the parts above and the epoch below."""
    places = [place for place, system in enumerate(systems) if system in measured]
    rows = [measured[systems[place]] for place in places]
    ends = [0.0] * len(rows)
    for field, (label, colour) in _PARTS.items():
        seconds = [row[field] or 0.0 for row in rows]
        above = [place - 0.17 for place in places]
        axes.barh(above, seconds, left=ends, height=0.38, color=colour, label=label)
        ends = [end + part for end, part in zip(ends, seconds, strict=True)]
    epochs = [row["epoch_s"] or 0.0 for row in rows]
    below = [place + 0.17 for place in places]
    axes.barh(below, epochs, height=0.22, color=GREY, label="epoch as measured")
    width = _width(measured)
    axes.set_xlim(0, width)
    number = partial(axes.annotate, textcoords="offset points", va="center", fontsize=8)
    for place, epoch in zip(below, epochs, strict=True):
        if epoch > width:
            number(f"{_short(epoch)} ▸", (width, place), (-3, 0), ha="right", color="white")
        else:
            number(_short(epoch), (epoch, place), (3, 0), color=GREY)
    for place in set(range(len(systems))) - set(places):
        number("n/a", (0, place), (3, 0), color=GREY)
    axes.set_yticks(range(len(systems)), systems)
    axes.set_ylim(len(systems) - 0.5, -0.5)


def _width(measured: Systems) -> float:
    """Return the seconds that a panel shows: of all bars but one that would dwarf the others."""
    whole = _longest(measured)
    without_stock = {system: row for system, row in measured.items() if system != STOCK}
    others = _longest(without_stock or measured)
    return _ROOM_FOR_A_NUMBER * (others if whole > _DWARFED * others else whole) or 1.0


def _longest(measured: Systems) -> float:
    """Return the seconds of the longest bar."""
    bars = (
        max(row["epoch_s"] or 0.0, sum(row[part] or 0.0 for part in _PARTS))
        for row in measured.values()
    )
    return max(bars, default=0.0)


def _draw_speed_ups(graphs: dict[str, Systems], names: dict[str, str], machine: str) -> Figure:
    compared = {graph: systems for graph, systems in graphs.items() if STRONG in systems}
    systems = [system for system in systems_of(compared) if system != STRONG]
    each, width = list(compared), _GRAPHS_IN_A_ROW
    lines = [each[begin : begin + width] for begin in range(0, max(1, len(each)), width)]
    figure = new_figure(width=_LEAST_WIDTH, height=1.4 + 3.2 * len(lines))
    panels = figure.subplots(len(lines), 1, sharey=True, squeeze=False).flatten()
    for axes, line in zip(panels, lines, strict=True):
        axes.axhline(1.0, color=GREY, lw=1.2, ls="--", label=f"{STRONG} = 1")
        dress(axes, "", "", "times as fast")
        speed_ups = {
            system: [ratio("epoch_s", STRONG, system)(compared[graph]) or 0.0 for graph in line]
            for system in systems
        }
        below = [names[graph].replace(" (", "\n(").replace(", ", "\n") for graph in line]
        draw_groups(axes, below, speed_ups, _COLOURS, _times)
        axes.set_xlim(-0.5, max(1, len(lines[0])) - 0.5)
    title = f"Epochs of GraphSAGE: times as fast as {STRONG}\n{machine}"
    panels[0].set_title(title.rstrip(), loc="left", fontweight="bold")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _times(figure: float) -> str:
    return f"{figure:.2f}" if figure < 10 else f"{figure:.0f}"


def _short(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"
