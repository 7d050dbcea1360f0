"""The graphs, and what each kind of sampling needs beside the edges."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from torch_direct.bench.sample.cases import TEMPORAL, WEIGHTED, GraphSize
from torch_direct.datasets.synthetic import SyntheticSpec, make_synthetic
from torch_direct.graph import Graph
from torch_direct.tensor.create import empty

LAST_TIME = 1 << 30
"""Times of edges run from 0 to below it."""

_LEAST_WEIGHT = 1 / 16
_CHUNK = 1 << 26


def make_graph(size: GraphSize) -> Graph:
    """Make a graph, with int64 `indptr` and int32 `indices`; unified where there is a GPU."""
    spec = SyntheticSpec(num_nodes=size.num_nodes, avg_degree=size.avg_degree, num_features=1)
    graph = make_synthetic(spec).graph
    return graph.to_unified() if torch.cuda.is_available() else graph


def attributes_of(graph: Graph, kind: str) -> dict[str, Tensor]:
    """Draw what a kind of sampling needs of a graph, where the graph is, by its name there."""
    if kind == WEIGHTED:
        return {"weight": draw_weights(graph)}
    return {"edge_time": draw_times(graph)} if kind == TEMPORAL else {}


def draw_weights(graph: Graph) -> Tensor:
    """Draw a weight for every edge, from 1/16 to 1, float32 `[num_edges]`, where the graph is."""
    return _for_each_edge(graph, torch.float32).uniform_(_LEAST_WEIGHT, 1)


def draw_times(graph: Graph) -> Tensor:
    """Draw a time for every edge, int32 `[num_edges]`, where the graph is.

    The times of the in-edges of a node ascend and are spread evenly.
    """
    times = _for_each_edge(graph, torch.int32)
    for places, _, first, degree in destinations(graph):
        coin = torch.rand(degree.numel(), dtype=torch.float64, device=degree.device)
        passed = torch.arange(places.start, places.stop, device=degree.device) - first + coin
        times[places].copy_((passed / degree * LAST_TIME).int())
    return times


def destinations(graph: Graph) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Go through the edges in runs, on the device that reads the graph.

    Yields:
        The places of a run in `indices`; and for each edge its destination, the first place of the
        in-edges of that, and how many these are, int64 `[edges of the run]`.
    """
    indptr = graph.indptr.to(graph.indptr.device, copy=True)
    for start in range(0, graph.num_edges, _CHUNK):
        stop = min(start + _CHUNK, graph.num_edges)
        places = torch.arange(start, stop, device=indptr.device)
        dst = torch.searchsorted(indptr, places, right=True) - 1
        first = indptr[dst]
        yield slice(start, stop), dst, first, indptr[dst + 1] - first


def _for_each_edge(graph: Graph, dtype: torch.dtype) -> Tensor:
    if graph.indices.is_cuda:
        return empty(graph.num_edges, dtype=dtype)
    return torch.empty(graph.num_edges, dtype=dtype)
