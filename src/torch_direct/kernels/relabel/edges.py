"""The edges of a hop, as relabelling takes them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

NO_VERTEX = 2**63 - 1
"""Fills arrays up: it lies outside every universe, and sorts behind every vertex."""


class HopEdges(NamedTuple):
    """Edges of one hop and one relation, in arrays that are long enough."""

    ends: Tensor
    """`[2, capacity]`, int64: row 0 the source vertices, row 1 the places of the destinations among
    the vertices of their type that the hop before met. Relabelling makes both local ids."""
    num_edges: Tensor
    """`[1]`, how many there are."""
    num_targets: Tensor
    """How many vertices of the destinations' type each hop met first, int64 `[num hops + 1]`."""
