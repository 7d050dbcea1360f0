"""Multi-hop sampling in plain PyTorch: runs on any device, and is what kernels must equal."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torch_direct.kernels.philox import MAX_BOUND, bounded, philox
from torch_direct.kernels.sample.hops import ALL, Hop, Relation, Sample, Seeds

_NONE = 2**31 - 1
"""Stands for an edge that is still to be drawn; sorts behind all others."""
_LOWER = 2**31 - 1


def sample_hops(
    relations: Sequence[Relation],
    num_nodes: Sequence[int],
    seeds: Seeds,
    hops: Sequence[Sequence[Hop]],
) -> Sample:
    """As `torch_direct.kernels.sample.sample_hops`."""
    seeds.check(num_nodes)
    frontiers = vertices = seeds.vertices(len(num_nodes))
    num_vertices = [[roots.numel()] for roots in vertices]
    positions: list[list[Tensor]] = [[] for _ in relations]
    edges: list[list[Tensor]] = [[] for _ in relations]
    for hop in hops:
        drawn = [
            _draw_hop(relation, frontiers[relation.target], seeds, what)
            for relation, what in zip(relations, hop, strict=True)
        ]
        first = [v.numel() - f.numel() for v, f in zip(vertices, frontiers, strict=True)]
        sources = [[met[:0]] for met in vertices]
        for relation, (source, _, _) in zip(relations, drawn, strict=True):
            sources[relation.source].append(source)
        frontiers = [_new(torch.cat(s), met) for s, met in zip(sources, vertices, strict=True)]
        vertices = [torch.cat(pair) for pair in zip(vertices, frontiers, strict=True)]
        for kind, frontier in enumerate(frontiers):
            num_vertices[kind].append(frontier.numel())
        for number, (source, row, position) in enumerate(drawn):
            src = _places(vertices[relations[number].source], source)
            edges[number].append(torch.stack([src, row + first[relations[number].target]]))
            positions[number].append(position)
    return Sample(
        vertices,
        [torch.cat(by_hop, dim=1) for by_hop in edges],
        [torch.cat(by_hop) for by_hop in positions],
        num_vertices,
        [[position.numel() for position in by_hop] for by_hop in positions],
    )


def _draw_hop(
    relation: Relation, frontier: Tensor, seeds: Seeds, hop: Hop
) -> tuple[Tensor, Tensor, Tensor]:
    """The edges drawn for a frontier: sources, places of the destinations in it, positions."""
    nodes, trees = frontier // seeds.num_trees, frontier % seeds.num_trees
    begin, degree = in_edges(relation, nodes, trees, seeds.time, hop)
    position, row = draw(nodes, trees, begin, degree, hop, relation.prefix)
    source = relation.indices[position].long() * seeds.num_trees + trees[row]
    return source, row, position


def _new(sources: Tensor, vertices: Tensor) -> Tensor:
    """The sources that are not among the vertices, ascending."""
    found: Tensor = torch.unique(sources)
    return found[torch.isin(found, vertices, assume_unique=True, invert=True)]


def in_edges(
    relation: Relation, nodes: Tensor, trees: Tensor, seed_time: Tensor | None, hop: Hop
) -> tuple[Tensor, Tensor]:
    """Where the in-edges that a hop may draw begin and how many there are, int64 `[n]` each.

    Args:
        relation: where to look.
        nodes: `[n]`.
        trees: `[n]`, the tree of each node.
        seed_time: time up to which each tree sees, or None.
        hop: what will be drawn.
    """
    begin = relation.indptr[nodes].long()
    degree = relation.indptr[nodes + 1].long() - begin
    time = relation.time
    if seed_time is None or time is None:
        return begin, degree
    until = seed_time[trees]

    def seen(place: Tensor) -> Tensor:
        owner = place if relation.edge_time is not None else relation.indices[place]
        return time[owner] <= until

    degree = _count_while(begin, degree, seen)
    skipped = (degree - hop.fanout).clamp(min=0) if hop.last and hop.fanout != ALL else 0
    return begin + skipped, degree - skipped


def _count_while(begin: Tensor, degree: Tensor, holds: Callable[[Tensor], Tensor]) -> Tensor:
    """How many of the first in-edges fulfil a condition, which holds up to some edge."""
    low, high = torch.zeros_like(degree), degree
    while (unknown := low < high).any():
        middle = (low + high) // 2
        held = holds(torch.where(unknown, begin + middle, 0))
        low = torch.where(unknown & held, middle + 1, low)
        high = torch.where(unknown & ~held, middle, high)
    return low


def draw(
    nodes: Tensor,
    trees: Tensor,
    begin: Tensor,
    degree: Tensor,
    hop: Hop,
    prefix: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw in-edges, each node on its own.

    Args:
        nodes: `[n]`, whose random words depend on nothing else but its tree and the hop's key.
        trees: `[n]`, the tree of each, below `2**32`.
        begin: `[n]`, where the in-edges of each begin.
        degree: `[n]`, how many there are.
        hop: how many to take.
        prefix: as in `Relation`; None draws uniformly.

    Returns:
        The places of the edges taken, `[num edges]`, ascending for each node, and for each edge
        the place of its node in `nodes`.

    Raises:
        ValueError: a node that draws has more than `MAX_BOUND` in-edges.
    """
    taken = num_taken(degree, hop)
    row = torch.arange(nodes.numel(), device=nodes.device).repeat_interleave(taken)
    offset = torch.arange(row.numel(), device=nodes.device) - (taken.cumsum(0) - taken)[row]
    drawn = taken < degree if not hop.replace else degree > 0
    if hop.fanout > 0 and drawn.any():
        check_degree(int(degree[drawn].max()))
        who = nodes[drawn], trees[drawn]
        if prefix is not None:
            chosen = _by_weight(*who, begin[drawn], degree[drawn], hop, prefix)
        else:
            choose = _with_repeats if hop.replace else _floyd
            chosen = choose(*random_words(*who, hop.fanout, hop.key), degree[drawn])
        offset[drawn[row]] = chosen.sort(dim=1).values.flatten()
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
    nodes: Tensor, trees: Tensor, size: int, key: tuple[int, int], first_block: int = 0
) -> tuple[Tensor, Tensor]:
    """Return `size` random 64-bit words for every node, as upper and lower words `[nodes, size]`.

    Words `2 * block` and `2 * block + 1` of a node come from the counter
    `(lower word of the id, upper word of the id, block, tree)`; `first_block` is that of the first.
    """
    blocks = torch.arange(first_block, first_block + (size + 1) // 2, device=nodes.device)
    ids, block = torch.broadcast_tensors(nodes[:, None], blocks)
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


def _by_weight(
    nodes: Tensor, trees: Tensor, begin: Tensor, degree: Tensor, hop: Hop, prefix: Tensor
) -> Tensor:
    """Draw for every node numbers below its degree, in proportion to the weights.

    Without replacement one is drawn after the other, in proportion to the weights among those left
    (successive sampling; Yates and Grundy, "Selection Without Replacement from Within Strata with
    Probability Proportional to Size", JRSS B 1953). A round draws for all places that are empty at
    once, out of the weight that is left when it starts, so that only draws of one round can be
    equal. Of these one stays, and the others' places are drawn for in the next round.
    """
    begin, degree = begin[:, None], degree[:, None]
    base = prefix[begin]
    total = prefix[begin + degree] - base
    chosen = degree.repeat(1, hop.fanout).fill_(_NONE)
    num_blocks = (hop.fanout + 1) // 2
    for round_ in itertools.count():
        empty = chosen == _NONE
        if not empty.any():
            break
        place = begin + chosen.where(~empty, 0)
        starts = torch.where(empty, total, prefix[place] - base)
        sizes = torch.where(empty, 0, prefix[place + 1] - prefix[place])
        words = random_words(nodes, trees, hop.fanout, hop.key, round_ * num_blocks)
        at = _scaled(*words, total - sizes.sum(dim=1, keepdim=True))
        for start, size in zip(starts.split(1, dim=1), sizes.split(1, dim=1), strict=True):
            at += size.where(at >= start, 0)
        found = _edge_at(prefix, begin, degree, at)
        chosen = torch.where(empty, found, chosen)
        if not hop.replace:
            chosen = _without_repeats(chosen)
    return chosen


def _edge_at(prefix: Tensor, begin: Tensor, degree: Tensor, at: Tensor) -> Tensor:
    """Number of the in-edge in which a part of their weight lies: those before weigh no more."""
    base = prefix[begin]
    return _count_while(
        begin.expand_as(at), degree.expand_as(at), lambda place: prefix[place + 1] - base <= at
    )


def _without_repeats(chosen: Tensor) -> Tensor:
    """Sort every row, and leave of equal numbers one."""
    ascending = chosen.sort(dim=1).values
    repeated = ascending[:, 1:] == ascending[:, :-1]
    ascending[:, 1:] = ascending[:, 1:].masked_fill(repeated, _NONE)
    return ascending.sort(dim=1).values


def _scaled(high: Tensor, low: Tensor, bound: Tensor) -> Tensor:
    """`floor(word * bound / 2**62)` for the upper 31 bits of two words, and a bound below `2**62`.

    No product or sum exceeds 63 bits.
    """
    upper, lower = high >> 1, low >> 1
    bound_upper, bound_lower = bound >> 31, bound & _LOWER
    middle = upper * bound_lower + lower * bound_upper + (lower * bound_lower >> 31)
    return upper * bound_upper + (middle >> 31)


def _places(vertices: Tensor, wanted: Tensor) -> Tensor:
    """Return the place of each of `wanted` in `vertices`, which holds them all, once."""
    ascending, place = torch.sort(vertices)
    return place[torch.searchsorted(ascending, wanted)]
