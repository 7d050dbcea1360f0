"""Neighbour sampling: for every node, up to `fanout` of its in-neighbours, hop by hop.

The scheme is that of GraphSAGE (Hamilton, Ying and Leskovec, "Inductive Representation Learning on
Large Graphs", NeurIPS 2017). The cost of a node grows with the fanout and not with the degree: a
hub costs what any other node does.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import cast, overload

import torch
from torch import Tensor

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.graph.hetero import EdgeType, named
from torch_direct.kernels.philox import philox, split
from torch_direct.kernels.sample import Hop, Relation, Sample, Seeds, sample_hops
from torch_direct.sampler.arguments import (
    EDGES,
    NODES,
    as_hetero,
    check_choice,
    counter_number,
    device_for,
    fanout_by_type,
    seed_number,
    seeds_by_type,
    time_dtype,
    times_by_type,
)
from torch_direct.sampler.batch import Batch, DrawnEdges, HeteroBatch
from torch_direct.sampler.subgraph import (
    bidirectional,
    bidirectional_by_type,
    induced,
    reverse_type,
)
from torch_direct.sampler.views import alias_for, moved
from torch_direct.sampler.weights import weight_prefix, without_zeros
from torch_direct.tensor.gather import gather
from torch_direct.tensor.host_view import HostView


class NeighborSampler:
    """Draws the random neighbourhoods of mini-batches.

    A draw depends on nothing but the graph, `(seed, epoch, batch, hop, node, tree)`, the number of
    the edge type and the fanout: the same arguments give the same batch bit for bit, on every
    device and in any order of calls. Where trees are not disjoint, all seeds share tree 0.

    Where edges or nodes of the graph have times, a tree sees no edge that is, or comes from a node
    that is, later than its seed. Edges of a type without times are seen always.

    Attributes are for reading: make another sampler to change one.

    On a GPU the arrays of the last batches are kept for the next ones of about as many seeds: up
    to 512 MiB, of all samplers of the process together.
    """

    def __init__(
        self,
        graph: Graph | HeteroGraph,
        fanout: Sequence[int] | Mapping[EdgeType, Sequence[int]],
        *,
        seed: int = 0,
        replace: bool = False,
        disjoint: bool = False,
        weighted: bool = False,
        temporal_strategy: str = "uniform",
        subgraph_type: str = "directional",
    ) -> None:
        """Keep the graph and the fanout; only weights are read.

        Args:
            graph: Where to sample; on the CPU, on a GPU, or unified. No node may have more than
                `2**31 - 1` in-edges of a type.
            fanout: Largest number of in-neighbours to draw for a node, one entry for each hop,
                nearest the seeds first; -1 takes all, 0 none. On a GPU, -1 makes the host wait in
                that hop. For a heterogeneous graph, so many of each edge type; or by edge type,
                every one named, with as many hops.
            seed: From `-2**63` to `2**64 - 1`.
            replace: Draw with replacement: `fanout` edges, repeats among them, for every node that
                has an in-edge.
            disjoint: Give every seed a tree of its own: a node that is met from two seeds is two
                nodes of the batch, and is drawn for twice. Times imply it.
            weighted: Draw edges, of the types that have weights, in proportion to these; without
                replacement one after the other, each among those left. An edge of weight 0 is
                never sampled. Takes 8 bytes an edge more, where the graph lies.
            temporal_strategy: Where there are times, `uniform` draws among all in-edges that are
                seen, `last` among the `fanout` latest of them.
            subgraph_type: `directional` gives the edges that were sampled. `bidirectional` adds
                their reverses, and keeps one edge of each pair of nodes; in a heterogeneous graph
                an edge type is joined with that of its reverses, `("b", "rev_r", "a")` for
                `("a", "r", "b")`, or with itself, or with the only one that leads back, and has no
                `e_id` then. `induced` gives all edges of the graph between nodes of the batch, at
                the cost of reading all their in-edges. The last two make the host wait. As PyG has
                them.

        Raises:
            GraphError: Edges are to be drawn by weight, and one is negative or not finite.
            TypeError: `graph` is neither a `Graph` nor a `HeteroGraph`, `fanout` holds other than
                integers, or `seed` is none.
            ValueError: `fanout` is empty, has an entry that is no number of neighbours, or does not
                fit the edge types; `seed` does not fit into 64 bits; edges of the graph lead from
                one set of nodes to another; there are no edge types, or no weights where edges are
                to be drawn by them; a strategy or a type of subgraph does not exist.
        """
        check_choice("temporal_strategy", temporal_strategy, "uniform", "last")
        check_choice("subgraph_type", subgraph_type, "directional", "bidirectional", "induced")
        self.seed = seed_number(seed)
        if isinstance(graph, HeteroGraph) and subgraph_type == "bidirectional":
            _warn_of_one_way(graph)
        self.graph = graph
        self.fanout = fanout
        self.replace = replace
        self.weighted = weighted
        self.temporal_strategy = temporal_strategy
        self.subgraph_type = subgraph_type
        self._fanout = fanout_by_type(graph, fanout)
        self._whole = as_hetero(graph)
        self._time_dtype = time_dtype(self._whole)
        self.disjoint = disjoint or self._time_dtype is not None
        self._graphs = dict(self._whole.graphs)
        self._prefix: dict[EdgeType, Tensor] = {}
        if weighted:
            self._prepare_weights()

    @overload
    def sample(
        self,
        seeds: Tensor,
        *,
        seed_time: Tensor | None = None,
        input_type: None = None,
        seed: int | None = None,
        epoch: int = 0,
        batch: int = 0,
        disjoint: bool = False,
    ) -> Batch: ...

    @overload
    def sample(
        self,
        seeds: Tensor,
        *,
        seed_time: Tensor | None = None,
        input_type: str,
        seed: int | None = None,
        epoch: int = 0,
        batch: int = 0,
        disjoint: bool = False,
    ) -> HeteroBatch: ...

    @overload
    def sample(
        self,
        seeds: Mapping[str, Tensor],
        *,
        seed_time: Mapping[str, Tensor] | None = None,
        input_type: None = None,
        seed: int | None = None,
        epoch: int = 0,
        batch: int = 0,
        disjoint: bool = False,
    ) -> HeteroBatch: ...

    def sample(
        self,
        seeds: Tensor | Mapping[str, Tensor],
        *,
        seed_time: Tensor | Mapping[str, Tensor] | None = None,
        input_type: str | None = None,
        seed: int | None = None,
        epoch: int = 0,
        batch: int = 0,
        disjoint: bool = False,
    ) -> Batch | HeteroBatch:
        """Sample the neighbourhood of `seeds`.

        A node is expanded once, in the hop after the one in which it was first met; a node with no
        more in-edges than the fanout gets all of them, unless they are drawn with replacement.

        On a GPU the kernels are queued on the current stream, and the host waits for them once; for
        hops that take all neighbours, or more than 1024 of a node, also in the hop.

        Args:
            seeds: Node ids, int32 or int64 `[batch_size]`; may be empty. Distinct, unless trees are
                disjoint. They may be on the CPU whatever the graph is on, and on any GPU if the
                graph is on it or unified. For a heterogeneous graph of one type, `input_type`; or
                by node type, where disjoint trees are numbered in the order of the types given.
            seed_time: Time of each seed, in the form of `seeds`, for a graph with times: integers
                where these are integers, floating-point where they are. By default the time of the
                node.
            input_type: Type of the seeds, for a heterogeneous graph and one tensor of seeds.
            seed: In place of that of the sampler.
            epoch: Number of the epoch, from 0 to `2**32 - 1`; another one gives another draw.
            batch: Number of the batch in its epoch, likewise.
            disjoint: Give every seed a tree of its own here, whatever the sampler does.

        Returns:
            The batch, on the device of the seeds if that is a GPU, else on that which reads the
            graph. A `HeteroBatch` for a heterogeneous graph.

        Raises:
            IndexError: A seed lies outside the graph.
            TypeError: `seeds` is no tensor of int32 or int64, or `seed`, `epoch` or `batch` no
                integer; `seed_time` is not of the kind that the times of the graph are of.
            ValueError: `seeds` is not one-dimensional, repeats a node or is on a GPU that cannot
                read the graph; `seed`, `epoch` or `batch` is out of range; `input_type` is missing
                or no node type; `seed_time` is missing, of another shape, or given for a graph
                without times.
        """
        seed = self.seed if seed is None else seed_number(seed)
        epoch, batch = counter_number("epoch", epoch), counter_number("batch", batch)
        groups = seeds_by_type(self.graph, seeds, input_type)
        device = device_for(self._whole, groups)
        start = Seeds(
            [
                (self._whole.node_types.index(node_type), moved(nodes, device, torch.int64))
                for node_type, nodes in groups.items()
            ],
            self.disjoint or disjoint,
            self._seed_time(groups, seed_time, device),
        )
        sample = sample_hops(
            [self._relation(edge_type, device) for edge_type in self._graphs],
            list(self._whole.num_nodes.values()),
            start,
            self._hops(seed, epoch, batch),
            over_link=any(isinstance(g.indices, HostView) for g in self._graphs.values()),
        )
        made = self._as_batch(sample, start, input_type)
        if self.subgraph_type == "induced":
            made = induced(self._whole, made, start.time)
        both_ways = self.subgraph_type == "bidirectional"
        if isinstance(self.graph, HeteroGraph):
            return bidirectional_by_type(made) if both_ways else made
        alone = _of_one_type(made)
        return bidirectional(alone) if both_ways else alone

    def _prepare_weights(self) -> None:
        weighted = [name for name, graph in self._graphs.items() if graph.weight is not None]
        if not weighted:
            raise ValueError(
                "weighted is True and the graph has no weights; expected one for every edge: make "
                "it with edge_weight= or weight_attr=, or leave weighted out"
            )
        for name in weighted:
            with nullcontext() if name == EDGES else named(f"edge type {name}"):
                self._graphs[name] = without_zeros(self._graphs[name])
            self._prefix[name] = weight_prefix(self._graphs[name])

    def _hops(self, seed: int, epoch: int, batch: int) -> list[list[Hop]]:
        last = self.temporal_strategy == "last"
        num_hops = len(next(iter(self._fanout.values())))
        return [
            [
                Hop(fanout[hop], _hop_key(seed, epoch, batch, hop, kind), self.replace, last)
                for kind, fanout in enumerate(self._fanout.values())
            ]
            for hop in range(num_hops)
        ]

    def _relation(self, edge_type: EdgeType, device: torch.device) -> Relation:
        graph, node_types = self._graphs[edge_type], self._whole.node_types

        def seen(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else alias_for(device, tensor)

        return Relation(
            alias_for(device, graph.indptr),
            alias_for(device, graph.indices),
            node_types.index(edge_type[0]),
            node_types.index(edge_type[2]),
            seen(self._prefix.get(edge_type)),
            seen(graph.edge_time),
            seen(graph.node_time),
        )

    def _seed_time(
        self,
        seeds: Mapping[str, Tensor],
        seed_time: Tensor | Mapping[str, Tensor] | None,
        device: torch.device,
    ) -> Tensor | None:
        """Return the time of each tree, or None where there are no times."""
        if seed_time is None:
            if self._time_dtype is None:
                return None
            seed_time = {kind: self._times_of(kind, nodes, device) for kind, nodes in seeds.items()}
        times = times_by_type(seeds, seed_time, self._time_dtype)
        dtype = self._time_dtype or torch.int64
        return torch.cat([moved(time, device, dtype) for time in times.values()])

    def _times_of(self, node_type: str, nodes: Tensor, device: torch.device) -> Tensor:
        time = self._whole.node_time.get(node_type)
        if time is None:
            raise ValueError(
                "seed_time is missing and the seeds have no time of their own; expected the time "
                "of each seed: pass seed_time, or sample a graph without times"
            )
        inside = moved(nodes, device, torch.int64).clamp(0, max(0, time.numel() - 1))
        return gather(time, inside)

    def _as_batch(self, sample: Sample, seeds: Seeds, input_type: str | None) -> HeteroBatch:
        node_types, edge_types = self._whole.node_types, self._whole.edge_types
        trees = seeds.num_trees
        edges = [
            DrawnEdges(position, graph.edge_id, ascending=not seeds.disjoint)
            for graph, position in zip(self._graphs.values(), sample.position, strict=True)
        ]
        n_id, tree = sample.vertices, None
        if seeds.disjoint:
            tree = dict(zip(node_types, [some % trees for some in n_id], strict=True))
            n_id = [some // trees for some in n_id]
        return HeteroBatch(
            dict(zip(node_types, n_id, strict=True)),
            dict(zip(edge_types, sample.edge_index, strict=True)),
            seeds.num_seeds,
            input_type,
            dict(zip(node_types, sample.num_vertices, strict=True)),
            dict(zip(edge_types, sample.num_edges, strict=True)),
            tree,
            dict(zip(edge_types, edges, strict=True)),
        )


def _of_one_type(batch: HeteroBatch) -> Batch:
    return Batch(
        batch.n_id[NODES],
        batch.edge_index[EDGES],
        batch.batch_size,
        batch.num_sampled_nodes[NODES],
        batch.num_sampled_edges[EDGES],
        None if batch.batch is None else batch.batch[NODES],
        cast(DrawnEdges, batch._edges[EDGES]),
    )


def _warn_of_one_way(graph: HeteroGraph) -> None:
    """Warn of edge types whose edges have no reverses in a bidirectional subgraph."""
    one_way = [kind for kind in graph.edge_types if reverse_type(kind, graph.edge_types) is None]
    if one_way:
        warnings.warn(
            f"subgraph_type is 'bidirectional' and {one_way} have no edge type of their reverses; "
            "their edges stay as they are sampled. Add them with torch_geometric.transforms."
            "ToUndirected, or use 'directional'.",
            stacklevel=3,
        )


def _hop_key(seed: int, epoch: int, batch: int, hop: int, edge_type: int) -> tuple[int, int]:
    """Return the Philox key for the draws of one hop, itself drawn by Philox under the seed."""
    word0, word1, _, _ = philox((epoch, batch, hop, edge_type), split(seed))
    return word0, word1
