"""The picture of a run: how fast edges are sampled, for each kind of batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_direct.bench.outcome import Row
from torch_direct.bench.picture import COLOUR_OF_A_BOUND, describe, draw_groups
from torch_direct.bench.sample.cases import UNIFORM
from torch_direct.bench.sample.systems import CPU, GPU, OURS, PYG, UNIFIED, WHOLEGRAPH
from torch_direct.picture import BLUE, GREEN, VERMILION, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    f"{PYG} {CPU}": GREEN,
    f"{WHOLEGRAPH} {UNIFIED}": BLUE,
    f"{OURS} {CPU}": VERMILION,
    f"{OURS} {UNIFIED}": VERMILION,
    f"{OURS} {GPU}": COLOUR_OF_A_BOUND,
}
"""Of each system, in the order of the bars."""

Panel = tuple[str, int]
"""A graph, and how many seed nodes a batch has."""
Speeds = dict[str, dict[str, float]]
"""Million edges a second by system and fanout."""


def speeds_of(rows: Sequence[Row]) -> dict[Panel, Speeds]:
    """Choose what is drawn: uniform sampling, by panel.

    Args:
        rows: As in the file.
    """
    panels: dict[Panel, Speeds] = {}
    for row in rows:
        if row["kind"] == UNIFORM and row["correct"]:
            speeds = panels.setdefault((row["graph"], row["batch_size"]), {})
            of_system = speeds.setdefault(f"{row['system']} {row['placement']}", {})
            of_system[row["fanout"]] = row["edges_per_s"] / 1e6
    return panels


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the picture of a run.

    Args:
        results: As in the file.
        path: Where to write a PNG; a file that is there already is replaced.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    panels = speeds_of(results["rows"])
    graphs = list(dict.fromkeys(graph for graph, _ in panels))
    sizes = list(dict.fromkeys(size for _, size in panels))
    shape = max(1, len(graphs)), max(1, len(sizes))
    figure = new_figure(width=max(8.0, 6.0 * shape[1]), height=1.2 + 3.6 * shape[0])
    axes_of = figure.subplots(*shape, squeeze=False)
    for (graph, size), speeds in panels.items():
        axes = axes_of[graphs.index(graph), sizes.index(size)]
        dress(axes, f"{graph}, {size:,} seed nodes", "fanout", "million edges a second")
        _draw_panel(axes, speeds)
    title = f"Neighbour sampling\n{describe(results['machine'])}"
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    bars = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(bars.values(), bars, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)


def _draw_panel(axes: Axes, speeds: Speeds) -> None:
    fanouts = list(dict.fromkeys(fanout for line in speeds.values() for fanout in line))
    heights = {
        system: [speeds[system].get(fanout, 0.0) for fanout in fanouts]
        for system in _COLOURS
        if system in speeds
    }
    draw_groups(axes, fanouts, heights, _COLOURS, "{:,.0f}".format)
