"""A batch that is queued on a GPU, hop by hop, and can be queued again for other seeds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torch_direct.kernels.counts import Counts
from torch_direct.kernels.launch import blocks
from torch_direct.kernels.queue import Queue
from torch_direct.kernels.relabel.bitmap import BitmapRelabelling
from torch_direct.kernels.relabel.edges import NO_VERTEX, HopEdges
from torch_direct.kernels.relabel.sort import SortRelabelling
from torch_direct.kernels.sample import reference
from torch_direct.kernels.sample.draw import Drawing, Drawn, Frontier, Marks
from torch_direct.kernels.sample.hops import Hop, Relation, Sample, Seeds

_MOST_MARKED = 1 << 30
"""Vertices that have a bit each, in 192 MiB for every hop; more are cheaper to sort."""
_SEEDS_OF_A_SHAPE = 256
"""Batches whose numbers of seeds are the same rounded up to this are of one shape."""


class _NodeType:
    """The vertices of one type, hop by hop."""

    def __init__(
        self, roots: Tensor, universe: int, num_hops: int, counts: Counts, queue: Queue
    ) -> None:
        kind = BitmapRelabelling if universe <= _MOST_MARKED else SortRelabelling
        self._relabelling = kind(roots, universe, num_hops, counts, queue)
        self._universe = universe
        self.met = [roots]
        """First met in each hop, the seeds first; in arrays that are long enough."""

    @property
    def num_met(self) -> Tensor:
        """How many each hop met first, `[num hops + 1]`; 0 for hops to come."""
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


class Task(NamedTuple):
    """What to sample."""

    relations: Sequence[Relation]
    num_nodes: Sequence[int]
    roots: Sequence[Tensor]
    """The seeds as vertices, by node type."""
    seeds: Seeds
    hops: Sequence[Sequence[Hop]]
    over_link: bool

    @property
    def room(self) -> list[int]:
        """For how many seeds of each type to make room."""
        sizes = [some.numel() for some in self.roots]
        if self.seeds.disjoint:  # whose vertices have the number of trees in them
            return sizes
        return [blocks(size, _SEEDS_OF_A_SHAPE) * _SEEDS_OF_A_SHAPE for size in sizes]

    @property
    def shape(self) -> Hashable:
        """All that launches depend on, but for what they read: addresses, sizes, the stream."""
        device, time = self.roots[0].device, self.seeds.time
        return (
            device,
            torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None,
            tuple(_identity(part) for relation in self.relations for part in relation),
            tuple(self.num_nodes),
            tuple(self.room),
            self.seeds.num_trees,
            None if time is None else time.dtype,
            tuple(hop._replace(key=(0, 0)) for by_relation in self.hops for hop in by_relation),
            self.over_link,
            torch.is_inference_mode_enabled(),  # whose tensors cannot be written to outside of it
        )

    @property
    def keys(self) -> list[int]:
        """The keys of all hops, each two words of 32 bits as one signed number of 64."""
        hops = (hop for by_relation in self.hops for hop in by_relation)
        numbers = [hop.key[1] << 32 | hop.key[0] for hop in hops]
        return [number - (1 << 64) if number >= 1 << 63 else number for number in numbers]


class QueuedBatch:
    """A batch that is queued, and what it is cut out of."""

    def __init__(self, task: Task) -> None:
        seeds, hops = task.seeds, task.hops
        self.queue = queue = Queue(task.roots[0].device, task.keys)
        self._roots = [queue.empty(size) for size in task.room]
        self._time = None if seeds.time is None else torch.empty_like(seeds.time)
        self._set(task)
        self.counts = Counts(_num_counts(len(task.num_nodes), hops), queue)
        self._types = [
            _NodeType(some, count * seeds.num_trees, len(hops), self.counts, queue)
            for some, count in zip(self._roots, task.num_nodes, strict=True)
        ]
        self._drawing = Drawing(
            seeds.num_trees, self._time, task.over_link, self.counts, queue, self.counts.take(1)
        )
        drawn = [self._expand(task.relations, hop, number) for number, hop in enumerate(hops)]
        self._drawn = list(zip(*drawn, strict=True))

    def repeat(self, task: Task) -> None:
        """Queue it again, for other seeds and keys."""
        self._set(task)
        self.queue.repeat(task.keys)

    def read(self) -> Sample:
        """Wait for it, and copy it out of the arrays that it was made in.

        Raises:
            ValueError: A node that draws has more than `2**31 - 1` in-edges.
        """
        numbers_of = self.counts.read()
        reference.check_degree(numbers_of(self._drawing.largest)[0])
        num_met = [numbers_of(node_type.num_met) for node_type in self._types]
        num_edges = [
            [0 if some is None else numbers_of(some.edges.num_edges)[0] for some in by_hop]
            for by_hop in self._drawn
        ]
        return _cut(self._types, self._drawn, num_met, num_edges)

    def _set(self, task: Task) -> None:
        for mine, given in zip(self._roots, task.roots, strict=True):
            size = given.numel()
            mine[:size].copy_(given)
            mine[size:].fill_(NO_VERTEX)
        if self._time is not None and task.seeds.time is not None:
            self._time.copy_(task.seeds.time)

    def _expand(
        self, relations: Sequence[Relation], hop: Sequence[Hop], number: int
    ) -> list[Drawn | None]:
        """Queue one hop; None for relations of which it takes no edge."""
        types = self._types
        drawn = [
            self._drawing.draw(
                relation,
                some,
                number * len(relations) + kind,
                types[relation.target].frontier,
                types[relation.source].marks,
            )
            for kind, (relation, some) in enumerate(zip(relations, hop, strict=True))
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


def _identity(part: Tensor | int | None) -> Hashable:
    return (part.data_ptr(), part.shape, part.dtype) if isinstance(part, Tensor) else part


def _num_counts(num_types: int, hops: Sequence[Sequence[Hop]]) -> int:
    """Return how many numbers a batch counts, each group of them rounded up to two."""
    largest = 2
    of_a_type = 2 * (len(hops) + 2)  # what every hop met, and who has finished
    of_a_relation_in_a_hop = 2 * 2  # what is taken, and who has finished
    return largest + num_types * of_a_type + sum(map(len, hops)) * of_a_relation_in_a_hop


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
    edges = [
        torch.cat(
            [
                vertices[0].new_empty(3, 0) if some is None else some.rows[:, :count]
                for some, count in zip(by_hop, counts, strict=True)
            ],
            dim=1,
        )
        for by_hop, counts in zip(drawn, num_edges, strict=True)
    ]
    ends, position = [some[:2] for some in edges], [some[2] for some in edges]
    return Sample(vertices, ends, position, num_met, num_edges)
