"""Other edges among the nodes of a batch than those that were sampled, as PyG's subgraph types."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_direct.graph import Graph
from torch_direct.kernels.sample import ALL, Hop, reference
from torch_direct.sampler.neighbor import Batch, edge_ids

_EVERY_EDGE = Hop(ALL, (0, 0), replace=False)


def bidirectional(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the sampled edges and their reverses, one of each. Waits for the GPU.

    Args:
        batch: A batch as it was sampled.

    Returns:
        Local ids `[2, num edges]`, by destination, then by source, and edge ids `[num edges]`: an
        edge that was sampled has its own, of several the first; any other has that of the edge that
        it reverses. All int64.
    """
    src, dst = batch.edge_index
    num_nodes = batch.n_id.numel()
    pairs = torch.cat([dst * num_nodes + src, src * num_nodes + dst])
    pair, order = torch.sort(pairs, stable=True)
    first = pair.diff(prepend=pair.new_full((1,), -1)) != 0
    pair = pair[first]
    edge_index = torch.stack([pair % num_nodes, pair // num_nodes])
    return edge_index, torch.cat([batch.e_id, batch.e_id])[order[first]]


def induced(graph: Graph, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return every edge of the graph between nodes of the batch. Waits for the GPU.

    All in-edges of all nodes of the batch are read, so that a hub costs its degree. Where trees are
    disjoint, edges join nodes of one tree.

    Args:
        graph: The graph that the batch was sampled from.
        batch: A batch as it was sampled.

    Returns:
        Local ids `[2, num edges]`, by destination, then in the order of the graph, and edge ids
        `[num edges]`. All int64.
    """
    nodes, trees = batch.n_id, max(1, batch.batch_size)
    tree = torch.zeros_like(nodes) if batch.batch is None else batch.batch
    begin, degree = reference.in_edges(graph.indptr, nodes)
    position, dst = reference.draw(nodes, tree, begin, degree, _EVERY_EDGE)
    met, place = torch.sort(nodes * trees + tree)
    source = graph.indices[position] * trees + tree[dst]
    at = torch.searchsorted(met, source).clamp_(max=max(0, met.numel() - 1))
    inside = met[at] == source
    edge_index = torch.stack([place[at[inside]], dst[inside]])
    return edge_index, edge_ids(graph, position[inside], ascending=False)
