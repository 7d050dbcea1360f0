"""Multi-hop sampling in plain PyTorch: runs on any device, and is what kernels must equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_direct.kernels.philox import MAX_BOUND, bounded, philox
from torch_direct.kernels.sample.hops import (
    ALL,
    Hop,
    Sample,
    check_seeds,
    num_trees,
    seed_vertices,
)


def sample_hops(
    indptr: Tensor, indices: Tensor, seeds: Tensor, hops: Sequence[Hop], *, disjoint: bool
) -> Sample:
    """As `torch_direct.kernels.sample.sample_hops`."""
    check_seeds(seeds, indptr.numel() - 1, disjoint=disjoint)
    trees = num_trees(seeds, disjoint=disjoint)
    frontier = vertices = seed_vertices(seeds, disjoint=disjoint)
    num_vertices, positions, edges = [seeds.numel()], [], []
    for hop in hops:
        begin, degree = in_edges(indptr, frontier // trees)
        position, row = draw(frontier // trees, frontier % trees, begin, degree, hop)
        source = indices[position] * trees + frontier[row] % trees
        dst = row + (vertices.numel() - frontier.numel())
        found = torch.unique(source)
        frontier = found[torch.isin(found, vertices, assume_unique=True, invert=True)]
        vertices = torch.cat([vertices, frontier])
        edges.append(torch.stack([_places(vertices, source), dst]))
        positions.append(position)
        num_vertices.append(frontier.numel())
    num_edges = [position.numel() for position in positions]
    edge_index, position = torch.cat(edges, dim=1), torch.cat(positions)
    return Sample(vertices, edge_index, position, num_vertices, num_edges)


def in_edges(indptr: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Where the in-edges of nodes begin and how many there are, int64 `[num nodes]` each."""
    begin = indptr[nodes].long()
    return begin, indptr[nodes + 1].long() - begin


def draw(
    nodes: Tensor, trees: Tensor, begin: Tensor, degree: Tensor, hop: Hop
) -> tuple[Tensor, Tensor]:
    """Draw in-edges, uniformly, each node on its own.

    Args:
        nodes: `[n]`, whose random words depend on nothing else but its tree and the hop's key.
        trees: `[n]`, the tree of each, below `2**32`.
        begin: `[n]`, where the in-edges of each begin.
        degree: `[n]`, how many there are.
        hop: how many to take.

    Returns:
        The places of the edges taken, `[num edges]`, ascending for each node, and for each edge
        the place of its node in `nodes`.

    Raises:
        ValueError: a node that draws has more than `MAX_BOUND` in-edges.
    """
    taken = num_taken(degree, hop)
    row = torch.arange(nodes.numel(), device=nodes.device).repeat_interleave(taken)
    offset = torch.arange(row.numel(), device=nodes.device) - (taken.cumsum(0) - taken)[row]
    if hop.fanout != ALL:
        drawn = taken < degree if not hop.replace else degree > 0
        check_degree(int(degree[drawn].max()) if drawn.any() else 0)
        words = random_words(nodes[drawn], trees[drawn], hop.fanout, hop.key)
        choose = _with_repeats if hop.replace else _floyd
        offset[drawn[row]] = choose(*words, degree[drawn]).sort(dim=1).values.flatten()
    return begin[row] + offset, row


def num_taken(degree: Tensor, hop: Hop) -> Tensor:
    """How many in-edges a hop takes of nodes with these degrees."""
    if hop.fanout == ALL:
        return degree
    return degree.clamp(max=1) * hop.fanout if hop.replace else degree.clamp(max=hop.fanout)


def check_degree(largest: int) -> None:
    """Raise ValueError if a node has more in-edges than can be drawn from."""
    if largest > MAX_BOUND:
        raise ValueError(
            f"a node has {largest} in-edges; expected at most {MAX_BOUND}: split it, or take all "
            "of its in-edges with the fanout -1"
        )


def random_words(
    nodes: Tensor, trees: Tensor, size: int, key: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return `size` random 64-bit words for every node, as upper and lower words `[nodes, size]`.

    Words `2 * block` and `2 * block + 1` of a node come from the counter
    `(lower word of the id, upper word of the id, block, tree)`.
    """
    ids, block = torch.broadcast_tensors(
        nodes[:, None], torch.arange((size + 1) // 2, device=nodes.device)
    )
    words = philox((ids & 0xFFFF_FFFF, ids >> 32, block, trees[:, None]), key)
    high = torch.stack(words[0::2], dim=2).flatten(1)
    low = torch.stack(words[1::2], dim=2).flatten(1)
    return high[:, :size], low[:, :size]


def _with_repeats(high: Tensor, low: Tensor, degree: Tensor) -> Tensor:
    """Draw for every node numbers below its degree, one from each of its words."""
    return bounded(high, low, degree[:, None])


def _floyd(high: Tensor, low: Tensor, degree: Tensor) -> Tensor:
    """Draw for every node a uniform set of numbers below its degree, which is larger.

    Step `i` of `size` draws from the first `last + 1` numbers, where `last = degree - size + i`,
    and takes `last` itself if the number drawn is in the set already (Floyd's set sampling;
    Bentley and Floyd, "A Sample of Brilliance", CACM 1987).
    """
    size = high.size(1)
    chosen = torch.empty(high.shape, dtype=torch.int64, device=high.device)
    for i in range(size):
        last = degree - size + i
        number = bounded(high[:, i], low[:, i], last + 1)
        taken = (chosen[:, :i] == number[:, None]).any(dim=1)
        chosen[:, i] = torch.where(taken, last, number)
    return chosen


def _places(vertices: Tensor, wanted: Tensor) -> Tensor:
    """Return the place of each of `wanted` in `vertices`, which holds them all, once."""
    ascending, place = torch.sort(vertices)
    return place[torch.searchsorted(ascending, wanted)]
