"""Edges that link prediction must not see, and links that are no negatives."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch_geometric.sampler import SamplerOutput

from torch_direct.graph import EdgeType, Graph
from torch_direct.loader.outputs import Output
from torch_direct.sampler.subgraph import REVERSE

Links: TypeAlias = tuple[Tensor, Tensor]
"""Sources and destinations."""


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

    The reverses of edges of type `(a, r, b)` are those from `b` to `a` of the relation `r`, or of
    the one with `rev_` before it, as PyG's `ToUndirected` calls it, or without; those of another
    name stay, even if they are the only ones that lead back. Waits for the GPU.
    Nodes that are no longer reached stay.

    Args:
        output: What was sampled.
        src: Global ids of the sources of the links, int64 `[count]`.
        dst: Of their destinations.
        edge_type: The type of the links, in heterogeneous graphs.
    """
    counts = output.num_sampled_edges
    if isinstance(output, SamplerOutput):
        keep = _others(output.node[output.row], output.node[output.col], _both(src, dst))
        return replace(
            output,
            row=output.row[keep],
            col=output.col[keep],
            edge=output.edge[keep],
            num_sampled_edges=None if counts is None else _counts(keep, counts),
        )
    row, col, edge = dict(output.row), dict(output.col), dict(output.edge)
    counts = None if counts is None else dict(counts)
    for kind, links in _links_by_type(cast("EdgeType", edge_type), src, dst).items():
        if kind in row:
            ends = output.node[kind[0]][row[kind]], output.node[kind[-1]][col[kind]]
            keep = _others(*ends, links)
            row[kind], col[kind] = row[kind][keep], col[kind][keep]
            if edge[kind] is not None:
                edge[kind] = edge[kind][keep]
            if counts is not None:
                counts[kind] = _counts(keep, counts[kind])
    return replace(output, row=row, col=col, edge=edge, num_sampled_edges=counts)


def _links_by_type(edge_type: EdgeType, src: Tensor, dst: Tensor) -> dict[EdgeType, Links]:
    """The links and their reverses, by the edge types that may hold them."""
    source, relation, target = edge_type
    names = {relation, REVERSE + relation, relation.removeprefix(REVERSE)}
    reverses = {(target, name, source): (dst, src) for name in names}
    return reverses | {edge_type: _both(src, dst) if source == target else (src, dst)}


def _both(src: Tensor, dst: Tensor) -> Links:
    """Links and their reverses."""
    return torch.cat([src, dst]), torch.cat([dst, src])


def _others(sources: Tensor, destinations: Tensor, links: Links) -> Tensor:
    """Whether each edge is none of the links."""
    src, dst = (end.to(sources.device) for end in links)
    ends = torch.cat([destinations, dst])
    width = ends.max() + 1 if ends.numel() > 0 else 1
    return ~torch.isin(sources * width + destinations, src * width + dst)


def _counts(keep: Tensor, counts: list[int]) -> list[int]:
    """How many edges of each hop are kept."""
    kept: list[int] = torch.stack([hop.sum() for hop in keep.split(counts)]).tolist()
    return kept
