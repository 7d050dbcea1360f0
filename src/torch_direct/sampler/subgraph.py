"""Other edges among the nodes of a batch than those that were sampled, as PyG's subgraph types."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.kernels.sample import ALL, Hop, Relation, reference
from torch_direct.sampler.batch import Batch, HeteroBatch
from torch_direct.tensor.gather import gather

_EVERY_EDGE = Hop(ALL, (0, 0), replace=False)


def bidirectional(batch: Batch) -> Batch:
    """Return a batch with the sampled edges and their reverses, one of each. Waits for the GPU.

    Edges lie by destination, then by source. An edge that was sampled has its own id, of several
    the first; any other has that of the edge that it reverses.
    """
    src, dst = batch.edge_index
    num_nodes = batch.n_id.numel()
    pairs = torch.cat([dst * num_nodes + src, src * num_nodes + dst])
    pair, order = torch.sort(pairs, stable=True)
    first = pair.diff(prepend=pair.new_full((1,), -1)) != 0
    pair = pair[first]
    return replace(
        batch,
        edge_index=torch.stack([pair % num_nodes, pair // num_nodes]),
        e_id=torch.cat([batch.e_id, batch.e_id])[order[first]],
    )


def induced(graph: HeteroGraph, batch: HeteroBatch, seed_time: Tensor | None) -> HeteroBatch:
    """Return a batch with every edge of the graph between its nodes. Waits for the GPU.

    All in-edges of all nodes of the batch are read, so that a hub costs its degree. Where trees are
    disjoint, edges join nodes of one tree, which sees them. Edges lie by destination, then in the
    order of the graph.

    Args:
        graph: The graph that the batch was sampled from.
        batch: A batch as it was sampled.
        seed_time: Time of each seed, where the graph has times.
    """
    trees = max(1, batch.batch_size) if batch.batch is not None else 1
    edge_index, e_id = {}, {}
    for edge_type, edges in graph.graphs.items():
        source, _, target = edge_type
        src, dst = _vertices(batch, source, trees), _vertices(batch, target, trees)
        edge_index[edge_type], e_id[edge_type] = _edges_between(edges, src, dst, trees, seed_time)
    return replace(batch, edge_index=edge_index, e_id=e_id)


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


def _vertices(batch: HeteroBatch, node_type: str, trees: int) -> Tensor:
    """The nodes of a type as `node * trees + tree`."""
    nodes = batch.n_id[node_type]
    return nodes if batch.batch is None else nodes * trees + batch.batch[node_type]


def _edges_between(
    graph: Graph, src: Tensor, dst: Tensor, trees: int, seed_time: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The edges between vertices: their places `[2, num edges]`, and edge ids."""
    relation = Relation(
        graph.indptr, graph.indices, edge_time=graph.edge_time, node_time=graph.node_time
    )
    nodes, tree = dst // trees, dst % trees
    begin, degree = reference.in_edges(relation, nodes, tree, seed_time, _EVERY_EDGE)
    position, row = reference.draw(nodes, tree, begin, degree, _EVERY_EDGE)
    source = graph.indices[position].long() * trees + tree[row]
    ascending, place = torch.sort(src)
    at = torch.searchsorted(ascending, source)
    inside = torch.cat([ascending, ascending.new_full((1,), -1)])[at] == source
    edge_index = torch.stack([place[at[inside]], row[inside]])
    return edge_index, edge_ids(graph, position[inside], ascending=False)
