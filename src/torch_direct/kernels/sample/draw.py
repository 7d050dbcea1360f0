"""Drawing in-edges of a frontier on a GPU, without waiting for it.

Arrays are as long as they can get, which the host knows: the frontier times the fanout. How much of
them is in use is known to the GPU alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from torch_direct.kernels.counts import Counts
from torch_direct.kernels.launch import blocks
from torch_direct.kernels.queue import Queue
from torch_direct.kernels.relabel.edges import HopEdges
from torch_direct.kernels.sample import reference
from torch_direct.kernels.sample.hops import ALL, Hop, Relation
from torch_direct.kernels.sample.triton_sample import (
    draw_kernel,
    in_edges_kernel,
    read_sources_kernel,
)
from torch_direct.kernels.triton_scan import SCAN

_BLOCK = 128
_PROGRAMS_OVER_LINK = 64
"""A narrow window over ascending addresses: it fills the link, and its translations stay."""
_PROGRAMS_OF_SOURCES_OVER_LINK = 32
"""Narrower, over more memory: 2 % longer out of 1 GB of edges, 12 % shorter out of 6."""
_PROGRAMS_IN_GPU_MEMORY = 2048
_TILE = 512
_WARPS_BY_WEIGHT_OVER_LINK = 512
"""Narrow too, as drawing by weight reads the graph; wider, as these reads wait for each other."""
_TILE_OF_A_WARP = 128
_MOST_DRAWS = 1024
"""The largest fanout that the kernel draws: Floyd's comparisons are the square of it."""
_MOST_UNCOUNTED = 1 << 26
"""Edges for which 1.5 GiB are taken on the chance that there are as many; above, the host waits."""
_ALIGNED = 16
"""Numbers of 128 bytes."""


class Frontier(NamedTuple):
    """Vertices to draw in-edges of."""

    vertices: Tensor
    """Int64 `[capacity]`."""
    size: Tensor
    """`[1]`, how many there are."""
    num_met: Tensor
    """How many vertices of their type each hop met first, int64 `[num hops + 1]`."""


class Marks(NamedTuple):
    """Where the sources that are met are marked."""

    bitmap: Tensor | None
    """A bit for every vertex, in words of 32; None marks none."""
    universe: int
    """Vertices are from 0 to below this."""


class Drawn(NamedTuple):
    """Edges drawn, in arrays that are long enough."""

    rows: Tensor
    """`[3, capacity]`: the two rows of `edges.ends`, and places in the relation's list of edges."""
    edges: HopEdges

    @property
    def position(self) -> Tensor:
        """Places in the relation's list of edges."""
        return self.rows[2]


class _InEdges(NamedTuple):
    """The in-edges of a frontier."""

    begin: Tensor
    """`[capacity of the frontier]`, where those of each vertex begin in the relation's list."""
    degree: Tensor
    """How many each vertex has."""
    up_to: Tensor
    """How many are taken up to each vertex since the beginning of its block, int32."""
    ends: Tensor
    """How many are taken up to the end of each block; neither is known for hops without bound."""
    num_taken: Tensor
    """`[1]`, how many are taken."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """What all draws of a batch have in common."""

    num_trees: int
    time: Tensor | None
    """Up to when each tree sees edges that have times, as in `Seeds`."""
    over_link: bool
    """Whether the graph lies in host memory."""
    counts: Counts
    queue: Queue
    largest: Tensor
    """`[1]`, receives the largest degree that was too large to draw from."""

    def draw(
        self, relation: Relation, hop: Hop, keyed: int, frontier: Frontier, marks: Marks
    ) -> Drawn | None:
        """Queue drawing in-edges of a frontier and reading their sources; None for none at all.

        `keyed` is the place of the hop's key among those of the queue.
        """
        if hop.fanout == 0 or relation.indices.numel() == 0 or frontier.vertices.numel() == 0:
            return None
        in_edges = self._in_edges(relation, hop, frontier)
        if _bounded(hop):
            drawn = self._choose(relation, hop, keyed, frontier, in_edges)
        else:
            drawn = self._choose_unbounded(relation, hop, frontier, in_edges)
        self._read_sources(relation, frontier, marks, drawn)
        return drawn

    def _in_edges(self, relation: Relation, hop: Hop, frontier: Frontier) -> _InEdges:
        vertices, time = frontier.vertices, self.time
        timed = time is not None and relation.time is not None
        begin, degree = (self.queue.empty(vertices.numel()) for _ in range(2))
        up_to = self.queue.empty(vertices.numel(), dtype=torch.int32)
        num_blocks = blocks(vertices.numel(), _BLOCK)
        ends = self.queue.empty(num_blocks)
        num_taken, finished = self.counts.take(1), self.counts.take(1)
        self.queue.launch(
            in_edges_kernel,
            min(num_blocks, _PROGRAMS_OVER_LINK if self.over_link else _PROGRAMS_IN_GPU_MEMORY),
            (
                relation.indptr,
                vertices,
                frontier.size,
                begin,
                degree,
                up_to,
                ends,
                num_taken,
                finished,
                relation.indices,
                _or_else(relation.time, vertices),
                _or_else(time, vertices),
            ),
            (relation.indptr.numel() - 1, self.num_trees, vertices.numel()),
            (
                hop.fanout,
                hop.replace,
                self.num_trees > 1,
                timed,
                relation.edge_time is None,
                timed and hop.last and hop.fanout != ALL,
                _bounded(hop),
                _BLOCK,
                SCAN,
            ),
        )
        return _InEdges(begin, degree, up_to, ends, num_taken)

    def _choose(
        self, relation: Relation, hop: Hop, keyed: int, frontier: Frontier, in_edges: _InEdges
    ) -> Drawn:
        """Choose in-edges; their sources are not read yet."""
        capacity = self._capacity(relation, hop, frontier, in_edges)
        drawn = self._room(capacity, in_edges.num_taken, frontier.num_met)
        weighted = relation.prefix is not None
        num_nodes, width, num_warps = _tile(hop.fanout, weighted)
        programs = blocks(frontier.vertices.numel(), num_nodes)
        if weighted and self.over_link:
            programs = min(programs, _WARPS_BY_WEIGHT_OVER_LINK)
        self.queue.launch(
            draw_kernel,
            programs,
            (
                frontier.vertices,
                frontier.size,
                in_edges.begin,
                in_edges.degree,
                in_edges.up_to,
                in_edges.ends,
                drawn.position,
                drawn.edges.ends[1],
                self.largest,
                _or_else(relation.prefix, in_edges.begin),
            ),
            (self.num_trees,),
            (hop.fanout, hop.replace, weighted, self.num_trees > 1, _BLOCK, num_nodes, width),
            keyed=keyed,
            num_warps=num_warps,
        )
        return drawn

    def _choose_unbounded(
        self, relation: Relation, hop: Hop, frontier: Frontier, in_edges: _InEdges
    ) -> Drawn:
        """Choose more in-edges of a vertex than the kernel can; waits for their number."""
        self.queue.repeatable = False
        used = slice(int(frontier.size))
        vertices = frontier.vertices[used]
        position, row = reference.draw(
            vertices // self.num_trees,
            vertices % self.num_trees,
            in_edges.begin[used],
            in_edges.degree[used],
            hop,
            relation.prefix,
        )
        count = position.numel()
        drawn = self._room(count, in_edges.num_taken.fill_(count), frontier.num_met)
        drawn.position[:count] = position
        drawn.edges.ends[1, :count] = row
        return drawn

    def _capacity(
        self, relation: Relation, hop: Hop, frontier: Frontier, in_edges: _InEdges
    ) -> int:
        """Edges that are taken at most; how many are where room for that is better not made."""
        most = frontier.vertices.numel() * hop.fanout
        if not hop.replace:
            most = min(most, relation.indices.numel() * self.num_trees)
        if most <= _MOST_UNCOUNTED:
            return most
        self.queue.repeatable = False
        return int(in_edges.num_taken)

    def _read_sources(
        self, relation: Relation, frontier: Frontier, marks: Marks, drawn: Drawn
    ) -> None:
        """Read the sources of edges, in the order in which these lie in the graph."""
        source, row = drawn.edges.ends
        most = _PROGRAMS_OF_SOURCES_OVER_LINK if self.over_link else _PROGRAMS_IN_GPU_MEMORY
        self.queue.launch(
            read_sources_kernel,
            min(most, blocks(drawn.position.numel(), _BLOCK)),
            (
                relation.indices,
                drawn.position,
                drawn.edges.num_edges,
                row,
                frontier.vertices,
                source,
                _or_else(marks.bitmap, source),
            ),
            (self.num_trees, marks.universe),
            (self.num_trees > 1, marks.bitmap is not None, _BLOCK),
        )

    def _room(self, capacity: int, num_edges: Tensor, num_targets: Tensor) -> Drawn:
        """Arrays for as many edges, at least for one; all rows begin aligned."""
        drawn = self.queue.empty(3, blocks(max(capacity, 1), _ALIGNED) * _ALIGNED)
        return Drawn(drawn, HopEdges(drawn[:2], num_edges, num_targets))


def _bounded(hop: Hop) -> bool:
    """Whether the kernel can draw a hop, whose edges then have a bound."""
    return hop.fanout != ALL and hop.fanout <= _MOST_DRAWS


def _tile(fanout: int, weighted: bool) -> tuple[int, int, int]:
    """Return for how many vertices a program draws at a time, how many edges, and its warps."""
    width = max(2, 1 << (fanout - 1).bit_length())
    # A search takes as many steps as its longest; warps of their own do not wait for others.
    alone = weighted and width <= _TILE_OF_A_WARP
    return (_TILE_OF_A_WARP if alone else _TILE) // width or 1, width, 1 if alone else 4


def _or_else(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A tensor, or another in its place, which the kernel does not look at."""
    return other if tensor is None else tensor
