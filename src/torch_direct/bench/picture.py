"""What the pictures of several benchmarks have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL_HEIGHT = 0.045
"""Of the height of the axes."""


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
