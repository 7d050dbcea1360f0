"""The picture of a run: how fast rows come, over their size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_direct.bench.gather.cases import GIB
from torch_direct.bench.gather.systems import (
    CPU_PAGEABLE,
    CPU_PINNED,
    INDEX_SELECT,
    LIMIT,
    OURS,
    WHOLEGRAPH,
)
from torch_direct.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
_COLOURS = {
    LIMIT: "#555555",
    OURS: "#D55E00",
    WHOLEGRAPH: "#0072B2",
    INDEX_SELECT: "#56B4E9",
    CPU_PINNED: "#009E73",
    CPU_PAGEABLE: "#CC79A7",
}
_GREY = "#555555"
_FOOTPRINT = 16 * GIB
_LABEL_HEIGHT = 0.045
"""Of the height of the axes."""
_LEAST_RATIO_OF_TICKS = 1.25

Row = dict[str, Any]
Line = list[tuple[int, float]]
"""Row bytes and GB/s, ascending."""


def lines_of(rows: Sequence[Row]) -> tuple[int, dict[str, Line]]:
    """Choose what is drawn.

    Args:
        rows: As in the file.

    Returns:
        The footprint, 16 GiB or the largest that was measured; and for every system a line of its
        float32 reads in random order, of each row size the one with the most rows.
    """
    usable = [
        row
        for row in rows
        if (row["order"], row["dtype"]) == ("uniform", "float32") and row["gbps"] is not None
    ]
    footprints = {row["footprint_bytes"] for row in usable}
    footprint = _FOOTPRINT if _FOOTPRINT in footprints else max(footprints, default=0)
    best: dict[str, dict[int, Row]] = {}
    for row in usable:
        if row["footprint_bytes"] == footprint and row["system"] in _COLOURS:
            line = best.setdefault(row["system"], {})
            before = line.get(row["row_bytes"])
            if before is None or row["rows"] > before["rows"]:
                line[row["row_bytes"]] = row
    return footprint, {
        system: [(size, best[system][size]["gbps"]) for size in sorted(best[system])]
        for system in _COLOURS
        if system in best
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the picture of a run.

    Args:
        results: As in the file.
        path: Where to write a PNG; a file that is there already is replaced.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib is not installed; it draws the picture: pip install 'torch-direct[train]'"
        ) from error
    footprint, lines = lines_of(results["rows"])
    figure = Figure(figsize=(10, 5.6), dpi=150, layout="constrained", facecolor="white")
    axes = figure.subplots()
    for system, line in lines.items():
        _draw_line(axes, system, line)
    _dress(
        axes, results["machine"], footprint, sorted({s for line in lines.values() for s, _ in line})
    )
    _label(axes, lines)
    figure.savefig(path)


def _draw_line(axes: Axes, system: str, line: Line) -> None:
    style: dict[str, Any] = {"lw": 1.8, "marker": "o", "ms": 4}
    if system == LIMIT:
        style = {"lw": 1.5, "ls": "--"}
    elif system == OURS:
        style = {"lw": 3.0, "marker": "o", "ms": 6, "zorder": 3}
    axes.plot([x for x, _ in line], [y for _, y in line], color=_COLOURS[system], **style)


def _dress(axes: Axes, machine: dict[str, Any], footprint: int, sizes: Sequence[int]) -> None:
    gpu = machine["gpu"] or "no GPU"
    link = f", PCIe {machine['pcie']}" if machine["pcie"] else ""
    axes.set_title(
        f"Random rows out of {footprint / GIB:.4g} GiB of host memory\n{gpu}{link}, "
        f"{machine['cores']} cores",
        loc="left",
        fontsize=12,
        fontweight="bold",
    )
    axes.set_xscale("log", base=2)
    ticks = _apart(sizes)
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks], fontsize=8)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("bytes of a row", color=_GREY)
    axes.set_ylabel("useful bytes over time (GB/s)", color=_GREY)
    axes.tick_params(colors=_GREY)
    axes.grid(color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")


def _apart(sizes: Sequence[int]) -> list[int]:
    """Leave out sizes whose names would run into the one before."""
    kept: list[int] = []
    for size in sizes:
        if not kept or size >= _LEAST_RATIO_OF_TICKS * kept[-1]:
            kept.append(size)
    return kept


def _label(axes: Axes, lines: dict[str, Line]) -> None:
    """Write the name of each line beside the right edge, as high as it ends where there is room."""
    top = axes.get_ylim()[1]
    height = -_LABEL_HEIGHT
    for system, line in sorted(lines.items(), key=lambda item: item[1][-1][1]):
        height = max(height + _LABEL_HEIGHT, line[-1][1] / top)
        axes.text(
            1.01,
            height,
            system,
            transform=axes.transAxes,
            color=_COLOURS[system],
            va="center",
            fontweight="bold" if system == OURS else "normal",
        )
