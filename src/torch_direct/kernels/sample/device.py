"""Multi-hop sampling on a GPU that waits for it once.

Arrays are as long as they can get, which the host knows: a frontier times the fanout. How much of
them is in use is known to the GPU alone, until all hops are queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from torch_direct.kernels.launch import launch
from torch_direct.kernels.relabel.bitmap import BitmapRelabelling
from torch_direct.kernels.relabel.sort import SortRelabelling
from torch_direct.kernels.sample import reference
from torch_direct.kernels.sample.hops import (
    ALL,
    Hop,
    Sample,
    check_seeds,
    num_trees,
    seed_vertices,
)
from torch_direct.kernels.sample.triton_sample import (
    draw_kernel,
    in_edges_kernel,
    read_sources_kernel,
)

_BLOCK = 128
_PROGRAMS_OVER_LINK = 64
"""A narrow window over ascending addresses: it fills the link, and its translations stay."""
_PROGRAMS_IN_GPU_MEMORY = 2048
_TILE = 512
_MOST_DRAWS = 1024
"""The largest fanout that the kernel draws: Floyd's comparisons are the square of it."""
_MOST_UNCOUNTED = 1 << 26
"""Edges for which 1.5 GiB are taken on the chance that there are as many; above, the host waits."""
_MOST_MARKED = 1 << 30
"""Vertices that have a bit each, in 256 MiB for every hop; more are cheaper to sort."""
_ALIGNED = 16


class _Graph(NamedTuple):
    """What kernels read, and on how many programs."""

    indptr: Tensor
    indices: Tensor
    num_trees: int
    programs: int

    @property
    def num_nodes(self) -> int:
        return self.indptr.numel() - 1


class _Edges(NamedTuple):
    """The edges of a hop, in arrays that are long enough."""

    position: Tensor
    """`[capacity]`, places in the graph's list of edges."""
    ends: Tensor
    """`[2, capacity]`: sources, and places of the destinations in the frontier."""
    num_edges: Tensor
    """`[1]`, how many there are."""


def sample_hops(
    indptr: Tensor,
    indices: Tensor,
    seeds: Tensor,
    hops: Sequence[Hop],
    *,
    disjoint: bool,
    over_link: bool,
) -> Sample:
    """As `torch_direct.kernels.sample.sample_hops`."""
    programs = _PROGRAMS_OVER_LINK if over_link else _PROGRAMS_IN_GPU_MEMORY
    graph = _Graph(indptr, indices, num_trees(seeds, disjoint=disjoint), programs)
    with torch.cuda.device_of(indices):
        return _sample(graph, seeds, hops, disjoint=disjoint)


def _sample(graph: _Graph, seeds: Tensor, hops: Sequence[Hop], *, disjoint: bool) -> Sample:
    roots = seed_vertices(seeds.clamp(-1, graph.num_nodes), disjoint=disjoint)
    universe = graph.num_nodes * graph.num_trees
    kind = BitmapRelabelling if universe <= _MOST_MARKED else SortRelabelling
    relabelling = kind(roots, universe, len(hops))
    largest = torch.zeros(1, dtype=torch.int64, device=seeds.device)
    frontiers, drawn = [roots], []
    for number, hop in enumerate(hops):
        num_vertices = relabelling.num_met[number : number + 1]
        edges = _draw(graph, frontiers[-1], num_vertices, hop, largest)
        _read_sources(graph, frontiers[-1], edges)
        frontiers.append(relabelling.meet(edges.ends, edges.num_edges))
        drawn.append(edges)
    counts = torch.cat(
        [largest, relabelling.num_met, *(edges.num_edges for edges in drawn)]
    ).tolist()
    num_met, num_edges = counts[1 : len(hops) + 2], counts[len(hops) + 2 :]
    if num_met[0] < seeds.numel():
        check_seeds(seeds, graph.num_nodes, disjoint=disjoint)
    reference.check_degree(counts[0])
    used = list(zip(drawn, num_edges, strict=True))
    return Sample(
        torch.cat([met[:count] for met, count in zip(frontiers, num_met, strict=True)]),
        torch.cat([edges.ends[:, :count] for edges, count in used], dim=1),
        torch.cat([edges.position[:count] for edges, count in used]),
        num_met,
        num_edges,
    )


def _draw(
    graph: _Graph, frontier: Tensor, num_vertices: Tensor, hop: Hop, largest: Tensor
) -> _Edges:
    """Draw in-edges of a frontier, of which the first `num_vertices` are in use."""
    begin, degree, taken = (torch.empty_like(frontier) for _ in range(3))
    launch(
        in_edges_kernel,
        min(graph.programs, _blocks(frontier.numel(), _BLOCK)),
        (graph.indptr, frontier, num_vertices, begin, degree, taken),
        (graph.num_nodes, graph.num_trees, frontier.numel()),
        (hop.fanout, hop.replace, graph.num_trees > 1, _BLOCK),
    )
    if hop.fanout == ALL or hop.fanout > _MOST_DRAWS:
        used = slice(int(num_vertices))
        trees, nodes = frontier[used] % graph.num_trees, frontier[used] // graph.num_trees
        return _as_edges(*reference.draw(nodes, trees, begin[used], degree[used], hop))
    ends = taken.cumsum(0)
    edges = _room(_capacity(graph, hop, ends), ends[-1:])
    width = max(2, triton.next_power_of_2(hop.fanout))
    num_nodes = _TILE // width or 1
    launch(
        draw_kernel,
        _blocks(frontier.numel(), num_nodes),
        (frontier, num_vertices, begin, degree, ends, edges.position, edges.ends[1], largest),
        (_signed(hop.key), graph.num_trees),
        (hop.fanout, hop.replace, graph.num_trees > 1, num_nodes, width),
    )
    return edges


def _capacity(graph: _Graph, hop: Hop, ends: Tensor) -> int:
    """Edges that a hop takes at most; how many it takes where room for that is better not made."""
    most = ends.numel() * hop.fanout
    if not hop.replace:
        most = min(most, graph.indices.numel() * graph.num_trees)
    return most if most <= _MOST_UNCOUNTED else int(ends[-1])


def _read_sources(graph: _Graph, frontier: Tensor, edges: _Edges) -> None:
    """Read the sources of edges out of the graph, in the order in which they lie there."""
    launch(
        read_sources_kernel,
        min(graph.programs, _blocks(edges.position.numel(), _BLOCK)),
        (graph.indices, edges.position, edges.num_edges, edges.ends[1], frontier, edges.ends[0]),
        (graph.num_trees,),
        (graph.num_trees > 1, _BLOCK),
    )


def _as_edges(position: Tensor, row: Tensor) -> _Edges:
    """Edges whose number the host knows."""
    count = position.numel()
    edges = _room(count, torch.full((1,), count, device=position.device))
    edges.position[:count] = position
    edges.ends[1, :count] = row
    return edges


def _room(capacity: int, num_edges: Tensor) -> _Edges:
    """Arrays for as many edges, at least for one; both rows of `ends` begin aligned."""
    capacity = _blocks(max(capacity, 1), _ALIGNED) * _ALIGNED
    position = torch.empty(capacity, dtype=torch.int64, device=num_edges.device)
    return _Edges(position, position.new_empty(2, capacity), num_edges)


def _blocks(size: int, block: int) -> int:
    return (size + block - 1) // block


def _signed(key: tuple[int, int]) -> int:
    """Two words of 32 bits as one signed number of 64."""
    number = key[1] << 32 | key[0]
    return number - (1 << 64) if number >= 1 << 63 else number
