"""One hop of sampling in Triton. How many entries of an array are in use is read on the GPU."""

from __future__ import annotations

import triton
import triton.language as tl

from torch_direct.kernels.philox import MAX_BOUND
from torch_direct.kernels.relabel.bitmap import mark
from torch_direct.kernels.triton_scan import add_up, finishes_last

_MAX_BOUND = tl.constexpr(MAX_BOUND)
_LAST = tl.constexpr(2**31 - 1)
"""Stands for an edge that is still to be drawn; sorts behind all others."""
_LOWER = tl.constexpr(2**31 - 1)


@triton.jit
def tree_node(vertex, num_trees, TREES: tl.constexpr):
    """The tree and the node of a vertex."""
    tree = tl.zeros_like(vertex)
    node = vertex
    if TREES:
        tree = vertex % num_trees
        node = vertex // num_trees
    return tree, node


@triton.jit
def num_seen(time, indices, begin, degree, until, OF_SOURCE: tl.constexpr):
    """How many in-edges are not later than a time; they ascend."""
    low = tl.zeros_like(degree)
    high = degree
    while tl.max(high - low) > 0:
        unknown = low < high
        middle = (low + high) >> 1
        owner = begin + middle
        if OF_SOURCE:
            owner = tl.load(indices + owner, mask=unknown, other=0).to(tl.int64)
        seen = tl.load(time + owner, mask=unknown, other=0) <= until
        low = tl.where(unknown & seen, middle + 1, low)
        high = tl.where(seen, high, middle)
    return low


@triton.jit
def num_taken(edges, FANOUT: tl.constexpr, REPLACE: tl.constexpr):
    """How many in-edges a hop takes of so many."""
    if REPLACE:
        return tl.where(edges > 0, FANOUT, 0).to(tl.int64)
    return tl.minimum(edges, FANOUT)


@triton.jit(
    do_not_specialize=["num_nodes", "num_trees", "capacity"],
    do_not_specialize_on_alignment=["num_vertices", "num_edges", "finished"],
)
def in_edges_kernel(
    indptr,
    vertices,
    num_vertices,
    begin,
    degree,
    up_to,
    ends,
    num_edges,
    finished,
    indices,
    time,
    seed_time,
    num_nodes: tl.int64,
    num_trees: tl.int64,
    capacity: tl.int64,
    FANOUT: tl.constexpr,
    REPLACE: tl.constexpr,
    TREES: tl.constexpr,
    TIMED: tl.constexpr,
    OF_SOURCE: tl.constexpr,
    LAST: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    SCAN: tl.constexpr,
):
    """For every vertex: where its in-edges begin, how many there are.

    COUNT also counts what a hop takes: up to every vertex since the beginning of its block, and up
    to the end of every block. A program reads the next vertices while the graph is read for these.
    """
    num_vertices = tl.load(num_vertices).to(tl.int64)
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    vertex = tl.load(vertices + place, mask=place < num_vertices, other=-1)
    while first < capacity:
        here = place
        block = first // BLOCK
        tree, node = tree_node(vertex, num_trees, TREES)
        valid = (here < num_vertices) & (vertex >= 0) & (node < num_nodes)
        first += step
        place += step
        vertex = tl.load(vertices + place, mask=place < num_vertices, other=-1)
        start = tl.load(indptr + node, mask=valid, other=0, eviction_policy="evict_first").to(
            tl.int64
        )
        end = tl.load(indptr + node + 1, mask=valid, other=0, eviction_policy="evict_first")
        edges = end.to(tl.int64) - start
        if TIMED:
            until = tl.load(seed_time + tree, mask=valid, other=0)
            edges = num_seen(time, indices, start, edges, until, OF_SOURCE)
        if LAST:
            start += tl.maximum(edges - FANOUT, 0)
            edges = tl.minimum(edges, FANOUT)
        tl.store(begin + here, start, mask=here < capacity)
        tl.store(degree + here, edges, mask=here < capacity)
        if COUNT:
            taken = num_taken(edges, FANOUT, REPLACE)
            tl.store(up_to + here, tl.cumsum(taken, 0).to(tl.int32), mask=here < capacity)
            tl.store(ends + block, tl.sum(taken, 0))
    if COUNT:  # noqa: SIM102 - a constant, without which the rest is not compiled
        if finishes_last(finished):
            tl.store(num_edges, add_up(ends, tl.cdiv(capacity, BLOCK), SCAN))


@triton.jit
def bounded(high, low, bound):
    """`floor(word * bound / 2**64)` for the 64-bit word of two of 32, as int32."""
    product = high.to(tl.int64) * bound + ((low.to(tl.int64) * bound) >> 32)
    return (product >> 32).to(tl.int32)


@triton.jit
def random_words(tree, node, first_block, key, WIDTH: tl.constexpr):
    """WIDTH words of 64 bits for every node, as upper and lower words."""
    block = (tl.arange(0, WIDTH // 2)[None, :] + first_block).to(tl.uint32)
    block += tl.zeros_like(node).to(tl.uint32)
    zero = tl.zeros_like(block)
    c0, c1, c2, c3 = tl.philox(
        tl.zeros_like(block).to(tl.int64) + key,
        (node & 0xFFFFFFFF).to(tl.uint32) + zero,
        (node >> 32).to(tl.uint32) + zero,
        block,
        tree.to(tl.uint32) + zero,
    )
    return tl.interleave(c0, c2), tl.interleave(c1, c3)


@triton.jit
def floyd(number, degree, column, FANOUT: tl.constexpr):
    """Floyd's set sampling, given the number that each step draws."""
    chosen = number
    for i in range(1, FANOUT):
        mine = tl.sum(tl.where(column == i, chosen, 0), 1)[:, None]
        repeated = tl.max(((column < i) & (chosen == mine)).to(tl.int32), 1)[:, None]
        last = (degree - FANOUT + i).to(tl.int32)
        chosen = tl.where((column == i) & (repeated != 0), last, chosen)
    return chosen


@triton.jit
def scaled(high, low, bound):
    """`floor(word * bound / 2**62)` for the upper 31 bits of two words, a bound below `2**62`."""
    upper = high.to(tl.int64) >> 1
    lower = low.to(tl.int64) >> 1
    bound_upper = bound >> 31
    bound_lower = bound & _LOWER
    middle = upper * bound_lower + lower * bound_upper + ((lower * bound_lower) >> 31)
    return upper * bound_upper + (middle >> 31)


@triton.jit
def edge_at(prefix, base, total, edges, at, wanted):
    """Number of the in-edge in which a part of their weight lies: those before weigh no more.

    A step looks at the edge that it would be if the weights in question were even (interpolation
    search; Peterson, IBM Journal 1957), and every fourth at the middle one, which bounds the steps.
    """
    low = tl.zeros_like(at)
    high = tl.where(wanted, edges - 1, low)
    before = low
    up_to = low + total
    step = tl.zeros((), tl.int32)
    while tl.max(high - low) > 0:
        unknown = low < high
        share = (at - before).to(tl.float32) / tl.maximum(up_to - before, 1).to(tl.float32)
        guess = low + (share * (high - low + 1).to(tl.float32)).to(tl.int64)
        middle = tl.where(step % 4 == 3, (low + high) >> 1, tl.minimum(guess, high))
        start = tl.load(prefix + middle, mask=unknown, other=0) - base
        stop = tl.load(prefix + middle + 1, mask=unknown, other=0) - base
        earlier = unknown & (at < start)
        later = unknown & (at >= stop)
        found = unknown & (at >= start) & (at < stop)
        low = tl.where(later, middle + 1, tl.where(found, middle, low))
        high = tl.where(earlier, middle - 1, tl.where(found, middle, high))
        before = tl.where(later, stop, before)
        up_to = tl.where(earlier, start, up_to)
        step += 1
    return low.to(tl.int32)


@triton.jit
def around(at, starts, stops, column, FANOUT: tl.constexpr):
    """Places in the weight that is left, as places in all of it: what was drawn is stepped over."""
    for i in range(FANOUT):
        start = tl.sum(tl.where(column == i, starts, 0), 1)[:, None]
        stop = tl.sum(tl.where(column == i, stops, 0), 1)[:, None]
        at += tl.where(at >= start, stop - start, 0)
    return at


@triton.jit
def without_repeats(chosen, column, FANOUT: tl.constexpr):
    """Leave of equal numbers in a row one, and sort the rows."""
    for i in range(FANOUT - 1):
        mine = tl.sum(tl.where(column == i, chosen, 0), 1)[:, None]
        chosen = tl.where((column > i) & (chosen == mine), _LAST, chosen)
    return tl.sort(chosen, 1)


@triton.jit
def by_weight(
    prefix,
    edges,
    draws,
    tree,
    node,
    key,
    column,
    FANOUT: tl.constexpr,
    REPLACE: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Numbers of in-edges drawn by weight; see the reference. `prefix` points at the first."""
    base = tl.load(prefix, mask=draws, other=0)
    total = tl.load(prefix + edges, mask=draws, other=0) - base
    inside = draws & (column < FANOUT)
    chosen = tl.full(inside.shape, _LAST, tl.int32)
    starts = tl.broadcast_to(total, inside.shape)
    stops = starts
    empty = inside
    block = tl.zeros((), tl.int32)
    while tl.max(empty.to(tl.int32)) > 0:
        high, low = random_words(tree, node, block, key, WIDTH)
        at = scaled(high, low, total - tl.sum(stops - starts, 1)[:, None])
        if REPLACE:
            chosen = edge_at(prefix, base, total, edges, at, empty)
            empty = empty & (chosen == _LAST)
        else:
            if block > 0:
                at = around(at, starts, stops, column, FANOUT)
            found = edge_at(prefix, base, total, edges, at, empty)
            chosen = without_repeats(tl.where(empty, found, chosen), column, FANOUT)
            empty = inside & (chosen == _LAST)
            again = tl.max(empty.to(tl.int32), 1)[:, None] > 0
            known = inside & again & (chosen != _LAST)
            starts = tl.where(known, tl.load(prefix + chosen, mask=known, other=0) - base, total)
            stops = tl.where(known, tl.load(prefix + chosen + 1, mask=known, other=0) - base, total)
        block += (FANOUT + 1) // 2
    return chosen


@triton.jit(do_not_specialize=["key", "num_trees"], do_not_specialize_on_alignment=["num_vertices"])
def draw_kernel(
    vertices,
    num_vertices,
    begin,
    degree,
    up_to,
    ends,
    position,
    row,
    largest,
    prefix,
    key: tl.int64,
    num_trees: tl.int64,
    FANOUT: tl.constexpr,
    REPLACE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    TREES: tl.constexpr,
    BLOCK: tl.constexpr,
    NODES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Programs draw for NODES vertices at a time, a row of the tile for each."""
    key = key.to(tl.int64)
    num_vertices = tl.load(num_vertices).to(tl.int64)
    first = tl.program_id(0).to(tl.int64) * NODES
    column = tl.arange(0, WIDTH)[None, :]
    while first < num_vertices:
        place = (first + tl.arange(0, NODES))[:, None]
        first += tl.num_programs(0).to(tl.int64) * NODES
        wanted = place < num_vertices
        tree, node = tree_node(tl.load(vertices + place, mask=wanted, other=0), num_trees, TREES)
        edges = tl.load(degree + place, mask=wanted, other=0)
        taken = num_taken(edges, FANOUT, REPLACE)
        draws = edges > (0 if REPLACE else FANOUT)
        most = tl.max(tl.where(draws, edges, 0))
        if most > _MAX_BOUND:
            tl.atomic_max(largest, most)
        draws = draws & (edges <= _MAX_BOUND)
        start = tl.load(begin + place, mask=wanted, other=0)
        if WEIGHTED:
            number = by_weight(
                prefix + start, edges, draws, tree, node, key, column, FANOUT, REPLACE, WIDTH
            )
        else:
            edges = tl.where(draws, edges, FANOUT)
            high, low = random_words(tree, node, 0, key, WIDTH)
            if REPLACE:
                number = bounded(high, low, edges)
            else:
                bound = tl.maximum(edges - FANOUT + 1 + column, 1)
                number = floyd(bounded(high, low, bound), edges, column, FANOUT)
        number = tl.sort(tl.where(column < FANOUT, number, _LAST), 1)
        offset = tl.where(draws, number, column)
        out = tl.load(up_to + place, mask=wanted, other=0).to(tl.int64) - taken + column
        out += tl.load(ends + place // BLOCK - 1, mask=wanted & (place >= BLOCK), other=0)
        tl.store(position + out, start + offset, mask=column < taken)
        tl.store(row + out, place + tl.zeros_like(offset), mask=column < taken)


@triton.jit(
    do_not_specialize=["num_trees", "universe"], do_not_specialize_on_alignment=["num_edges"]
)
def read_sources_kernel(
    indices,
    position,
    num_edges,
    row,
    vertices,
    source,
    bits,
    num_trees: tl.int64,
    universe: tl.int64,
    TREES: tl.constexpr,
    MARK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The source of every edge taken, a vertex of the tree of its destination; MARK sets its bit.

    A program reads the next positions while the graph is read for these.
    """
    num_edges = tl.load(num_edges)
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    at = tl.load(position + place, mask=place < num_edges, other=0)
    while first < num_edges:
        here = place
        wanted = here < num_edges
        read = tl.load(indices + at, mask=wanted, other=0, eviction_policy="evict_first")
        node = read.to(tl.int64)
        first += step
        place += step
        at = tl.load(position + place, mask=place < num_edges, other=0)
        if TREES:
            target = tl.load(row + here, mask=wanted, other=0)
            tree = tl.load(vertices + target, mask=wanted, other=0) % num_trees
            node = node * num_trees + tree
        tl.store(source + here, node, mask=wanted)
        if MARK:
            mark(bits, node, wanted, universe)
