"""Local ids of vertices by sorting them, for graphs and trees too many for a bit each.

PyTorch's own operators, none of which waits for the GPU; they run on the CPU too.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NONE = 2**63 - 1
"""Sorts behind every vertex: fills arrays up."""


class SortRelabelling:
    """As `BitmapRelabelling`, at a cost that does not depend on the universe."""

    def __init__(self, seeds: Tensor, universe: int, num_hops: int) -> None:
        """Begin with the seeds; see `BitmapRelabelling`."""
        self._known, self._places = torch.sort(seeds)
        inside = (self._known >= 0) & (self._known < universe)
        self.num_met = torch.zeros(num_hops + 1, dtype=torch.int64, device=seeds.device)
        self.num_met[0] = (inside & _is_first(self._known)).sum()
        self._hop = 0

    def meet(self, edges: Tensor, num_edges: Tensor) -> Tensor:
        """Relabel the edges of the next hop; see `BitmapRelabelling.meet`."""
        self._hop += 1
        sources, row = edges
        row += self.num_met[: self._hop - 1].sum()
        start = self.num_met[: self._hop].sum()
        number = torch.arange(sources.numel(), device=edges.device)
        vertices, order = torch.sort(sources.where(number < num_edges, _NONE))
        at = torch.searchsorted(self._known, vertices).clamp_(max=self._known.numel() - 1)
        is_known = self._known[at] == vertices
        new = _is_first(vertices) & ~is_known & (vertices != _NONE)
        rank = new.cumsum(0)
        self.num_met[self._hop] = rank[-1]
        sources.scatter_(0, order, torch.where(is_known, self._places[at], start + rank - 1))
        # What is not new goes to a place behind the last.
        met: Tensor = sources.new_full((sources.numel() + 1,), _NONE)
        met.scatter_(0, torch.where(new, rank - 1, sources.numel()), vertices)
        self._know(met[:-1], start + number)
        return met[:-1]

    def _know(self, met: Tensor, places: Tensor) -> None:
        """Enter vertices, of which the last may be `_NONE`."""
        if self._hop < self.num_met.numel() - 1:
            self._known, order = torch.sort(torch.cat([self._known, met]))
            self._places = torch.cat([self._places, places])[order]


def _is_first(ascending: Tensor) -> Tensor:
    """Whether each value differs from the one before."""
    first = torch.ones_like(ascending, dtype=torch.bool)
    first[1:] = ascending[1:] != ascending[:-1]
    return first
