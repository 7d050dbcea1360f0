"""Local ids of vertices by sorting them, for graphs and trees too many for a bit each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from torch_direct.kernels.counts import Counts
from torch_direct.kernels.launch import blocks, launch
from torch_direct.kernels.queue import Queue
from torch_direct.kernels.relabel.edges import NO_VERTEX, HopEdges

_BLOCK = 256
_NO_VERTEX = tl.constexpr(NO_VERTEX)


@triton.jit(do_not_specialize=["size"])
def look_up_kernel(
    vertices,
    met,
    seed_places,
    num_met,
    local,
    is_new,
    size: tl.int64,
    HOP: tl.constexpr,
    LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Local ids of those of sorted vertices that HOP met, which lie ascending; -1 for others.

    Later hops leave the ids as they are; the last of them says which vertices are left, one of
    each.
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    vertex = tl.load(vertices + place, mask=inside, other=_NO_VERTEX)
    known = tl.full((BLOCK,), -1, tl.int64)
    first = tl.zeros((), tl.int64)
    if HOP > 0:
        known = tl.load(local + place, mask=inside, other=-1)
        for earlier in tl.static_range(HOP):
            first += tl.load(num_met + earlier)
    wanted = (vertex != _NO_VERTEX) & (known < 0)
    num_here = tl.load(num_met + HOP)
    low = tl.zeros_like(vertex)
    high = tl.where(wanted, num_here, 0)
    while tl.max(high - low) > 0:
        unknown = low < high
        middle = (low + high) >> 1
        less = tl.load(met + middle, mask=unknown, other=0) < vertex
        low = tl.where(unknown & less, middle + 1, low)
        high = tl.where(less, high, middle)
    here = wanted & (low < num_here)
    here = here & (tl.load(met + low, mask=here, other=-1) == vertex)
    found = tl.load(seed_places + low, mask=here, other=0) if HOP == 0 else first + low
    known = tl.where(here, found, known)
    tl.store(local + place, known, mask=inside)
    if LAST:
        before = tl.load(vertices + place - 1, mask=inside & (place > 0), other=-1)
        new = (vertex != _NO_VERTEX) & (known < 0) & (vertex != before)
        tl.store(is_new + place, new.to(tl.int32), mask=inside)


@triton.jit(do_not_specialize=["size"])
def enter_kernel(
    vertices,
    order,
    local,
    is_new,
    rank,
    num_met,
    sources,
    met,
    size: tl.int64,
    HOP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """List the new vertices, and write the local ids of all where the vertices came from."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    vertex = tl.load(vertices + place, mask=place < size, other=_NO_VERTEX)
    used = vertex != _NO_VERTEX
    first = tl.zeros((), tl.int64)
    for earlier in tl.static_range(HOP):
        first += tl.load(num_met + earlier)
    among_new = tl.load(rank + place, mask=used, other=1).to(tl.int64) - 1
    known = tl.load(local + place, mask=used, other=0)
    known = tl.where(known < 0, first + among_new, known)
    tl.store(sources + tl.load(order + place, mask=used, other=0), known, mask=used)
    new = tl.load(is_new + place, mask=used, other=0) != 0
    tl.store(met + among_new, vertex, mask=new)


class SortRelabelling:
    """As `BitmapRelabelling`, at a cost that does not depend on the universe."""

    coming = None
    """Vertices need no marking."""

    def __init__(
        self, seeds: Tensor, universe: int, num_hops: int, counts: Counts, queue: Queue
    ) -> None:
        """Begin with the seeds; see `BitmapRelabelling`."""
        queue.repeatable = False
        self.num_met = counts.take(num_hops + 1)
        ascending, self._seed_places = torch.sort(seeds)
        inside = (ascending >= 0) & (ascending < universe)
        distinct = torch.ones_like(inside)
        distinct[1:] = ascending[1:] != ascending[:-1]
        self.num_met[0] = (inside & distinct).sum()
        self._met = [ascending]

    def meet(self, edges: Sequence[HopEdges]) -> Tensor:
        """Relabel the edges of the next hop; see `BitmapRelabelling.meet`."""
        hop = len(self._met)
        for some in edges:
            some.ends[1] += some.num_targets[: hop - 1].sum()
        if not edges:
            self._met.append(self._met[0][:0])
            return self._met[-1]
        vertices, order = torch.sort(torch.cat([_in_use(some) for some in edges]))
        local, is_new = torch.empty_like(vertices), torch.empty_like(vertices, dtype=torch.int32)
        size = vertices.numel()
        for earlier, met in enumerate(self._met):
            launch(
                look_up_kernel,
                blocks(size, _BLOCK),
                (vertices, met, self._seed_places, self.num_met, local, is_new),
                (size,),
                (earlier, earlier == hop - 1, _BLOCK),
            )
        rank = is_new.cumsum(0, dtype=torch.int32)
        self.num_met[hop] = rank[-1]
        sources, met = torch.empty_like(vertices), torch.empty_like(vertices)
        launch(
            enter_kernel,
            blocks(size, _BLOCK),
            (vertices, order, local, is_new, rank, self.num_met, sources, met),
            (size,),
            (hop, _BLOCK),
        )
        self._met.append(met)
        for some, places in zip(
            edges, sources.split([some.ends.size(1) for some in edges]), strict=True
        ):
            some.ends[0] = places
        return met


def _in_use(edges: HopEdges) -> Tensor:
    """The sources of edges; `NO_VERTEX` behind those that there are."""
    number = torch.arange(edges.ends.size(1), device=edges.ends.device)
    return edges.ends[0].where(number < edges.num_edges, NO_VERTEX)
