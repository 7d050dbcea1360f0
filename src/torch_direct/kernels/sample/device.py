"""Multi-hop sampling on a GPU that waits for it once, when all hops are queued."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_direct.kernels.counts import Counts
from torch_direct.kernels.relabel.bitmap import BitmapRelabelling
from torch_direct.kernels.relabel.edges import HopEdges
from torch_direct.kernels.relabel.sort import SortRelabelling
from torch_direct.kernels.sample import reference
from torch_direct.kernels.sample.draw import Drawing, Drawn, Frontier, Marks
from torch_direct.kernels.sample.hops import Hop, Relation, Sample, Seeds

_MOST_MARKED = 1 << 30
"""Vertices that have a bit each, in 256 MiB for every hop; more are cheaper to sort."""


class _NodeType:
    """The vertices of one type, hop by hop."""

    def __init__(self, roots: Tensor, universe: int, num_hops: int, counts: Counts) -> None:
        kind = BitmapRelabelling if universe <= _MOST_MARKED else SortRelabelling
        self._relabelling = kind(roots, universe, num_hops, counts)
        self._universe = universe
        self.met = [roots]
        """First met in each hop, the seeds first; in arrays that are long enough."""

    @property
    def num_met(self) -> Tensor:
        """How many each hop met first, `[num hops + 1]`; wrong for hops to come."""
        return self._relabelling.num_met

    @property
    def frontier(self) -> Frontier:
        """What the hop before met first."""
        hop = len(self.met) - 1
        return Frontier(self.met[hop], self.num_met[hop : hop + 1], self.num_met)

    @property
    def marks(self) -> Marks:
        """Where to mark what the next hop meets."""
        return Marks(self._relabelling.coming, self._universe)

    def meet(self, edges: Sequence[HopEdges]) -> None:
        """Relabel the edges of a hop that come from this type, and enter what they met."""
        self.met.append(self._relabelling.meet(edges))


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
        roots = _inside(seeds, num_nodes).vertices(len(num_nodes))
        counts = Counts(_num_counts(len(num_nodes), hops), roots[0].device)
        types = [
            _NodeType(some, count * seeds.num_trees, len(hops), counts)
            for some, count in zip(roots, num_nodes, strict=True)
        ]
        drawing = Drawing(seeds.num_trees, seeds.time, over_link, counts, counts.take(1))
        drawn = [_expand(types, relations, hop, drawing) for hop in hops]
        by_relation = list(zip(*drawn, strict=True))
        numbers_of = counts.read()
        num_met = [numbers_of(node_type.num_met) for node_type in types]
        num_edges = [
            [0 if some is None else numbers_of(some.edges.num_edges)[0] for some in by_hop]
            for by_hop in by_relation
        ]
        if sum(by_hop[0] for by_hop in num_met) < seeds.num_seeds:
            seeds.check(num_nodes)
        reference.check_degree(numbers_of(drawing.largest)[0])
        return _cut(types, by_relation, num_met, num_edges)


def _inside(seeds: Seeds, num_nodes: Sequence[int]) -> Seeds:
    """Seeds whose vertices do not overflow: those out of range are next to it."""
    if not seeds.disjoint:
        return seeds
    return seeds._replace(
        groups=[(kind, nodes.clamp(-1, num_nodes[kind])) for kind, nodes in seeds.groups]
    )


def _num_counts(num_types: int, hops: Sequence[Sequence[Hop]]) -> int:
    """Return how many numbers a batch counts, at most."""
    return 2 + num_types * 2 * (len(hops) + 2) + sum(4 for hop in hops for _ in hop)


def _expand(
    types: Sequence[_NodeType], relations: Sequence[Relation], hop: Sequence[Hop], drawing: Drawing
) -> list[Drawn | None]:
    """Queue one hop; None for relations of which it takes no edge."""
    drawn = [
        drawing.draw(relation, some, types[relation.target].frontier, types[relation.source].marks)
        for relation, some in zip(relations, hop, strict=True)
    ]
    for kind, node_type in enumerate(types):
        node_type.meet(
            [
                some.edges
                for relation, some in zip(relations, drawn, strict=True)
                if some is not None and relation.source == kind
            ]
        )
    return drawn


def _cut(
    types: Sequence[_NodeType],
    drawn: Sequence[Sequence[Drawn | None]],
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
