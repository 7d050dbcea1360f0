"""Is a batch one that may be drawn? Looked at hop by hop, before any system is timed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_direct.bench.sample.systems import Sampled
from torch_direct.errors import WrongBatchError
from torch_direct.graph import Graph


def check_batch(
    graph: Graph,
    sampled: Sampled,
    seeds: Tensor,
    fanout: Sequence[int],
    seed_time: Tensor | None = None,
    *,
    nodes_of_a_hop: int = 1000,
) -> None:
    """Check a batch that was drawn without replacement.

    The edges of a hop lead into the nodes that it expands, and the nodes that it meets follow those
    met before without a gap. Some nodes of a hop are looked at with all their in-edges: they have
    as many edges as the fanout allows and the graph has, and no edge more often than the graph.

    Args:
        graph: What was sampled.
        sampled: The batch, on any device.
        seeds: Its seed nodes, int64 `[batch_size]`.
        fanout: Of each hop.
        seed_time: Time of each seed `[batch_size]`, where no later edge may be drawn.
        nodes_of_a_hop: About how many are looked at so, evenly spread.

    Raises:
        WrongBatchError: The message says what is wrong, and in which hop.
    """
    batch = _Batch(graph, sampled, seeds, seed_time, nodes_of_a_hop)
    begin, end = 0, seeds.numel()
    for hop, k in enumerate(fanout):
        try:
            src, dst = batch.edges_of(hop, begin, end)
            met = batch.check_ids(src, dst, begin, end)
            batch.check_edges(src, dst, begin, end, k)
        except WrongBatchError as error:
            raise WrongBatchError(f"hop {hop + 1}: {error}") from None
        begin, end = (0 if batch.expands_again else end), met
    if end < batch.nodes.numel():
        raise WrongBatchError(f"{batch.nodes.numel() - end} nodes were met in no hop")


class _Batch:
    """A batch on the device that reads the graph."""

    def __init__(
        self,
        graph: Graph,
        sampled: Sampled,
        seeds: Tensor,
        seed_time: Tensor | None,
        nodes_of_a_hop: int,
    ) -> None:
        self.graph, self.nodes_of_a_hop = graph, nodes_of_a_hop
        self.device = graph.indptr.device
        self.edge_index = sampled.edge_index
        self.expands_again = isinstance(sampled.edge_index, list)
        self.nodes = sampled.nodes.to(self.device).long()
        self.tree = torch.zeros_like(self.nodes)
        if sampled.tree is not None:
            self.tree = sampled.tree.to(self.device)
        self.seed_time = seed_time
        if not torch.equal(self.nodes[: seeds.numel()], seeds.to(self.device)):
            raise WrongBatchError("the batch does not begin with its seeds")
        vertices = self.nodes * seeds.numel() + self.tree
        if vertices.unique().numel() < vertices.numel():
            raise WrongBatchError("a node is in the batch twice")

    def edges_of(self, hop: int, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Return the edges of a hop, which expands the nodes from `begin` to below `end`."""
        if isinstance(self.edge_index, list):
            src, dst = self.edge_index[hop].to(self.device).long()
            return src, dst
        src, dst = self.edge_index.to(self.device)
        expanded = (dst >= begin) & (dst < end)
        return src[expanded], dst[expanded]

    def check_ids(self, src: Tensor, dst: Tensor, begin: int, end: int) -> int:
        """Check the local ids of a hop, and return how many nodes are met after it."""
        met = max(end, int(src.max()) + 1) if src.numel() else end
        if met > self.nodes.numel() or bool((src < 0).any()):
            raise WrongBatchError(f"an edge comes from a place outside the {self.nodes.numel()}")
        if bool(((dst < begin) | (dst >= end)).any()):
            raise WrongBatchError(f"an edge goes to a node that is not from {begin} to {end - 1}")
        if src[src >= end].unique().numel() < met - end:
            raise WrongBatchError("the nodes that it meets do not follow those met before")
        if not torch.equal(self.tree[src], self.tree[dst]):
            raise WrongBatchError("an edge joins two trees")
        return met

    def check_edges(self, src: Tensor, dst: Tensor, begin: int, end: int, fanout: int) -> None:
        """Compare the edges into some of the nodes that a hop expands with those of the graph."""
        step = max(1, (end - begin) // self.nodes_of_a_hop)
        chosen = torch.arange(begin, end, step, device=self.device)
        row, neighbour = self._in_edges(chosen)
        looked_at = (dst - begin) % step == 0
        drawn_row, drawn = (dst[looked_at] - begin) // step, self.nodes[src[looked_at]]
        expected = torch.bincount(row, minlength=chosen.numel()).clamp(max=fanout)
        got = torch.bincount(drawn_row, minlength=chosen.numel())
        if not torch.equal(got, expected):
            at = int((got != expected).nonzero()[0])
            raise WrongBatchError(
                f"{int(got[at])} edges lead into node {int(self.nodes[chosen[at]])}; expected "
                f"{int(expected[at])}"
            )
        pair, count = (drawn_row * self.graph.num_nodes + drawn).unique(return_counts=True)
        known, most = (row * self.graph.num_nodes + neighbour).unique(return_counts=True)
        place = torch.searchsorted(known, pair).clamp(max=max(0, known.numel() - 1))
        wrong = (known[place] != pair) | (count > most[place])
        if bool(wrong.any()):
            at, source = divmod(int(pair[wrong][0]), self.graph.num_nodes)
            raise WrongBatchError(
                f"the edge from {source} to {int(self.nodes[chosen[at]])} is not in the graph, or "
                "not so often"
            )

    def _in_edges(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the in-edges that could be drawn: which of the chosen nodes, and the source."""
        graph, nodes = self.graph, self.nodes[chosen]
        degree = graph.degree(nodes)
        row = torch.arange(nodes.numel(), device=self.device).repeat_interleave(degree)
        first = graph.indptr[nodes].long() - (degree.cumsum(0) - degree)
        place = torch.arange(row.numel(), device=self.device) + first[row]
        if graph.edge_time is not None and self.seed_time is not None:
            time = self.seed_time.to(self.device)[self.tree[chosen]]
            early = graph.edge_time[place] <= time[row]
            row, place = row[early], place[early]
        return row, graph.indices[place].long()
