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

from torch_direct.kernels.counts import Counts
from torch_direct.kernels.launch import blocks
from torch_direct.kernels.queue import Queue
from torch_direct.kernels.relabel.edges import HopEdges
from torch_direct.kernels.triton_scan import SCAN, add_up, finishes_last

_BLOCK = 512
_BLOCK_WORDS = 512
"""Words whose bits are counted from zero: a count of them fits into 16 bits."""
_MOST_PROGRAMS = 1024
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


@triton.jit
def mark(bits, vertex, wanted, universe):
    """Set the bits of vertices; what lies outside the universe has none."""
    bit = tl.full(vertex.shape, 1, tl.int32) << (vertex & 31).to(tl.int32)
    inside = wanted & (vertex >= 0) & (vertex < universe)
    tl.atomic_or(bits + (vertex >> 5), bit, mask=inside, sem="relaxed")


@triton.jit
def rank_of(word, counts, ends, place, entry, block, here, BLOCK_WORDS: tl.constexpr):
    """How many vertices of a hop are below that of the lowest bit of a word, shifted down to it.

    The word's place in its bitmap is `place`; among those of all hops it is at `entry`, and its
    block at `block`.
    """
    up_to = tl.load(counts + entry, mask=here, other=0).to(tl.int32)
    before = tl.load(ends + block - 1, mask=here & (place >= BLOCK_WORDS), other=0)
    return before + up_to - count_bits(word)


@triton.jit(do_not_specialize=["size", "universe"])
def mark_kernel(vertices, bits, size: tl.int64, universe: tl.int64, BLOCK: tl.constexpr):
    """Set the bit of every vertex."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    wanted = place < size
    mark(bits, tl.load(vertices + place, mask=wanted, other=-1), wanted, universe)


@triton.jit(
    do_not_specialize=["num_words", "num_blocks"],
    do_not_specialize_on_alignment=["num_met", "finished"],
)
def keep_new_kernel(
    bits,
    counts,
    ends,
    num_met,
    finished,
    num_words: tl.int64,
    num_blocks: tl.int64,
    HOP: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    SCAN: tl.constexpr,
):
    """Clear the bits of a hop that are set in one before, and count those left.

    Up to each word since the beginning of its block, and up to the end of each block.
    """
    num_words = num_words.to(tl.int64)
    ends += HOP * num_blocks
    block = tl.program_id(0).to(tl.int64)
    while block < num_blocks:
        place = block * BLOCK_WORDS + tl.arange(0, BLOCK_WORDS)
        wanted = place < num_words
        new = tl.load(bits + HOP * num_words + place, mask=wanted, other=0)
        for earlier in tl.static_range(HOP):
            new &= ~tl.load(bits + earlier * num_words + place, mask=wanted, other=0)
        if HOP > 0:
            tl.store(bits + HOP * num_words + place, new, mask=wanted)
        count = count_bits(new.to(tl.uint32, bitcast=True))
        up_to = tl.cumsum(count, 0).to(tl.int16)
        tl.store(counts + HOP * num_words + place, up_to, mask=wanted)
        tl.store(ends + block, tl.sum(count, 0))
        block += tl.num_programs(0)
    if finishes_last(finished + HOP):
        tl.store(num_met + HOP, add_up(ends, num_blocks, SCAN).to(tl.int64))


@triton.jit(do_not_specialize=["size", "universe"])
def enter_seeds_kernel(
    seeds,
    bits,
    counts,
    ends,
    seed_places,
    size: tl.int64,
    universe: tl.int64,
    BLOCK_WORDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the place of every seed where its rank is."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    seed = tl.load(seeds + place, mask=place < size, other=-1)
    inside = (seed >= 0) & (seed < universe)
    at = seed >> 5
    word = tl.load(bits + at, mask=inside, other=0).to(tl.uint32, bitcast=True)
    word = word >> (seed & 31).to(tl.uint32)
    rank = rank_of(word, counts, ends, at, at, at // BLOCK_WORDS, inside, BLOCK_WORDS)
    tl.store(seed_places + rank, place, mask=inside)


@triton.jit(
    do_not_specialize=["universe", "num_words", "num_blocks"],
    do_not_specialize_on_alignment=["num_edges", "num_met", "num_targets"],
)
def relabel_kernel(
    edges,
    row,
    num_edges,
    bits,
    counts,
    ends,
    seed_places,
    met,
    num_met,
    num_targets,
    universe: tl.int64,
    num_words: tl.int64,
    num_blocks: tl.int64,
    HOP: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Replace the vertices of a hop's edges by local ids, and list the vertices that it met.

    A source is in the bitmap of the hop that met it, HOP at the latest. A row is the place of the
    destination among the vertices of the hop before, of a type whose vertices are `num_targets`.
    """
    num_words = num_words.to(tl.int64)
    num_blocks = num_blocks.to(tl.int64)
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    num_edges = tl.load(num_edges)
    if tl.program_id(0).to(tl.int64) * BLOCK < num_edges:
        wanted = place < num_edges
        vertex = tl.load(edges + place, mask=wanted, other=-1)
        inside = wanted & (vertex >= 0) & (vertex < universe)
        bit = (vertex & 31).to(tl.uint32)
        at = vertex >> 5
        local = tl.full((BLOCK,), -1, tl.int64)
        start = tl.zeros((), tl.int64)
        for hop in tl.static_range(HOP + 1):
            entry = hop * num_words + at
            word = tl.load(bits + entry, mask=inside, other=0).to(tl.uint32, bitcast=True) >> bit
            here = inside & ((word & 1) != 0)
            block = hop * num_blocks + at // BLOCK_WORDS
            rank = rank_of(word, counts, ends, at, entry, block, here, BLOCK_WORDS)
            known = tl.load(seed_places + rank, mask=here, other=0) if hop == 0 else start + rank
            local = tl.where(here, known, local)
            if hop == HOP:
                tl.store(met + rank, vertex, mask=here)
            start += tl.load(num_met + hop)
        tl.store(edges + place, local, mask=wanted)
        target = tl.load(row + place, mask=wanted, other=0)
        for hop in tl.static_range(HOP - 1):
            target += tl.load(num_targets + hop)
        tl.store(row + place, target, mask=wanted)


class BitmapRelabelling:
    """The vertices of one type met so far, hop by hop; the seeds are hop 0."""

    def __init__(
        self, seeds: Tensor, universe: int, num_hops: int, counts: Counts, queue: Queue
    ) -> None:
        """Begin with the seeds.

        Args:
            seeds: Distinct, `[n]`, int64. What lies outside the universe or is repeated is left
                out, and the local ids are then wrong.
            universe: Vertices are from 0 to below this; 49 bits are kept for 32 of them and each
                hop.
            num_hops: How often `meet` will be called.
            counts: Where to count; `2 * (num_hops + 2)` numbers are taken.
            queue: Where to launch, and to make arrays.
        """
        num_words = blocks(max(1, universe), _LINE) * (_LINE // 32)
        self._universe = universe
        self.num_met = counts.take(num_hops + 1)
        """How many vertices each hop met first, int64 `[num hops + 1]`; 0 for hops to come."""
        self._finished = counts.take(num_hops + 1)
        self._queue = queue
        self._bits = queue.zeros(num_hops + 1, num_words, dtype=torch.int32)
        self._counts = queue.empty(num_hops + 1, num_words, dtype=torch.int16)
        num_blocks = blocks(num_words, _BLOCK_WORDS)
        self._ends = queue.empty(num_hops + 1, num_blocks, dtype=torch.int32)
        self._seed_places = queue.empty(seeds.numel())
        self._hop = 0
        self._enter_seeds(seeds)

    @property
    def coming(self) -> Tensor:
        """The bitmap of the hop to come, in which to mark its vertices before `meet`."""
        return self._bits[self._hop + 1]

    def meet(self, edges: Sequence[HopEdges]) -> Tensor:
        """Relabel the edges of the next hop, whose sources are of this type and are marked.

        Returns:
            The vertices first met, ascending, int64, as long as there can be; as many as
            `num_met` says.
        """
        self._hop += 1
        capacity = min(sum(some.ends.size(1) for some in edges), self._universe)
        met = self._queue.empty(capacity)
        if capacity > 0:
            self._keep_new()
        for some in edges:
            sources, row = some.ends
            self._queue.launch(
                relabel_kernel,
                blocks(sources.numel(), _BLOCK),
                (
                    sources,
                    row,
                    some.num_edges,
                    self._bits,
                    self._counts,
                    self._ends,
                    self._seed_places,
                    met,
                    self.num_met,
                    some.num_targets,
                ),
                (self._universe, self._bits.size(1), self._ends.size(1)),
                (self._hop, _BLOCK_WORDS, _BLOCK),
            )
        return met

    def _enter_seeds(self, seeds: Tensor) -> None:
        size = seeds.numel()
        if size == 0:
            return
        of_seeds, programs = (size, self._universe), blocks(size, _BLOCK)
        self._queue.launch(mark_kernel, programs, (seeds, self._bits), of_seeds, (_BLOCK,))
        self._keep_new()
        self._queue.launch(
            enter_seeds_kernel,
            programs,
            (seeds, self._bits, self._counts, self._ends, self._seed_places),
            of_seeds,
            (_BLOCK_WORDS, _BLOCK),
        )

    def _keep_new(self) -> None:
        """Leave the new ones among the vertices that are marked for the hop, and rank them."""
        num_words, num_blocks = self._bits.size(1), self._ends.size(1)
        self._queue.launch(
            keep_new_kernel,
            min(num_blocks, _MOST_PROGRAMS),
            (self._bits, self._counts, self._ends, self.num_met, self._finished),
            (num_words, num_blocks),
            (self._hop, _BLOCK_WORDS, SCAN),
        )
