"""How all pictures look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch_direct.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
GREY, ORANGE, SKY, GREEN = "#555555", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"


def new_figure(width: float, height: float = 5.6) -> Figure:
    """Return an empty figure.

    Args:
        width: Of the figure, in inches.
        height: Likewise.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib is not installed; it draws pictures: pip install 'torch-direct[train]'"
        ) from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def dress(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Give the axes their title, names, grid and colours."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(xlabel, color=GREY)
    axes.set_ylabel(ylabel, color=GREY)
    axes.tick_params(colors=GREY)
    axes.grid(color="#E5E5E5", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
