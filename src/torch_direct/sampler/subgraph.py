"""Other edges among the nodes of a batch than those that were sampled, as PyG's subgraph types."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.graph.hetero import EdgeType
from torch_direct.kernels.sample import ALL, Hop, Relation, reference
from torch_direct.sampler.batch import Batch, DrawnEdges, HeteroBatch
from torch_direct.sampler.views import seen_from

_EVERY_EDGE = Hop(ALL, (0, 0), replace=False)
REVERSE = "rev_"
"""How PyG's `ToUndirected` begins the name of the relation whose edges are reverses."""


def bidirectional(batch: Batch) -> Batch:
    """Return a batch with the sampled edges and their reverses, one of each. Waits for the GPU.

    Edges lie by destination, then by source. An edge that was sampled has its own id, of several
    the first; any other has that of the edge that it reverses.
    """
    edge_index, chosen = _both_ways(batch.edge_index, batch.edge_index, batch.n_id.numel())
    position = batch._edges.position
    edges = replace(batch._edges, position=torch.cat([position, position])[chosen], ascending=False)
    return replace(batch, edge_index=edge_index, _edges=edges)


def bidirectional_by_type(batch: HeteroBatch) -> HeteroBatch:
    """Return a batch in which edge types have the reverses of their reverse type's edges too.

    One edge of each pair of nodes, by destination, then by source; without ids. Edge types without
    a reverse type stay as they are. Waits for the GPU.
    """
    edge_index, edges = dict(batch.edge_index), dict(batch._edges)
    for kind in batch.edge_index:
        reverse = reverse_type(kind, batch.edge_index)
        if reverse is not None:
            ends = batch.edge_index[kind], batch.edge_index[reverse]
            edge_index[kind], _ = _both_ways(*ends, batch.n_id[kind[0]].numel())
            edges[kind] = None
    return replace(batch, edge_index=edge_index, _edges=edges)


def reverse_type(edge_type: EdgeType, edge_types: Collection[EdgeType]) -> EdgeType | None:
    """Return the type of the reverses of a type's edges, as PyG finds it, or None.

    It is the one of the same relation with `rev_` before it, or without; itself, where both ends
    are of one type; or the only one that leads back.
    """
    source, relation, target = edge_type
    if relation.startswith(REVERSE):
        forward = (target, relation.removeprefix(REVERSE), source)
        return forward if forward in edge_types else None
    named = (target, REVERSE + relation, source)
    if named in edge_types:
        return named
    if source == target:
        return edge_type
    back = [kind for kind in edge_types if (kind[0], kind[-1]) == (target, source)]
    return back[0] if len(back) == 1 else None


def _both_ways(edges: Tensor, back: Tensor, num_sources: int) -> tuple[Tensor, Tensor]:
    """Edges and the reverses of others, one of each; and which of the two lists, joined, each is.

    Args:
        edges: `[2, num edges]`.
        back: `[2, num others]`, which lead the other way.
        num_sources: nodes that `edges` may come from.
    """
    src, dst = torch.cat([edges, back.flip(0)], dim=1)
    pair, order = torch.sort(dst * num_sources + src, stable=True)
    first = pair.diff(prepend=pair.new_full((1,), -1)) != 0
    chosen = order[first]
    return torch.stack([src[chosen], dst[chosen]]), chosen


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
    edge_index, drawn = {}, {}
    for edge_type, edges in graph.graphs.items():
        source, _, target = edge_type
        src, dst = _vertices(batch, source, trees), _vertices(batch, target, trees)
        edge_index[edge_type], drawn[edge_type] = _edges_between(edges, src, dst, trees, seed_time)
    return replace(batch, edge_index=edge_index, _edges=drawn)


def _vertices(batch: HeteroBatch, node_type: str, trees: int) -> Tensor:
    """The nodes of a type as `node * trees + tree`."""
    nodes = batch.n_id[node_type]
    return nodes if batch.batch is None else nodes * trees + batch.batch[node_type]


def _edges_between(
    graph: Graph, src: Tensor, dst: Tensor, trees: int, seed_time: Tensor | None
) -> tuple[Tensor, DrawnEdges]:
    """The edges between vertices: the places of their ends `[2, num edges]`, and which they are."""
    indptr, indices = (seen_from(dst.device, tensor) for tensor in (graph.indptr, graph.indices))
    edge_time, node_time = (
        None if tensor is None else seen_from(dst.device, tensor)
        for tensor in (graph.edge_time, graph.node_time)
    )
    relation = Relation(indptr, indices, edge_time=edge_time, node_time=node_time)
    nodes, tree = dst // trees, dst % trees
    begin, degree = reference.in_edges(relation, nodes, tree, seed_time, _EVERY_EDGE)
    position, row = reference.draw(nodes, tree, begin, degree, _EVERY_EDGE)
    source = indices[position].long() * trees + tree[row]
    ascending, place = torch.sort(src)
    at = torch.searchsorted(ascending, source)
    inside = torch.cat([ascending, ascending.new_full((1,), -1)])[at] == source
    edge_index = torch.stack([place[at[inside]], row[inside]])
    return edge_index, DrawnEdges(position[inside], graph.edge_id, ascending=False)
