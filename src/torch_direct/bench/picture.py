"""What the pictures of several benchmarks have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch_direct.picture import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR_OF_A_BOUND = "#BBBBBB"
"""Of what has everything in GPU memory."""


def draw_groups(
    axes: Axes,
    groups: Sequence[str],
    heights: Mapping[str, Sequence[float]],
    colours: Mapping[str, str],
    text: Callable[[float], str],
) -> None:
    """Draw groups of bars, each with its height above it, or "n/a".

    Args:
        axes: To draw on.
        groups: What stands below each group.
        heights: Of the bars of a name, one for each group; 0 where there is none.
        colours: By name; others are bounds.
        text: Makes the words above a bar of its height.
    """
    width = 0.8 / max(1, len(heights))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for number, (name, of_groups) in enumerate(heights.items()):
        left = (number - (len(heights) - 1) / 2) * width
        places = [place + left for place in range(len(groups))]
        colour = colours.get(name, COLOUR_OF_A_BOUND)
        bars = axes.bar(places, of_groups, width=0.9 * width, color=colour, label=name)
        texts = [text(height) if height else "n/a" for height in of_groups]
        axes.bar_label(bars, texts, padding=2, fontsize=8, color=GREY, bbox=box)
    axes.set_xticks(range(len(groups)), groups, fontsize=9)
    axes.grid(visible=False, axis="x")


def describe(machine: dict[str, Any]) -> str:
    """Return the GPU, its link and the cores in a line."""
    gpu = machine["gpu"] or "no GPU"
    link = f", PCIe {machine['pcie']}" if machine["pcie"] else ""
    return f"{gpu}{link}, {machine['cores']} cores"
