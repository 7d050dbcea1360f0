"""Multi-hop sampling on a GPU that waits for it once.

Arrays are as long as they can get, which the host knows: a frontier times the fanout. How much of
them is in use is known to the GPU alone, until all hops are queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, cast

import torch
import triton
from torch import Tensor

from torch_direct.kernels.launch import launch
from torch_direct.kernels.relabel.bitmap import BitmapRelabelling
from torch_direct.kernels.relabel.edges import HopEdges
from torch_direct.kernels.relabel.sort import SortRelabelling
from torch_direct.kernels.sample import reference
from torch_direct.kernels.sample.hops import ALL, Hop, Relation, Sample, Seeds
from torch_direct.kernels.sample.triton_sample import (
    draw_kernel,
    in_edges_kernel,
    read_sources_kernel,
)

_BLOCK = 128
_PROGRAMS_OVER_LINK = 64
"""A narrow window over ascending addresses: it fills the link, and its translations stay."""
_PROGRAMS_IN_GPU_MEMORY = 2048
_TILE = 512
_WARPS_BY_WEIGHT_OVER_LINK = 512
"""Narrow too, as drawing by weight reads the graph; wider, as these reads wait for each other."""
_TILE_OF_A_WARP = 128
_MOST_DRAWS = 1024
"""The largest fanout that the kernel draws: Floyd's comparisons are the square of it."""
_MOST_UNCOUNTED = 1 << 26
"""Edges for which 1.5 GiB are taken on the chance that there are as many; above, the host waits."""
_MOST_MARKED = 1 << 30
"""Vertices that have a bit each, in 256 MiB for every hop; more are cheaper to sort."""
_ALIGNED = 16


class _Drawn(NamedTuple):
    """Edges drawn, in arrays that are long enough."""

    position: Tensor
    """`[capacity]`, places in the relation's list of edges."""
    edges: HopEdges


class _NodeType:
    """The vertices of one type, hop by hop."""

    def __init__(self, roots: Tensor, universe: int, num_hops: int) -> None:
        kind = BitmapRelabelling if universe <= _MOST_MARKED else SortRelabelling
        self._relabelling = kind(roots, universe, num_hops)
        self.met = [roots]
        """First met in each hop, the seeds first; in arrays that are long enough."""

    @property
    def num_met(self) -> Tensor:
        """How many each hop met first, `[num hops + 1]`; wrong for hops to come."""
        return self._relabelling.num_met

    @property
    def frontier(self) -> Tensor:
        """What the hop before met first."""
        return self.met[-1]

    @property
    def num_frontier(self) -> Tensor:
        """How many of the frontier are in use, `[1]`."""
        return self.num_met[len(self.met) - 1 : len(self.met)]

    def meet(self, edges: Sequence[HopEdges]) -> None:
        """Relabel the edges of a hop that come from this type, and enter what they met."""
        self.met.append(self._relabelling.meet(edges))


@dataclass(frozen=True, eq=False)
class _Sampler:
    """A batch while it is sampled."""

    relations: Sequence[Relation]
    seeds: Seeds
    types: list[_NodeType]
    over_link: bool
    largest: Tensor
    """`[1]`, the largest degree that was too large to draw from, or 0."""

    @property
    def num_trees(self) -> int:
        return self.seeds.num_trees

    @property
    def programs(self) -> int:
        """Programs of the kernels that read the graph, at most."""
        return _PROGRAMS_OVER_LINK if self.over_link else _PROGRAMS_IN_GPU_MEMORY

    def expand(self, hop: Sequence[Hop]) -> list[_Drawn | None]:
        """Queue one hop; None for relations of which it takes no edge."""
        drawn = [self._draw(*pair) for pair in zip(self.relations, hop, strict=True)]
        for kind, node_type in enumerate(self.types):
            node_type.meet(
                [
                    some.edges
                    for relation, some in zip(self.relations, drawn, strict=True)
                    if some is not None and relation.source == kind
                ]
            )
        return drawn

    def _draw(self, relation: Relation, hop: Hop) -> _Drawn | None:
        """Draw in-edges of the frontier and read their sources."""
        target = self.types[relation.target]
        if hop.fanout == 0 or relation.indices.numel() == 0 or target.frontier.numel() == 0:
            return None
        drawn = self._choose(relation, target, hop)
        # In the order in which the edges lie in the graph.
        edges = drawn.edges
        launch(
            read_sources_kernel,
            min(self.programs, _blocks(drawn.position.numel(), _BLOCK)),
            (
                relation.indices,
                drawn.position,
                edges.num_edges,
                edges.ends[1],
                target.frontier,
                edges.ends[0],
            ),
            (self.num_trees,),
            (self.num_trees > 1, _BLOCK),
        )
        return drawn

    def _choose(self, relation: Relation, target: _NodeType, hop: Hop) -> _Drawn:
        """Choose in-edges of the frontier; their sources are not read yet."""
        trees = self.num_trees
        begin, degree, taken = self._in_edges(relation, target, hop)
        if hop.fanout == ALL or hop.fanout > _MOST_DRAWS:
            used = slice(int(target.num_frontier))
            vertices = target.frontier[used]
            position, row = reference.draw(
                vertices // trees,
                vertices % trees,
                begin[used],
                degree[used],
                hop,
                relation.prefix,
            )
            return _known_edges(position, row, target.num_met)
        ends = taken.cumsum(0)
        drawn = _room(self._capacity(relation, hop, ends), ends[-1:], target.num_met)
        self._launch_draw(relation, target, hop, (begin, degree, ends), drawn)
        return drawn

    def _launch_draw(
        self,
        relation: Relation,
        target: _NodeType,
        hop: Hop,
        edges: tuple[Tensor, Tensor, Tensor],
        drawn: _Drawn,
    ) -> None:
        """Draw positions; `edges` are where in-edges begin, their number, where those drawn end."""
        width = max(2, triton.next_power_of_2(hop.fanout))
        weighted = relation.prefix is not None
        # A search takes as many steps as its longest; warps of their own do not wait for others.
        alone = weighted and width <= _TILE_OF_A_WARP
        num_nodes = (_TILE_OF_A_WARP if alone else _TILE) // width or 1
        programs = _blocks(target.frontier.numel(), num_nodes)
        if weighted and self.over_link:
            programs = min(programs, _WARPS_BY_WEIGHT_OVER_LINK)
        launch(
            draw_kernel,
            programs,
            (
                target.frontier,
                target.num_frontier,
                *edges,
                drawn.position,
                drawn.edges.ends[1],
                self.largest,
                _or_else(relation.prefix, edges[0]),
            ),
            (_signed(hop.key), self.num_trees),
            (hop.fanout, hop.replace, weighted, self.num_trees > 1, num_nodes, width),
            num_warps=1 if alone else 4,
        )

    def _in_edges(self, relation: Relation, target: _NodeType, hop: Hop) -> list[Tensor]:
        """Where in-edges of the frontier begin, how many there are, how many the hop takes."""
        frontier, time = target.frontier, self.seeds.time
        found = [torch.empty_like(frontier) for _ in range(3)]
        timed = time is not None and relation.time is not None
        last = timed and hop.last and hop.fanout != ALL
        of_source = relation.edge_time is None
        launch(
            in_edges_kernel,
            min(self.programs, _blocks(frontier.numel(), _BLOCK)),
            (
                relation.indptr,
                frontier,
                target.num_frontier,
                *found,
                relation.indices,
                _or_else(relation.time, frontier),
                _or_else(time, frontier),
            ),
            (relation.indptr.numel() - 1, self.num_trees, frontier.numel()),
            (hop.fanout, hop.replace, self.num_trees > 1, timed, of_source, last, _BLOCK),
        )
        return found

    def _capacity(self, relation: Relation, hop: Hop, ends: Tensor) -> int:
        """Edges that are taken at most; how many are where room for that is better not made."""
        most = ends.numel() * hop.fanout
        if not hop.replace:
            most = min(most, relation.indices.numel() * self.num_trees)
        return most if most <= _MOST_UNCOUNTED else int(ends[-1])


def sample_hops(
    relations: Sequence[Relation],
    num_nodes: Sequence[int],
    seeds: Seeds,
    hops: Sequence[Sequence[Hop]],
    *,
    over_link: bool,
) -> Sample:
    """As `torch_direct.kernels.sample.sample_hops`."""
    with torch.cuda.device_of(seeds.groups[0][1]):
        inside = [(kind, nodes.clamp(-1, num_nodes[kind])) for kind, nodes in seeds.groups]
        roots = seeds._replace(groups=inside).vertices(len(num_nodes))
        sampler = _Sampler(
            relations,
            seeds,
            [
                _NodeType(some, count * seeds.num_trees, len(hops))
                for some, count in zip(roots, num_nodes, strict=True)
            ],
            over_link,
            torch.zeros(1, dtype=torch.int64, device=roots[0].device),
        )
        drawn = [sampler.expand(hop) for hop in hops]
        by_relation = list(zip(*drawn, strict=True))
        largest, num_met, num_edges = _read_counts(sampler, by_relation)
        if sum(by_hop[0] for by_hop in num_met) < seeds.num_seeds:
            seeds.check(num_nodes)
        reference.check_degree(largest)
        return _cut(sampler.types, by_relation, num_met, num_edges)


def _read_counts(
    sampler: _Sampler, drawn: Sequence[Sequence[_Drawn | None]]
) -> tuple[int, list[list[int]], list[list[int]]]:
    """Wait: the largest degree, the vertices by type and hop, the edges by relation and hop."""
    num_met = [node_type.num_met for node_type in sampler.types]
    num_edges = [
        sampler.largest[:0] if some is None else some.edges.num_edges
        for by_hop in drawn
        for some in by_hop
    ]
    counts = iter(_read_asleep(torch.cat([sampler.largest, *num_met, *num_edges])))
    return (
        next(counts),
        [list(islice(counts, by_hop.numel())) for by_hop in num_met],
        [[0 if some is None else next(counts) for some in by_hop] for by_hop in drawn],
    )


def _read_asleep(tensor: Tensor) -> list[int]:
    """Wait for a few numbers, asleep: the driver's usual wait keeps a core busy all the time."""
    if not tensor.is_cuda:
        return cast("list[int]", tensor.tolist())
    numbers = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    numbers.copy_(tensor, non_blocking=True)
    there = torch.cuda.Event(blocking=True)
    there.record()
    there.synchronize()
    return cast("list[int]", numbers.tolist())


def _cut(
    types: Sequence[_NodeType],
    drawn: Sequence[Sequence[_Drawn | None]],
    num_met: list[list[int]],
    num_edges: list[list[int]],
) -> Sample:
    """Join the arrays of all hops, each cut to what is in use."""
    vertices = [
        torch.cat([met[:count] for met, count in zip(some.met, by_hop, strict=True)])
        for some, by_hop in zip(types, num_met, strict=True)
    ]
    positions, ends = [], []
    for by_hop, counts in zip(drawn, num_edges, strict=True):
        used = [
            (some, count) for some, count in zip(by_hop, counts, strict=True) if some is not None
        ]
        none = vertices[0].new_empty(2, 0)
        positions.append(torch.cat([none[0], *(some.position[:count] for some, count in used)]))
        ends.append(torch.cat([none, *(some.edges.ends[:, :count] for some, count in used)], dim=1))
    return Sample(vertices, ends, positions, num_met, num_edges)


def _known_edges(position: Tensor, row: Tensor, num_targets: Tensor) -> _Drawn:
    """Edges whose number the host knows."""
    count = position.numel()
    drawn = _room(count, torch.full((1,), count, device=position.device), num_targets)
    drawn.position[:count] = position
    drawn.edges.ends[1, :count] = row
    return drawn


def _room(capacity: int, num_edges: Tensor, num_targets: Tensor) -> _Drawn:
    """Arrays for as many edges, at least for one; both rows of `ends` begin aligned."""
    capacity = _blocks(max(capacity, 1), _ALIGNED) * _ALIGNED
    position = torch.empty(capacity, dtype=torch.int64, device=num_edges.device)
    return _Drawn(position, HopEdges(position.new_empty(2, capacity), num_edges, num_targets))


def _or_else(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A tensor, or another in its place, which the kernel does not look at."""
    return other if tensor is None else tensor


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block


def _signed(key: tuple[int, int]) -> int:
    """Two words of 32 bits as one signed number of 64."""
    number = key[1] << 32 | key[0]
    return number - (1 << 64) if number >= 1 << 63 else number
