"""What a multi-hop sample takes and gives, whichever implementation makes it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ALL = -1
"""The fanout that takes every in-edge."""


class Hop(NamedTuple):
    """What is drawn for every node of one hop."""

    fanout: int
    """Largest number of in-edges, or `ALL`."""
    key: tuple[int, int]
    """Two words of 32 bits, the Philox key of the draws."""
    replace: bool
    """Whether an in-edge may be drawn more than once: exactly `fanout` draws for every node that
    has an in-edge. Without, a node of no more in-edges than `fanout` gets all of them."""


class Sample(NamedTuple):
    """The nodes and edges of a batch; tensors are int64.

    A vertex of a batch is a node in a tree, held as `node * num_trees + tree`. With one tree it is
    the node itself.
    """

    vertices: Tensor
    """Distinct vertices `[num vertices]`: the seeds, then hop by hop those first met, ascending."""
    edge_index: Tensor
    """Places in `vertices`, `[2, num edges]`: source, destination."""
    position: Tensor
    """Places in the graph's list of edges, `[num edges]`."""
    num_vertices: list[int]
    """Vertices first met in each hop, the seeds first."""
    num_edges: list[int]
    """Edges drawn in each hop."""


def num_trees(seeds: Tensor, *, disjoint: bool) -> int:
    """Trees of a batch: one for all seeds, or one for each."""
    return max(1, seeds.numel()) if disjoint else 1


def seed_vertices(seeds: Tensor, *, disjoint: bool) -> Tensor:
    """The seeds as vertices; where disjoint, the seed at place `t` is the root of tree `t`."""
    if not disjoint:
        return seeds
    return seeds * num_trees(seeds, disjoint=True) + torch.arange(
        seeds.numel(), device=seeds.device
    )


def check_seeds(seeds: Tensor, num_nodes: int, *, disjoint: bool) -> None:
    """Raise for a seed outside the graph, or one that is repeated where trees are not disjoint.

    Waits for the device.

    Raises:
        IndexError: a seed lies outside the graph.
        ValueError: a seed is given more than once and `disjoint` is False.
    """
    outside = seeds[(seeds < 0) | (seeds >= num_nodes)]
    if outside.numel() > 0:
        raise IndexError(
            f"seed {int(outside[0])} is outside the graph; expected node ids in [0, {num_nodes})"
        )
    if disjoint:
        return
    distinct, count = torch.unique(seeds, return_counts=True)
    if distinct.numel() < seeds.numel():
        raise ValueError(
            f"seed {int(distinct[count > 1][0])} is given more than once; expected distinct "
            "nodes: use torch.unique(seeds), or disjoint=True"
        )
