"""What a multi-hop sample takes and gives, whichever implementation makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ALL = -1
"""The fanout that takes every in-edge."""


class Relation(NamedTuple):
    """The edges of one type. Node types are numbers, from 0."""

    indptr: Tensor
    """Where every node's in-edges begin, int32 or int64 `[num_nodes + 1]`."""
    indices: Tensor
    """Source of every edge, int32 or int64 `[num_edges]`."""
    source: int = 0
    """The type of the sources."""
    target: int = 0
    """The type of the destinations."""
    prefix: Tensor | None = None
    """Where edges are drawn by weight, running sums of their weights, which are integers of at
    least 1: int64 `[num_edges + 1]`, from 0, modulo `2**64`. The in-edges of a node weigh less than
    `2**62` together."""
    edge_time: Tensor | None = None
    """Time of every edge, int32, int64 or float64 `[num_edges]`, ascending for each node."""
    node_time: Tensor | None = None
    """Time of every source instead."""

    @property
    def time(self) -> Tensor | None:
        """The times, of edges or of sources."""
        return self.node_time if self.edge_time is None else self.edge_time


class Hop(NamedTuple):
    """What is drawn of one relation for every node of one hop."""

    fanout: int
    """Largest number of in-edges, or `ALL`; 0 draws none."""
    key: tuple[int, int]
    """Two words of 32 bits, the Philox key of the draws."""
    replace: bool
    """Whether an in-edge may be drawn more than once: exactly `fanout` draws for every node that
    has an in-edge. Without, a node of no more in-edges than `fanout` gets all of them."""
    last: bool = False
    """Whether to draw among the `fanout` last in-edges only, where they have times."""


class Seeds(NamedTuple):
    """Where sampling starts."""

    groups: Sequence[tuple[int, Tensor]]
    """Node types and seeds of them, int64 `[num seeds]`, each type once. Trees are numbered in this
    order."""
    disjoint: bool = False
    """Whether every seed has a tree of its own: what is met from two seeds is two vertices, and
    draws differ."""
    time: Tensor | None = None
    """For each tree the time up to which it sees edges that have times, int64 or float64
    `[num trees]`; trees are then disjoint. None sees all."""

    @property
    def num_seeds(self) -> int:
        """Number of all seeds."""
        return sum(nodes.numel() for _, nodes in self.groups)

    @property
    def num_trees(self) -> int:
        """Trees of the batch: one for all seeds, or one for each."""
        return max(1, self.num_seeds) if self.disjoint else 1

    def vertices(self, num_types: int) -> list[Tensor]:
        """Return the seeds as vertices, by node type."""
        none = self.groups[0][1][:0]
        found, tree = [none] * num_types, 0
        for kind, nodes in self.groups:
            found[kind] = nodes
            if self.disjoint:
                trees = torch.arange(tree, tree + nodes.numel(), device=nodes.device)
                found[kind] = nodes * self.num_trees + trees
            tree += nodes.numel()
        return found

    def check(self, num_nodes: Sequence[int]) -> None:
        """Raise for a seed outside the graph, or one that is repeated where trees are not disjoint.

        Waits for the device.

        Args:
            num_nodes: nodes of each type.

        Raises:
            IndexError: a seed lies outside the graph.
            ValueError: a seed is given more than once and trees are not disjoint.
        """
        for kind, nodes in self.groups:
            outside = nodes[(nodes < 0) | (nodes >= num_nodes[kind])]
            if outside.numel() > 0:
                raise IndexError(
                    f"seed {int(outside[0])} is outside the graph; expected node ids in "
                    f"[0, {num_nodes[kind]})"
                )
            if self.disjoint:
                continue
            distinct, count = torch.unique(nodes, return_counts=True)
            if distinct.numel() < nodes.numel():
                raise ValueError(
                    f"seed {int(distinct[count > 1][0])} is given more than once; expected "
                    "distinct nodes: use torch.unique(seeds), or disjoint=True"
                )


class Sample(NamedTuple):
    """The nodes of a batch by type and its edges by relation; tensors are int64.

    A vertex of a batch is a node in a tree, held as `node * num_trees + tree`. With one tree it is
    the node itself.
    """

    vertices: list[Tensor]
    """Distinct vertices `[num vertices]`: the seeds, then hop by hop those first met, ascending."""
    edge_index: list[Tensor]
    """Places in `vertices`, `[2, num edges]`: source, destination."""
    position: list[Tensor]
    """Places in the relation's list of edges, `[num edges]`."""
    num_vertices: list[list[int]]
    """Vertices first met in each hop, the seeds first."""
    num_edges: list[list[int]]
    """Edges drawn in each hop."""
