"""Graphs in plain Python: what `torch_direct.graph` must equal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from hypothesis import strategies as st

from torch_direct.graph import Graph

ID_TYPES = (torch.int32, torch.int64)
TIME_TYPES = (torch.int32, torch.int64, torch.float64)


@dataclass
class Case:
    """A list of edges with all that may come with it."""

    num_nodes: int
    num_src_nodes: int
    edges: list[tuple[int, int]]
    weight: list[float]
    edge_time: list[int] | None
    node_time: list[int] | None
    symmetric: bool
    coalesce: bool
    dtype: torch.dtype
    time_dtype: torch.dtype

    def graph(self, device: torch.device | str = "cpu", **options) -> Graph:
        """Let `Graph.from_edge_index` make the graph."""
        index = torch.tensor(self.edges, dtype=self.dtype, device=device).reshape(-1, 2).t()
        return Graph.from_edge_index(
            index,
            self.num_nodes,
            num_src_nodes=self.num_src_nodes,
            edge_weight=torch.tensor(self.weight, device=device),
            edge_time=self._time(self.edge_time, device),
            node_time=self._time(self.node_time, device),
            symmetric=self.symmetric,
            coalesce=self.coalesce,
            **options,
        )

    def in_edges(self) -> list[list[tuple]]:
        """For every node, `(source, id, weight, time)` of its in-edges, in order."""
        given = [(src, dst, number) for number, (src, dst) in enumerate(self.edges)]
        if self.symmetric:
            given += [(dst, src, number) for src, dst, number in given if src != dst]
        found: list[list[tuple]] = [[] for _ in range(self.num_nodes)]
        for src, dst, number in given:
            if self.coalesce and any(src == other for other, *_ in found[dst]):
                continue
            time = self.node_time[src] if self.node_time else None
            time = self.edge_time[number] if self.edge_time else time
            found[dst].append((src, number, self.weight[number], time))
        if self.coalesce:
            found = [sorted(edges, key=lambda edge: edge[0]) for edges in found]
        if self.edge_time or self.node_time:
            found = [sorted(edges, key=lambda edge: edge[3]) for edges in found]
        return found

    def _time(self, values: list[int] | None, device: torch.device | str) -> torch.Tensor | None:
        return None if not values else torch.tensor(values, dtype=self.time_dtype, device=device)


@st.composite
def cases(draw) -> Case:
    num_nodes = draw(st.integers(1, 8))
    num_src_nodes = draw(st.sampled_from([num_nodes, num_nodes, 3]))
    edge = st.tuples(st.integers(0, num_src_nodes - 1), st.integers(0, num_nodes - 1))
    edges = draw(st.lists(edge, max_size=30))
    time = st.integers(-3, 3)
    timed = draw(st.sampled_from(["edge", "node", "no"]))
    return Case(
        num_nodes=num_nodes,
        num_src_nodes=num_src_nodes,
        edges=sorted(edges, key=lambda pair: pair[1]) if draw(st.booleans()) else edges,
        weight=[float(number) for number in range(len(edges))],
        edge_time=[draw(time) for _ in edges] if timed == "edge" else None,
        node_time=[draw(time) for _ in range(num_src_nodes)] if timed == "node" else None,
        symmetric=num_nodes == num_src_nodes and draw(st.booleans()),
        coalesce=draw(st.booleans()),
        dtype=draw(st.sampled_from(ID_TYPES)),
        time_dtype=draw(st.sampled_from(TIME_TYPES)),
    )


def in_edges(graph: Graph) -> list[list[tuple]]:
    """What a graph says of the in-edges of every node, as `Case.in_edges`."""
    indices, weight = graph.indices.tolist(), graph.weight.tolist()
    ids = range(graph.num_edges) if graph.edge_id is None else graph.edge_id.tolist()
    times = [None] * graph.num_edges if graph.edge_time is None else graph.edge_time.tolist()
    if graph.node_time is not None:
        times = graph.node_time[graph.indices.long()].tolist()
    rows = list(zip(indices, ids, weight, times, strict=True))
    return [rows[start:end] for start, end in pairwise(graph.indptr.tolist())]


def same(left: Graph, right: Graph) -> bool:
    """Whether two graphs have the same values in the same types."""
    ours, theirs = left.tensors(), right.tensors()
    return (
        left.num_src_nodes == right.num_src_nodes
        and ours.keys() == theirs.keys()
        and all(
            tensor.dtype == theirs[name].dtype and torch.equal(tensor.cpu(), theirs[name].cpu())
            for name, tensor in ours.items()
        )
    )
