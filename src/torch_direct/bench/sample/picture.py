"""The picture of a run: how fast edges are sampled, for each kind of batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_direct.bench.outcome import Row
from torch_direct.bench.picture import describe, name_lines
from torch_direct.bench.sample.cases import UNIFORM
from torch_direct.bench.sample.systems import CPU, GPU, OURS, PYG, UNIFIED, WHOLEGRAPH
from torch_direct.picture import BLUE, GREEN, ORANGE, VERMILION, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    f"{OURS} {UNIFIED}": VERMILION,
    f"{OURS} {GPU}": ORANGE,
    f"{OURS} {CPU}": VERMILION,
    f"{WHOLEGRAPH} {UNIFIED}": BLUE,
    f"{PYG} {CPU}": GREEN,
}
_OURS = f"{OURS} {UNIFIED}"

Lines = dict[str, dict[str, float]]
"""Million edges a second by batch, of each system."""


def lines_of(rows: Sequence[Row]) -> dict[str, Lines]:
    """Choose what is drawn: uniform sampling, by graph.

    Args:
        rows: As in the file.
    """
    graphs: dict[str, Lines] = {}
    for row in rows:
        if row["kind"] == UNIFORM and row["correct"]:
            line = graphs.setdefault(row["graph"], {}).setdefault(
                f"{row['system']} {row['placement']}", {}
            )
            line[f"{row['fanout']}\n{row['batch_size']:,}"] = row["edges_per_s"] / 1e6
    return graphs


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the picture of a run.

    Args:
        results: As in the file.
        path: Where to write a PNG; a file that is there already is replaced.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    graphs = lines_of(results["rows"])
    figure = new_figure(width=8 * max(1, len(graphs)))
    for axes, (graph, lines) in zip(
        figure.subplots(1, max(1, len(graphs)), squeeze=False)[0], graphs.items(), strict=False
    ):
        _draw_graph(axes, lines)
        title = f"Neighbour sampling, {graph}\n{describe(results['machine'])}"
        dress(axes, title, "fanout and seed nodes of a batch", "million edges a second")
        ends = {name: (len(line) - 1.0, list(line.values())[-1]) for name, line in lines.items()}
        name_lines(axes, ends, _COLOURS, _OURS)
    figure.savefig(path)


def _draw_graph(axes: Axes, lines: Lines) -> None:
    for name, line in lines.items():
        style: dict[str, Any] = {"lw": 3.0, "ms": 6} if name == _OURS else {"lw": 1.8, "ms": 4}
        axes.plot(list(line), list(line.values()), color=_COLOURS[name], marker="o", **style)
    axes.set_ylim(bottom=0)
