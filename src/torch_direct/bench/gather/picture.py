"""The picture of a run: how fast rows come, over their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from torch_direct.bench.outcome import Row
from torch_direct.bench.picture import describe
from torch_direct.picture import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    SKY,
    VERMILION,
    dress,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    LIMIT: GREY,
    OURS: VERMILION,
    WHOLEGRAPH: BLUE,
    INDEX_SELECT: SKY,
    CPU_PINNED: GREEN,
    CPU_PAGEABLE: PURPLE,
}
_FOOTPRINT = 16 * GIB
_LEAST_RATIO_OF_TICKS = 1.3
_LABEL_HEIGHT = 0.045
"""Of the height of the axes."""

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
    figure = new_figure(width=10)
    footprint, lines = lines_of(results["rows"])
    axes = figure.subplots()
    for system, line in lines.items():
        _draw_line(axes, system, line)
    dress(
        axes,
        f"Random rows out of {footprint / GIB:.4g} GiB of host memory\n"
        f"{describe(results['machine'])}",
        "bytes of a row",
        "useful bytes over time (GB/s)",
    )
    _scale(axes, sorted({size for line in lines.values() for size, _ in line}))
    _name_lines(axes, {system: line[-1] for system, line in lines.items()})
    figure.savefig(path)


def _draw_line(axes: Axes, system: str, line: Line) -> None:
    style: dict[str, Any] = {"lw": 1.8, "marker": "o", "ms": 4}
    if system == LIMIT:
        style = {"lw": 1.5, "ls": "--"}
    elif system == OURS:
        style = {"lw": 3.0, "marker": "o", "ms": 6, "zorder": 3}
    axes.plot([x for x, _ in line], [y for _, y in line], color=_COLOURS[system], **style)


def _scale(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    ticks = _apart(sizes)
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks], fontsize=8)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)


def _apart(sizes: Sequence[int]) -> list[int]:
    """Leave out sizes whose names would run into the one before."""
    kept: list[int] = []
    for size in sizes:
        if not kept or size >= _LEAST_RATIO_OF_TICKS * kept[-1]:
            kept.append(size)
    return kept


def _name_lines(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write the name of each line beside the right edge, as high as it ends where there is room."""
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    ends_at = {name: float(to_axes.transform(end)[1]) for name, end in ends.items()}
    height = -_LABEL_HEIGHT
    for name in sorted(ends_at, key=lambda name: ends_at[name]):
        height = max(height + _LABEL_HEIGHT, ends_at[name])
        axes.text(
            1.01,
            height,
            name,
            transform=axes.transAxes,
            color=_COLOURS[name],
            va="center",
            fontweight="bold" if name == OURS else "normal",
        )
