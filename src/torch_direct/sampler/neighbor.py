"""Neighbour sampling: for every node, up to `fanout` of its in-neighbours, hop by hop.

The scheme is that of GraphSAGE (Hamilton, Ying and Leskovec, "Inductive Representation Learning on
Large Graphs", NeurIPS 2017). The cost of a node grows with the fanout and not with the degree: a
hub costs what any other node does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_direct.graph import Graph
from torch_direct.kernels.philox import philox, split
from torch_direct.kernels.sample import ALL, Hop, Sample, sample_hops
from torch_direct.tensor.gather import gather
from torch_direct.tensor.host_view import HostView


@dataclass(frozen=True, eq=False)
class Batch:
    """Seed nodes and the neighbourhood sampled for them, relabelled from 0.

    All tensors are int64 and on one device. The counts by hop follow PyG, so that
    `torch_geometric.utils.trim_to_layer` takes them.
    """

    n_id: Tensor
    """Global node ids `[num sampled nodes]`: the seeds in their order, then hop by hop the nodes
    first met there, ascending within a hop. Its place here is a node's local id. Where trees are
    disjoint, a node is here once for each tree that met it, ascending in the tree."""
    edge_index: Tensor
    """Local ids `[2, num sampled edges]`, row 0 the source, row 1 the destination; hop by hop, then
    by destination, then in the order of the graph."""
    batch_size: int
    """Number of seed nodes: the first `batch_size` entries of `n_id`."""
    num_sampled_nodes: list[int]
    """Nodes first met in each hop, `num hops + 1` entries; the first is `batch_size`."""
    num_sampled_edges: list[int]
    """Edges sampled in each hop, `num hops` entries."""
    e_id: Tensor
    """Which edge of the graph each sampled edge is `[num sampled edges]`: its id, where the graph
    has edge ids, else its place in `indices`."""
    batch: Tensor | None = None
    """Tree of each node `[num sampled nodes]`, the place of its seed; None unless disjoint."""


class NeighborSampler:
    """Draws the random neighbourhoods of mini-batches.

    A draw depends on nothing but the graph, `(seed, epoch, batch, hop, node, tree)` and the fanout:
    the same arguments give the same batch bit for bit, on every device and in any order of calls.
    Where trees are not disjoint, all seeds share tree 0.
    """

    def __init__(
        self,
        graph: Graph,
        fanout: Sequence[int],
        *,
        seed: int = 0,
        replace: bool = False,
        disjoint: bool = False,
    ) -> None:
        """Keep the graph and the fanout; nothing is computed.

        Args:
            graph: Where to sample; on the CPU, on a GPU, or unified. No node may have more than
                `2**31 - 1` in-edges.
            fanout: Largest number of in-neighbours to draw for a node, one entry for each hop,
                nearest the seeds first; -1 takes all. On a GPU, -1 makes the host wait in that hop.
            seed: From `-2**63` to `2**64 - 1`.
            replace: Draw with replacement: `fanout` edges, repeats among them, for every node that
                has an in-edge.
            disjoint: Give every seed a tree of its own: a node that is met from two seeds is two
                nodes of the batch, and is drawn for twice.

        Raises:
            ValueError: `fanout` is empty or has an entry that is neither -1 nor positive; `seed`
                does not fit into 64 bits; edges of the graph lead from one set of nodes to another.
        """
        if graph.num_src_nodes != graph.num_nodes:
            raise ValueError(
                f"the graph leads from {graph.num_src_nodes} nodes to {graph.num_nodes} others; "
                "expected one set of nodes: give both the same ids"
            )
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
        self.replace = replace
        self.disjoint = disjoint

    def sample(self, seeds: Tensor, *, epoch: int = 0, batch: int = 0) -> Batch:
        """Sample the neighbourhood of `seeds`.

        A node is expanded once, in the hop after the one in which it was first met; a node with no
        more in-edges than the fanout gets all of them, unless they are drawn with replacement.

        On a GPU the kernels are queued on the current stream, and the host waits for them once.

        Args:
            seeds: Node ids, int32 or int64 `[batch_size]`; may be empty. Distinct, unless trees are
                disjoint. They may be on the CPU whatever the graph is on, and on any GPU if the
                graph is on it or unified.
            epoch: Number of the epoch, from 0 to `2**32 - 1`; another one gives another draw.
            batch: Number of the batch in its epoch, likewise.

        Returns:
            The batch, on the device of the seeds if that is a GPU, else on that which reads the
            graph.

        Raises:
            IndexError: A seed lies outside the graph.
            TypeError: `seeds` is not int32 or int64.
            ValueError: `seeds` is not one-dimensional, repeats a node or is on a GPU that cannot
                read the graph; `epoch` or `batch` is out of range.
        """
        _check_counter("epoch", epoch)
        _check_counter("batch", batch)
        device = self._device_for(seeds)
        hops = [
            Hop(k, _hop_key(self.seed, epoch, batch, hop), self.replace)
            for hop, k in enumerate(self.fanout)
        ]
        sample = sample_hops(
            _seen_from(device, self.graph.indptr),
            _seen_from(device, self.graph.indices),
            _moved(seeds, device),
            hops,
            disjoint=self.disjoint,
            over_link=isinstance(self.graph.indices, HostView),
        )
        return self._as_batch(sample, seeds.numel())

    def _device_for(self, seeds: Tensor) -> torch.device:
        """Where a batch of these seeds is sampled, or raise."""
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
        if seeds.device.type == "cpu" or seeds.device == indptr.device:
            return indptr.device
        if not isinstance(indptr, HostView) or not indptr.is_cuda:
            raise ValueError(
                f"seeds is on {seeds.device} and the graph on {indptr.device}; expected a graph "
                "that the GPU reads (graph.to_unified() or graph.to(device)), or seeds.cpu()"
            )
        return seeds.device

    def _as_batch(self, sample: Sample, batch_size: int) -> Batch:
        e_id = edge_ids(self.graph, sample.position, ascending=not self.disjoint)
        n_id, tree = sample.vertices, None
        if self.disjoint:
            trees = max(1, batch_size)
            n_id, tree = sample.vertices // trees, sample.vertices % trees
        return Batch(
            n_id, sample.edge_index, batch_size, sample.num_vertices, sample.num_edges, e_id, tree
        )


def edge_ids(graph: Graph, position: Tensor, *, ascending: bool) -> Tensor:
    """Return the ids of edges, given their places in `graph.indices`.

    Args:
        graph: The graph.
        position: int64 `[num edges]`.
        ascending: Whether the places ascend, or nearly so: they are then read as they come.
    """
    if graph.edge_id is None:
        return position
    return gather(graph.edge_id, position, sorted=ascending).long()


def _seen_from(device: torch.device, tensor: Tensor) -> Tensor:
    """A unified tensor as the plain one that kernels on a GPU read; others as they are."""
    if device.type != "cuda" or not isinstance(tensor, HostView):
        return tensor
    alias: Tensor = tensor.seen_from(device).alias
    return alias


def _moved(seeds: Tensor, device: torch.device) -> Tensor:
    """The seeds as int64 on a device, without waiting for it."""
    if device.type != "cuda" or seeds.is_cuda:
        return _seen_from(device, seeds).to(device, torch.int64)
    return seeds.long().pin_memory().to(device, non_blocking=True)


def _hop_key(seed: int, epoch: int, batch: int, hop: int) -> tuple[int, int]:
    """Return the Philox key for the draws of one hop, itself drawn by Philox under the seed."""
    word0, word1, _, _ = philox((epoch, batch, hop, 0), split(seed))
    return word0, word1


def _check_counter(name: str, value: int) -> None:
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} is {value}; expected a number from 0 to {2**32 - 1}")
