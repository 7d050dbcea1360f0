from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torch_direct import graph as graph_module
from torch_direct.errors import GraphError
from torch_direct.graph import Graph

INDPTR = [0, 2, 2, 5]
INDICES = [1, 2, 0, 0, 2]


def make(indptr=INDPTR, indices=INDICES, dtype=torch.int64):
    return Graph(torch.tensor(indptr), torch.tensor(indices, dtype=dtype))


@st.composite
def edge_lists(draw):
    num_nodes = draw(st.integers(1, 12))
    node = st.integers(0, num_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=40))
    dtype = draw(st.sampled_from([torch.int32, torch.int64]))
    return torch.tensor(edges, dtype=dtype).reshape(-1, 2).t(), num_nodes


def in_edges(graph):
    indptr, indices = graph.indptr.tolist(), graph.indices.tolist()
    return [indices[a:b] for a, b in pairwise(indptr)]


def test_sizes_and_degree():
    graph = make()
    assert (graph.num_nodes, graph.num_edges) == (3, 5)
    degree = graph.degree(torch.tensor([[2, 1], [0, 2]], dtype=torch.int32))
    assert degree.dtype == torch.int64
    assert degree.tolist() == [[3, 0], [2, 3]]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 24])
def test_validate_accepts_a_good_graph(monkeypatch, dtype, chunk):
    monkeypatch.setattr(graph_module, "_CHUNK", chunk)
    make(dtype=dtype).validate()
    Graph(torch.zeros(1, dtype=torch.int64), torch.empty(0, dtype=dtype)).validate()


@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 24])
@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([1, 2, 2, 5], INDICES, r"indptr\[0\] is 1"),
        ([0, 3, 2, 5], INDICES, "falls from 3 at 1 to 2 at 2"),
        ([0, 2, 6, 5], INDICES, "falls from 6 at 2 to 5 at 3"),
        ([0, 2, 2, 6], INDICES, "ends at 6 but indices has 5"),
        ([0, 2, 2, 4], INDICES, "ends at 4 but indices has 5"),
        (INDPTR, [1, 2, 0, 3, -1], r"indices\[3\] is 3; expected a node in \[0, 3\)"),
        (INDPTR, [1, 2, 0, 0, -1], r"indices\[4\] is -1"),
    ],
)
def test_validate_names_the_place(monkeypatch, chunk, indptr, indices, message):
    monkeypatch.setattr(graph_module, "_CHUNK", chunk)
    with pytest.raises(GraphError, match=message):
        make(indptr, indices).validate()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (Graph(torch.tensor(INDPTR, dtype=torch.int32), torch.tensor(INDICES)), "torch.int32"),
        (Graph(torch.tensor([INDPTR]), torch.tensor(INDICES)), r"shape \(1, 4\)"),
        (Graph(torch.empty(0, dtype=torch.int64), torch.tensor(INDICES)), r"shape \(0,\)"),
        (Graph(torch.tensor(INDPTR), torch.tensor(INDICES).float()), "torch.float32"),
        (Graph(torch.tensor(INDPTR), torch.tensor([INDICES])), r"shape \(1, 5\)"),
    ],
)
def test_validate_names_the_wrong_layout(graph, message):
    with pytest.raises(GraphError, match=message):
        graph.validate()


@given(edge_lists())
def test_from_edge_index_keeps_every_edge_in_its_order(edges):
    edge_index, num_nodes = edges
    graph = Graph.from_edge_index(edge_index, num_nodes)
    graph.validate()
    assert graph.indices.dtype == edge_index.dtype
    expected = [[] for _ in range(num_nodes)]
    for src, dst in edge_index.t().tolist():
        expected[dst].append(src)
    assert in_edges(graph) == expected


@given(edge_lists())
def test_symmetric_and_coalesced_is_the_undirected_simple_graph(edges):
    edge_index, num_nodes = edges
    graph = Graph.from_edge_index(edge_index, num_nodes, symmetric=True, coalesce=True)
    expected = [set() for _ in range(num_nodes)]
    for src, dst in edge_index.t().tolist():
        expected[dst].add(src)
        expected[src].add(dst)
    assert in_edges(graph) == [sorted(nodes) for nodes in expected]


@given(edge_lists())
def test_symmetric_adds_one_reverse_of_every_edge_but_loops(edges):
    edge_index, num_nodes = edges
    graph = Graph.from_edge_index(edge_index, num_nodes, symmetric=True)
    loops = int((edge_index[0] == edge_index[1]).sum())
    assert graph.num_edges == 2 * edge_index.size(1) - loops


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (torch.tensor([[0, 3], [1, 1]]), "names node 3; expected nodes in"),
        (torch.tensor([[0, 1], [-2, 1]]), "names node -2"),
        (torch.tensor([[0, 1, 2]] * 3), r"shape \(3, 3\)"),
        (torch.tensor([0, 1]), r"shape \(2,\)"),
        (torch.tensor([[0.0], [1.0]]), "torch.float32"),
    ],
)
def test_from_edge_index_refuses(edge_index, message):
    with pytest.raises(GraphError, match=message):
        Graph.from_edge_index(edge_index, 3)


def test_to_the_same_device_copies_nothing():
    graph = make()
    same = graph.to("cpu")
    assert same.indptr is graph.indptr
    assert same.indices is graph.indices


def test_unified_graph_shares_the_memory():
    graph = make()
    unified = graph.to_unified()
    assert unified.indices.data_ptr() == graph.indices.data_ptr()
    graph.indices[0] = 0
    assert unified.indices.tolist() == [0, 2, 0, 0, 2]
