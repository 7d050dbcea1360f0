"""Neighbour sampling in plain PyTorch: runs on any device, and is what faster samplers must equal.

For every node the sampler draws up to `fanout` of its in-neighbours, uniformly and without
replacement (Hamilton, Ying and Leskovec, "Inductive Representation Learning on Large Graphs",
NeurIPS 2017), by Floyd's set sampling (Bentley and Floyd, "A Sample of Brilliance", CACM 1987),
whose cost grows with the fanout and not with the degree: a hub costs what any other node does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_direct.graph import Graph
from torch_direct.sampler.philox import MAX_BOUND, bounded, philox, split

ALL = -1
"""The fanout that takes every in-neighbour."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Seed nodes and the neighbourhood sampled for them, relabelled from 0.

    All tensors are int64 and on one device. The counts by hop follow PyG, so that
    `torch_geometric.utils.trim_to_layer` takes them.
    """

    n_id: Tensor
    """Distinct global node ids `[num sampled nodes]`: the seeds in their order, then hop by hop the
    nodes first met there, ascending within a hop. Its place here is a node's local id."""
    edge_index: Tensor
    """Local ids `[2, num sampled edges]`, row 0 the source, row 1 the destination; hop by hop, then
    by destination, then in the order of the graph."""
    batch_size: int
    """Number of seed nodes: the first `batch_size` entries of `n_id`."""
    num_sampled_nodes: list[int]
    """Nodes first met in each hop, `num hops + 1` entries; the first is `batch_size`."""
    num_sampled_edges: list[int]
    """Edges sampled in each hop, `num hops` entries."""


class NeighborSampler:
    """Draws the random neighbourhoods of mini-batches.

    A draw depends on nothing but the graph, `(seed, epoch, batch, hop, node)` and the fanout: the
    same arguments give the same batch bit for bit, on every device and in any order of calls.
    """

    def __init__(self, graph: Graph, fanout: Sequence[int], *, seed: int = 0) -> None:
        """Keep the graph and the fanout; nothing is computed.

        Args:
            graph: Where to sample; on the CPU, on a GPU, or unified. No node may have more than
                `2**31 - 1` in-edges.
            fanout: Largest number of in-neighbours to draw for a node, one entry for each hop,
                nearest the seeds first; -1 takes all.
            seed: From `-2**63` to `2**64 - 1`.

        Raises:
            ValueError: `fanout` is empty or has an entry that is neither -1 nor positive; `seed`
                does not fit into 64 bits.
        """
        if not fanout or any(k < 1 and k != ALL for k in fanout):
            raise ValueError(
                f"fanout is {list(fanout)}; expected one entry or more, each at least 1, or -1 for "
                "all neighbours"
            )
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"seed is {seed}; expected a number that fits into 64 bits")
        self.graph = graph
        self.fanout = tuple(int(k) for k in fanout)
        self.seed = seed

    def sample(self, seeds: Tensor, *, epoch: int = 0, batch: int = 0) -> Batch:
        """Sample the neighbourhood of `seeds`.

        A node is expanded once, in the hop after the one in which it was first met; a node with no
        more in-edges than the fanout gets all of them.

        Args:
            seeds: Distinct node ids, int32 or int64 `[batch_size]`; may be empty. They may be on
                the CPU whatever the graph is on, and on any GPU if the graph is on it or unified.
            epoch: Number of the epoch, from 0 to `2**32 - 1`; another one gives another draw.
            batch: Number of the batch in its epoch, likewise.

        Returns:
            The batch, on the device on which indexing the graph with `seeds` computes.

        Raises:
            IndexError: A seed lies outside the graph.
            TypeError: `seeds` is not int32 or int64.
            ValueError: `seeds` is not one-dimensional, repeats a node or is on a GPU that cannot
                read the graph; `epoch` or `batch` is out of range.
        """
        n_id = self._checked(seeds)
        _check_counter("epoch", epoch)
        _check_counter("batch", batch)
        frontier, nodes, edges = n_id, [n_id.numel()], []
        for hop, k in enumerate(self.fanout):
            key = _hop_key(self.seed, epoch, batch, hop)
            src, row = self._sample_hop(frontier, k, key)
            dst = row + (n_id.numel() - frontier.numel())
            found = torch.unique(src)
            frontier = found[torch.isin(found, n_id, assume_unique=True, invert=True)]
            n_id = torch.cat([n_id, frontier])
            edges.append(torch.stack([_local_ids(n_id, src), dst]))
            nodes.append(frontier.numel())
        counts = [hop_edges.size(1) for hop_edges in edges]
        return Batch(n_id, torch.cat(edges, dim=1), nodes[0], nodes, counts)

    def _checked(self, seeds: Tensor) -> Tensor:
        """Return the seeds as int64 on the device of the batch, or raise."""
        if seeds.dtype not in (torch.int32, torch.int64):
            raise TypeError(
                f"seeds is {seeds.dtype}; expected torch.int32 or torch.int64: convert node ids "
                "with .long(), and a mask with .nonzero().squeeze(1)"
            )
        if seeds.dim() != 1:
            raise ValueError(
                f"seeds has shape {tuple(seeds.shape)}; expected one dimension: use .flatten()"
            )
        indptr = self.graph.indptr
        if seeds.is_cuda and not indptr.is_cuda:
            raise ValueError(
                f"seeds is on {seeds.device} and the graph on {indptr.device}; expected a graph "
                "that the GPU reads (graph.to_unified() or graph.to(device)), or seeds.cpu()"
            )
        outside = seeds[(seeds < 0) | (seeds >= self.graph.num_nodes)]
        if outside.numel() > 0:
            raise IndexError(
                f"seed {int(outside[0])} is outside the graph; expected node ids in "
                f"[0, {self.graph.num_nodes})"
            )
        distinct, count = torch.unique(seeds, return_counts=True)
        if distinct.numel() < seeds.numel():
            raise ValueError(
                f"seed {int(distinct[count > 1][0])} is given more than once; expected distinct "
                "nodes: use torch.unique(seeds)"
            )
        return seeds.to(indptr[seeds].device, torch.int64)

    def _sample_hop(
        self, nodes: Tensor, fanout: int, key: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Draw in-edges of `nodes`: global source ids, and for each the position of its node."""
        start, degree = self.graph.indptr[nodes], self.graph.degree(nodes)
        count = degree if fanout == ALL else degree.clamp(max=fanout)
        row = torch.arange(nodes.numel(), device=nodes.device).repeat_interleave(count)
        first = count.cumsum(0) - count
        offset = torch.arange(row.numel(), device=nodes.device) - first[row]
        drawn = count < degree
        if fanout != ALL:
            offset[drawn[row]] = _floyd(nodes[drawn], degree[drawn], fanout, key).flatten()
        return self.graph.indices[start[row] + offset].long(), row


def _hop_key(seed: int, epoch: int, batch: int, hop: int) -> tuple[int, int]:
    """Return the Philox key for the draws of one hop, itself drawn by Philox under the seed."""
    word0, word1, _, _ = philox((epoch, batch, hop, 0), split(seed))
    return word0, word1


def _floyd(nodes: Tensor, degree: Tensor, size: int, key: tuple[int, int]) -> Tensor:
    """Draw for every node a uniform set of `size` numbers below its degree, which is larger.

    Step `i` draws from the first `last + 1` numbers, where `last = degree - size + i`, and takes
    `last` itself if the number drawn is in the set already.

    Returns:
        int64 `[num nodes, size]`, ascending in each row.
    """
    if degree.numel() > 0 and (largest := int(degree.max())) > MAX_BOUND:
        raise ValueError(f"a node has {largest} in-edges; expected at most {MAX_BOUND}")
    high, low = _random_words(nodes, size, key)
    chosen = torch.empty(nodes.numel(), size, dtype=torch.int64, device=nodes.device)
    for i in range(size):
        last = degree - size + i
        number = bounded(high[:, i], low[:, i], last + 1)
        taken = (chosen[:, :i] == number[:, None]).any(dim=1)
        chosen[:, i] = torch.where(taken, last, number)
    return chosen.sort(dim=1).values


def _random_words(nodes: Tensor, size: int, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return `size` random 64-bit words for every node, as upper and lower words `[nodes, size]`.

    Words `2 * block` and `2 * block + 1` of a node come from the counter
    `(lower word of the id, upper word of the id, block, 0)`.
    """
    ids = nodes[:, None]
    block = torch.arange((size + 1) // 2, device=nodes.device)[None, :]
    words = philox((ids & 0xFFFF_FFFF, ids >> 32, block, torch.zeros_like(block)), key)
    high = torch.stack(words[0::2], dim=2).flatten(1)
    low = torch.stack(words[1::2], dim=2).flatten(1)
    return high[:, :size], low[:, :size]


def _local_ids(n_id: Tensor, nodes: Tensor) -> Tensor:
    """Return the position of each of `nodes` in `n_id`, which holds them all, once."""
    ascending, position = torch.sort(n_id)
    return position[torch.searchsorted(ascending, nodes)]


def _check_counter(name: str, value: int) -> None:
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} is {value}; expected a number from 0 to {2**32 - 1}")
