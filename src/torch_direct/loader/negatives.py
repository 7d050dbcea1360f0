"""Negative links: ends drawn at random, by weight, no later than the link they stand beside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.sampler import NegativeSampling

from torch_direct.graph import EdgeType, Graph, HeteroGraph
from torch_direct.graph.plain import in_host_memory, plain
from torch_direct.loader.exclude import are_edges

TRIES = 20
"""How often a negative link that is an edge is drawn again."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The nodes that one end of a negative link may be, in host memory.

    Where nodes have times they are in the order of these, so that those allowed for a link are the
    first so many; weights are drawn by inverting their running sum.
    """

    num_nodes: int
    order: Tensor | None = None
    """Node ids in order of time `[num_nodes]`; None where time does not matter."""
    time: Tensor | None = None
    """Ascending `[num_nodes]`."""
    weight_sum: Tensor | None = None
    """Running sum of the weights in this order, float64 `[num_nodes]`; None for equal weights."""

    def draw(self, count: int, latest: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw nodes with replacement.

        Args:
            count: How many.
            latest: The last time allowed for each `[count]`. Where no node is allowed, the earliest
                one is taken.
            generator: Where random numbers come from, on the CPU.

        Returns:
            int64 `[count]`.
        """
        allowed = torch.full((count,), self.num_nodes, device="cpu")
        if self.time is not None and latest is not None:
            latest = latest.to(self.time.dtype).contiguous()
            allowed = torch.searchsorted(self.time, latest, right=True).clamp_(min=1)
        chance = torch.rand(count, dtype=torch.float64, generator=generator, device="cpu")
        if self.weight_sum is None:
            place = (chance * allowed).long()
        else:
            total = self.weight_sum[allowed - 1]
            place = torch.searchsorted(self.weight_sum, chance * total, right=True)
            place = torch.where(total > 0, place, 0)
        return place if self.order is None else self.order[place]


@dataclass(frozen=True, eq=False)
class Negatives:
    """What negative links are drawn from, for links of one type."""

    config: NegativeSampling
    src: Candidates
    dst: Candidates
    true_edges: Graph | None = None
    """The edges of this type, where they are not to be drawn."""

    def count(self, num_links: int) -> int:
        """How many are drawn beside so many links."""
        amount: float = self.config.amount
        return math.ceil(num_links * amount)

    def draw(
        self,
        count: int,
        latest: Tensor | None,
        generator: torch.Generator,
        *,
        src: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw the ends of negative links.

        A pair that is an edge of the graph is drawn again, up to `TRIES` times, where these are not
        wanted.

        Args:
            count: How many.
            latest: As in `Candidates.draw`.
            generator: Likewise.
            src: The sources, int64 `[count]`, where only destinations are to be drawn.

        Returns:
            Sources and destinations, int64 `[count]`.
        """
        drawn = self.src.draw(count, latest, generator) if src is None else src
        dst = self.dst.draw(count, latest, generator)
        for again in self._edges_among(drawn, dst):
            limit = None if latest is None else latest[again]
            if src is None:
                drawn[again] = self.src.draw(again.numel(), limit, generator)
            dst[again] = self.dst.draw(again.numel(), limit, generator)
        return drawn, dst

    def _edges_among(self, src: Tensor, dst: Tensor) -> Iterator[Tensor]:
        """Yield which pairs are edges, until none is, and `TRIES` times at most."""
        for _ in range(TRIES):
            if self.true_edges is None:
                return
            found = are_edges(self.true_edges, src, dst).nonzero().squeeze(1)
            if found.numel() == 0:
                return
            yield found


def negatives_for(
    graph: Graph | HeteroGraph,
    edge_type: EdgeType | None,
    config: NegativeSampling,
    *,
    exclude_true_edges: bool = False,
) -> Negatives:
    """Prepare to draw negative links.

    Args:
        graph: The graph.
        edge_type: The type of the links, in heterogeneous graphs.
        config: As for PyG's `LinkNeighborLoader`.
        exclude_true_edges: Draw no pair that is an edge of this type.

    Raises:
        ValueError: Weights are not as many as nodes, negative, not finite, or all 0.
    """
    edges: Graph | None
    if isinstance(graph, Graph):
        edges, ends = graph, [(graph.num_nodes, graph.node_time)] * 2
    else:
        source, relation, destination = cast("EdgeType", edge_type)
        edges = graph.graphs.get((source, relation, destination))
        ends = [
            (graph.num_nodes[name], graph.node_time.get(name)) for name in (source, destination)
        ]
    (num_src, src_time), (num_dst, dst_time) = ends
    return Negatives(
        config,
        _candidates("src_weight", num_src, config.src_weight, src_time),
        _candidates("dst_weight", num_dst, config.dst_weight, dst_time),
        edges.map(in_host_memory) if exclude_true_edges and edges is not None else None,
    )


def _candidates(name: str, num_nodes: int, weight: Any, time: Tensor | None) -> Candidates:
    if weight is not None and weight.numel() != num_nodes:
        raise ValueError(
            f"{name} has {weight.numel()} entries; expected one for each of the {num_nodes} nodes"
        )
    order = None
    if time is not None:
        time = plain(time).cpu()
        # As wide as times are compared, so that those of links fit.
        time, order = (time if time.is_floating_point() else time.long()).sort(stable=True)
    if weight is not None:
        weight = plain(weight).cpu().double()
        if not (weight >= 0).all() or not 0 < weight.sum() < math.inf:
            raise ValueError(
                f"{name} sums to {weight.sum().item()}, and its least is {weight.min().item()}; "
                "expected finite weights of at least 0, and one above: correct them"
            )
        weight = (weight if order is None else weight[order]).cumsum(0)
    return Candidates(num_nodes, order, time, weight)
