"""Local ids of the vertices of a batch, found without waiting for the GPU.

The vertices that a hop meets are a bitmap: marking them is an atomic or, distinct and ascending
they are for free, and the place of one among them is a running count of the words before its own
plus a count of bits (a rank directory; Jacobson, "Space-efficient Static Trees and Graphs",
FOCS 1989).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from torch_direct.kernels.launch import launch
from torch_direct.kernels.relabel.edges import HopEdges

_BLOCK = 512
_LINE = 1024
"""Bits of 128 bytes: the bitmap of every hop begins aligned."""


@triton.jit
def count_bits(word):
    """How many bits of each word of 32 are set, without a product that overflows."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    word = word + (word >> 8)
    return ((word + (word >> 16)) & 0x3F).to(tl.int32)


@triton.jit(do_not_specialize=["universe"], do_not_specialize_on_alignment=["num_vertices"])
def mark_kernel(vertices, num_vertices, bits, universe: tl.int64, BLOCK: tl.constexpr):
    """Set the bit of every vertex."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    wanted = place < tl.load(num_vertices)
    vertex = tl.load(vertices + place, mask=wanted, other=-1)
    bit = tl.full((BLOCK,), 1, tl.int32) << (vertex & 31).to(tl.int32)
    inside = wanted & (vertex >= 0) & (vertex < universe)
    tl.atomic_or(bits + (vertex >> 5), bit, mask=inside, sem="relaxed")


@triton.jit(do_not_specialize=["num_words"])
def keep_new_kernel(bits, counts, num_words: tl.int64, HOP: tl.constexpr, BLOCK: tl.constexpr):
    """Clear the bits of a hop that are set in one before, and count those left in each word."""
    num_words = num_words.to(tl.int64)
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    wanted = place < num_words
    new = tl.load(bits + HOP * num_words + place, mask=wanted, other=0)
    for earlier in tl.static_range(HOP):
        new &= ~tl.load(bits + earlier * num_words + place, mask=wanted, other=0)
    tl.store(bits + HOP * num_words + place, new, mask=wanted)
    tl.store(counts + place, count_bits(new.to(tl.uint32, bitcast=True)), mask=wanted)


@triton.jit(
    do_not_specialize=["universe", "num_words", "targets_step"],
    do_not_specialize_on_alignment=["num_edges", "num_targets"],
)
def relabel_kernel(
    edges,
    row,
    num_edges,
    bits,
    ranks,
    seed_places,
    met,
    num_targets,
    universe: tl.int64,
    num_words: tl.int64,
    targets_step: tl.int64,
    HOP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Replace the vertices of a hop's edges by local ids, and list the vertices that it met.

    A source is in the bitmap of the hop that met it, HOP at the latest. A row is the place of the
    destination among the vertices of the hop before, of a type whose vertices are `num_targets`.
    """
    num_words = num_words.to(tl.int64)
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    num_edges = tl.load(num_edges)
    if tl.program_id(0).to(tl.int64) * BLOCK < num_edges:
        wanted = place < num_edges
        vertex = tl.load(edges + place, mask=wanted, other=-1)
        inside = wanted & (vertex >= 0) & (vertex < universe)
        bit = (vertex & 31).to(tl.uint32)
        local = tl.full((BLOCK,), -1, tl.int64)
        start = tl.zeros((), tl.int64)
        for hop in tl.static_range(HOP + 1):
            entry = hop * num_words + (vertex >> 5)
            word = tl.load(bits + entry, mask=inside, other=0).to(tl.uint32, bitcast=True) >> bit
            here = inside & ((word & 1) != 0)
            rank = tl.load(ranks + entry, mask=here, other=0) - count_bits(word)
            known = tl.load(seed_places + rank, mask=here, other=0) if hop == 0 else start + rank
            local = tl.where(here, known, local)
            if hop == HOP:
                tl.store(met + rank, vertex, mask=here)
            start += tl.load(ranks + hop * num_words + num_words - 1)
        tl.store(edges + place, local, mask=wanted)
        target = tl.load(row + place, mask=wanted, other=0)
        for hop in tl.static_range(HOP - 1):
            target += tl.load(num_targets + hop * targets_step)
        tl.store(row + place, target, mask=wanted)


class BitmapRelabelling:
    """The vertices of one type met so far, hop by hop; the seeds are hop 0."""

    def __init__(self, seeds: Tensor, universe: int, num_hops: int) -> None:
        """Begin with the seeds.

        Args:
            seeds: Distinct, `[n]`, int64. What lies outside the universe or is repeated is left
                out, and the local ids are then wrong.
            universe: Vertices are from 0 to below this; one word of 64 bits is kept for 32 of
                them and each hop.
            num_hops: How often `meet` will be called.
        """
        num_words = _blocks(max(1, universe), _LINE) * (_LINE // 32)
        self._universe = universe
        self._bits = torch.zeros(num_hops + 1, num_words, dtype=torch.int32, device=seeds.device)
        self._ranks = torch.empty_like(self._bits)
        self._seed_places = torch.argsort(seeds)
        self._hop = 0
        self._rank([(seeds, torch.full((1,), seeds.numel(), device=seeds.device))])

    @property
    def num_met(self) -> Tensor:
        """How many vertices each hop met first, int32 `[num hops + 1]`; wrong for hops to come."""
        return self._ranks[:, -1]

    def meet(self, edges: Sequence[HopEdges]) -> Tensor:
        """Relabel the edges of the next hop, whose sources are of this type.

        Returns:
            The vertices first met, ascending, int64, as long as there can be; as many as
            `num_met` says.
        """
        self._hop += 1
        self._rank([(some.ends[0], some.num_edges) for some in edges])
        capacity = min(sum(some.ends.size(1) for some in edges), self._universe)
        met = self._seed_places.new_empty(capacity)
        for some in edges:
            sources, row = some.ends
            launch(
                relabel_kernel,
                _blocks(sources.numel(), _BLOCK),
                (
                    sources,
                    row,
                    some.num_edges,
                    self._bits,
                    self._ranks,
                    self._seed_places,
                    met,
                    some.num_targets,
                ),
                (self._universe, self._bits.size(1), some.num_targets.stride(0)),
                (self._hop, _BLOCK),
            )
        return met

    def _rank(self, arrays: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Enter what the hop met: its new vertices, and for each word how many there are so far.

        Args:
            arrays: Vertices, and how many of them there are.
        """
        arrays = [(vertices, count) for vertices, count in arrays if vertices.numel() > 0]
        if not arrays:
            self._ranks[self._hop].zero_()
            return
        for vertices, num_vertices in arrays:
            launch(
                mark_kernel,
                _blocks(vertices.numel(), _BLOCK),
                (vertices, num_vertices, self._bits[self._hop]),
                (self._universe,),
                (_BLOCK,),
            )
        num_words = self._bits.size(1)
        counts = torch.empty_like(self._bits[0])
        launch(
            keep_new_kernel,
            _blocks(num_words, _BLOCK),
            (self._bits, counts),
            (num_words,),
            (self._hop, _BLOCK),
        )
        torch.cumsum(counts, 0, dtype=torch.int32, out=self._ranks[self._hop])


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block
