"""Local ids of vertices by sorting them, for graphs and trees too many for a bit each.

PyTorch's own operators, none of which waits for the GPU; they run on the CPU too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_direct.kernels.relabel.edges import HopEdges

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

    def meet(self, edges: Sequence[HopEdges]) -> Tensor:
        """Relabel the edges of the next hop; see `BitmapRelabelling.meet`."""
        self._hop += 1
        for some in edges:
            some.ends[1] += some.num_targets[: self._hop - 1].sum()
        if not edges:
            return self._known[:0]
        local, met = self._places_of(torch.cat([_in_use(some) for some in edges]))
        capacities = [some.ends.size(1) for some in edges]
        for some, places in zip(edges, local.split(capacities), strict=True):
            some.ends[0] = places
        return met

    def _places_of(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Local ids of sources, some of which may be `_NONE`, and those that are new."""
        start = self.num_met[: self._hop].sum()
        vertices, order = torch.sort(sources)
        is_known, place = self._look_up(vertices)
        new = _is_first(vertices) & ~is_known & (vertices != _NONE)
        rank = new.cumsum(0)
        self.num_met[self._hop] = rank[-1]
        local = torch.empty_like(sources)
        local.scatter_(0, order, torch.where(is_known, place, start + rank - 1))
        # What is not new goes to a place behind the last.
        met: Tensor = sources.new_full((sources.numel() + 1,), _NONE)
        met.scatter_(0, torch.where(new, rank - 1, sources.numel()), vertices)
        self._know(met[:-1], start + torch.arange(sources.numel(), device=sources.device))
        return local, met[:-1]

    def _look_up(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each vertex is known, and its local id if it is."""
        if self._known.numel() == 0:
            return torch.zeros_like(vertices, dtype=torch.bool), vertices
        at = torch.searchsorted(self._known, vertices).clamp_(max=self._known.numel() - 1)
        return self._known[at] == vertices, self._places[at]

    def _know(self, met: Tensor, places: Tensor) -> None:
        """Enter vertices, of which the last may be `_NONE`."""
        if self._hop < self.num_met.numel() - 1:
            self._known, order = torch.sort(torch.cat([self._known, met]))
            self._places = torch.cat([self._places, places])[order]


def _in_use(edges: HopEdges) -> Tensor:
    """The sources of edges; `_NONE` behind those that there are."""
    number = torch.arange(edges.ends.size(1), device=edges.ends.device)
    return edges.ends[0].where(number < edges.num_edges, _NONE)


def _is_first(ascending: Tensor) -> Tensor:
    """Whether each value differs from the one before."""
    first = torch.ones_like(ascending, dtype=torch.bool)
    first[1:] = ascending[1:] != ascending[:-1]
    return first
