from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import torch_direct as td
from torch_direct.errors import GraphError
from torch_direct.graph import Graph, HeteroGraph

TO = ("a", "to", "b")
KNOWS = ("a", "knows", "a")


@pytest.fixture
def graph():
    time = torch.tensor([2, 0, 1])
    return HeteroGraph(
        {"a": 3, "b": 2},
        {
            TO: Graph(
                torch.tensor([0, 1, 2]), torch.tensor([2, 0]), node_time=time, num_src_nodes=3
            ),
            KNOWS: Graph(torch.tensor([0, 1, 1, 3]), torch.tensor([0, 1, 2]), node_time=time),
        },
        {"a": time},
    )


def test_types_and_sizes(graph):
    assert (graph.node_types, graph.edge_types) == (["a", "b"], [TO, KNOWS])
    assert graph[TO].num_edges == 2
    assert graph.nbytes == 8 * (3 + 2 + 4 + 3 + 3)  # the times are counted once
    graph.validate()


def test_placement_moves_a_shared_tensor_once(graph):
    calls = []
    moved = graph.map(lambda tensor: calls.append(tensor) or tensor.clone())
    assert len(calls) == 5
    assert moved[TO].node_time is moved[KNOWS].node_time is moved.node_time["a"]
    assert moved.num_nodes == graph.num_nodes


def test_a_unified_graph_shares_the_memory(graph):
    unified = graph.to_unified()
    unified.validate()
    assert td.is_unified(unified[TO].indices)
    assert unified[TO].indices.data_ptr() == graph[TO].indices.data_ptr()
    back = unified.to("cpu")
    assert back[TO].indices.data_ptr() == graph[TO].indices.data_ptr()
    assert not td.is_unified(back.node_time["a"])


@pytest.mark.gpu
def test_in_gpu_memory(graph):
    on_gpu = graph.to_unified().to("cuda")
    on_gpu.validate()
    assert on_gpu[TO].indices.is_cuda
    assert not td.is_unified(on_gpu[TO].indices)
    assert on_gpu[TO].node_time is on_gpu.node_time["a"]


def test_validate_names_the_type(graph):
    broken = replace(graph[TO], indices=torch.tensor([2, 3]))
    with pytest.raises(GraphError, match=r"\('a', 'to', 'b'\): indices\[1\] is 3; .*\[0, 3\)"):
        replace(graph, graphs={TO: broken}).validate()
    with pytest.raises(
        GraphError, match=r"'b'\) has 3 source and 2 destination .*expected 4 and 2"
    ):
        replace(graph, num_nodes={"a": 4, "b": 2}).validate()
    with pytest.raises(GraphError, match="names the node type 'b'; expected one of a"):
        replace(graph, num_nodes={"a": 3}).validate()
    with pytest.raises(
        GraphError, match=r"node type 'b': node_time is .*shape \(3,\); .* = \(2,\)"
    ):
        replace(graph, node_time={"b": torch.arange(3)}).validate()


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (torch.tensor([2, 0, 7]), r"edge type \('a', 'to', 'b'\) has a node_time that is not"),
        (None, r"edge type \('a', 'to', 'b'\) has a node_time that is not"),
        (torch.tensor([[2], [0], [1]]), r"node type 'a': node_time is .*shape \(3, 1\)"),
        (torch.tensor([True, False, True]), r"node type 'a': node_time is torch.bool"),
        (torch.tensor([2.0, 0.0, float("nan")]).double(), r"node type 'a': node_time\[2\] is nan"),
    ],
)
def test_times_of_nodes_are_those_of_the_graphs(graph, time, message):
    times = {} if time is None else {"a": time}
    with pytest.raises(GraphError, match=message):
        replace(graph, node_time=times).validate()


def test_validate_looks_at_the_whole(graph):
    untimed = HeteroGraph(
        {"a": 3, "b": 2},
        {kind: replace(part, node_time=None) for kind, part in graph.graphs.items()},
        {"b": torch.tensor([0, 1])},
    )
    untimed.validate()
    with pytest.raises(GraphError, match=r"\('a', 'b'\) has 2 parts; expected"):
        replace(untimed, graphs={("a", "b"): untimed[TO]}).validate()


@pytest.mark.gpu
def test_validate_wants_one_device(graph):
    untimed = {kind: replace(part, node_time=None) for kind, part in graph.graphs.items()}
    parts = {**untimed, TO: untimed[TO].to("cuda")}
    with pytest.raises(GraphError, match="the graphs are on cpu, cuda:0; expected one device"):
        HeteroGraph({"a": 3, "b": 2}, parts, {}).validate()
