"""How the pictures of all benchmarks look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch_direct.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
BLACK, ORANGE, SKY, GREEN = "#555555", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

_GREY = "#555555"
_LABEL_HEIGHT = 0.045
"""Of the height of the axes."""


def new_figure(width: float) -> Figure:
    """Return an empty figure.

    Args:
        width: Of the figure, in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib is not installed; it draws the picture: pip install 'torch-direct[train]'"
        ) from error
    return Figure(figsize=(width, 5.6), dpi=150, layout="constrained", facecolor="white")


def dress(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Give the axes their title, names, grid and colours."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(xlabel, color=_GREY)
    axes.set_ylabel(ylabel, color=_GREY)
    axes.tick_params(colors=_GREY)
    axes.grid(color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")


def name_lines(
    axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str], bold: str
) -> None:
    """Write the name of each line beside the right edge, as high as it ends where there is room.

    Args:
        axes: With all that is drawn on them, and their scales.
        ends: Last point of each line.
        colours: Of each line.
        bold: Which name stands out.
    """
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
            color=colours[name],
            va="center",
            fontweight="bold" if name == bold else "normal",
        )


def describe(machine: dict[str, Any]) -> str:
    """Return the GPU, its link and the cores in a line."""
    gpu = machine["gpu"] or "no GPU"
    link = f", PCIe {machine['pcie']}" if machine["pcie"] else ""
    return f"{gpu}{link}, {machine['cores']} cores"
