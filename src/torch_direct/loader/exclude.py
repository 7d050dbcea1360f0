"""Edges that link prediction must not see, and links that are no negatives."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch_geometric.sampler import SamplerOutput

from torch_direct.graph import EdgeType, Graph
from torch_direct.loader.outputs import Output


def are_edges(graph: Graph, src: Tensor, dst: Tensor) -> Tensor:
    """Whether there is an edge from each source to its destination.

    All in-edges of the destinations are read: a hub costs its degree.

    Args:
        graph: In host memory, or on a GPU, which the host then waits for.
        src: int64 `[count]`, on the CPU.
        dst: Likewise.

    Returns:
        bool `[count]`, on the CPU.
    """
    home = graph.indptr.device
    src, dst = src.to(home), dst.to(home)
    begin, end = graph.indptr[dst].long(), graph.indptr[dst + 1].long()
    degree = end - begin
    pair = torch.repeat_interleave(degree)
    first = degree.cumsum(0) - degree
    position = torch.arange(pair.numel(), device=home) - first[pair] + begin[pair]
    found = torch.zeros_like(dst, dtype=torch.bool)
    found[pair[graph.indices[position] == src[pair]]] = True
    return found.cpu()


def without_links(output: Output, src: Tensor, dst: Tensor, edge_type: EdgeType | None) -> Output:
    """Take links and their reverses out of the edges that were sampled.

    The reverse of an edge of type `(a, r, b)` is one of type `(b, "rev_r", a)`, as PyG's
    `ToUndirected` calls it. Waits for the GPU. Nodes that are no longer reached stay.

    Args:
        output: What was sampled.
        src: Global ids of the sources of the links, int64 `[count]`.
        dst: Of their destinations.
        edge_type: The type of the links, in heterogeneous graphs.
    """
    counts = output.num_sampled_edges
    if isinstance(output, SamplerOutput):
        links = torch.cat([src, dst]), torch.cat([dst, src])
        keep = _others(output.node[output.row], output.node[output.col], links)
        return replace(
            output,
            row=output.row[keep],
            col=output.col[keep],
            edge=output.edge[keep],
            num_sampled_edges=None if counts is None else _counts(keep, counts),
        )
    source, relation, destination = edge_type or ("", "", "")
    row, col, edge = dict(output.row), dict(output.col), dict(output.edge)
    counts = None if counts is None else dict(counts)
    for kind, links in (
        ((source, relation, destination), (src, dst)),
        ((destination, f"rev_{relation}", source), (dst, src)),
    ):
        if kind in row:
            ends = output.node[kind[0]][row[kind]], output.node[kind[-1]][col[kind]]
            keep = _others(*ends, links)
            row[kind], col[kind], edge[kind] = row[kind][keep], col[kind][keep], edge[kind][keep]
            if counts is not None:
                counts[kind] = _counts(keep, counts[kind])
    return replace(output, row=row, col=col, edge=edge, num_sampled_edges=counts)


def _others(sources: Tensor, destinations: Tensor, links: tuple[Tensor, Tensor]) -> Tensor:
    """Whether each edge is none of the links."""
    src, dst = (end.to(sources.device) for end in links)
    width = torch.cat([destinations, dst]).max() + 1
    return ~torch.isin(sources * width + destinations, src * width + dst)


def _counts(keep: Tensor, counts: list[int]) -> list[int]:
    """How many edges of each hop are kept."""
    kept: list[int] = torch.stack([hop.sum() for hop in keep.split(counts)]).tolist()
    return kept
