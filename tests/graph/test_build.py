from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
import torch
from graph_model import cases, in_edges, same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import torch_direct as td
from torch_direct.errors import GraphError
from torch_direct.graph import Graph, build
from torch_direct.graph.storage import map_array

ON_EVERY_DEVICE = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@ON_EVERY_DEVICE
@given(cases(), st.sampled_from([1, 2, 5, 1 << 24]))
def test_equals_the_plain_python_model(device, case, chunk):
    with mock.patch.object(build, "EDGES_AT_ONCE", chunk):
        graph = case.graph(device)
    graph.validate()
    assert in_edges(graph) == case.in_edges()
    assert graph.indices.device.type == device.type
    assert graph.indices.dtype == case.dtype
    assert graph.edge_id is None or graph.edge_id.dtype == torch.int32
    assert (graph.num_nodes, graph.num_src_nodes) == (case.num_nodes, case.num_src_nodes)


@pytest.mark.gpu
@ON_EVERY_DEVICE
@given(cases(), st.sampled_from([1, 2, 5]))
def test_the_gpu_sorts_what_is_longer_than_a_chunk_and_the_graph_stays_in_host_memory(case, chunk):
    with mock.patch.object(build, "EDGES_AT_ONCE", chunk):
        graph = case.graph("cpu")
    assert {tensor.device.type for tensor in graph.tensors().values()} == {"cpu"}
    assert in_edges(graph) == case.in_edges()


@given(cases(), st.sampled_from([1, 3, 1 << 24]))
def test_progress_rises_to_the_end(case, chunk):
    reports = []
    with mock.patch.object(build, "EDGES_AT_ONCE", chunk):
        case.graph(progress=lambda done, total: reports.append((done, total)))
    assert reports == sorted(reports)
    assert len({total for _, total in reports}) <= 1
    assert not case.edges or reports[-1][0] == reports[-1][1]


@given(cases())
def test_ids_are_kept_only_if_asked_for(case):
    graph, without = case.graph(), case.graph(edge_id=False)
    assert without.edge_id is None
    assert torch.equal(graph.indices, without.indices)
    assert torch.equal(graph.weight, without.weight)


def test_without_a_number_of_nodes_the_highest_counts():
    edge_index = torch.tensor([[0, 4], [2, 1]])
    assert Graph.from_edge_index(edge_index).num_nodes == 5
    graph = Graph.from_edge_index(edge_index, num_src_nodes=7)
    assert (graph.num_nodes, graph.num_src_nodes) == (3, 7)
    assert Graph.from_edge_index(torch.empty(2, 0, dtype=torch.int64)).num_nodes == 0


def test_what_is_in_order_already_is_not_copied():
    edge_index, weight = torch.tensor([[3, 0, 1], [0, 0, 2]]), torch.rand(3)
    graph = Graph.from_edge_index(edge_index, edge_weight=weight)
    assert graph.indices.data_ptr() == edge_index.data_ptr()
    assert graph.weight is weight
    assert graph.edge_id is None
    assert graph.indptr.tolist() == [0, 2, 2, 3, 3]


@pytest.mark.parametrize("chunk", [1, 2, 1 << 24])
def test_order_is_seen_across_chunks(monkeypatch, chunk):
    monkeypatch.setattr(build, "EDGES_AT_ONCE", chunk)
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 2, 0, 3]]))
    assert graph.edge_id.tolist() == [2, 0, 1, 3]


@pytest.mark.parametrize("dst", [[2, 1, 0], [0, 1, 2]])
def test_a_unified_list_makes_a_graph_in_host_memory(dst):
    edge_index, weight = torch.tensor([[0, 1, 2], dst]), torch.rand(3)
    unified = td.unified(edge_index), td.unified(weight)
    graph = Graph.from_edge_index(unified[0], edge_weight=unified[1])
    assert not any(td.is_unified(tensor) or tensor.is_cuda for tensor in graph.tensors().values())
    assert same(graph, Graph.from_edge_index(edge_index, edge_weight=weight))


class LargestResult(TorchDispatchMode):
    """Remembers the size of the largest storage that an operator made, but for some."""

    def __init__(self, *known: torch.Tensor) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.made: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self.known:
                    key = storage.data_ptr()
                    self.made[key] = max(self.made.get(key, 0), storage.nbytes())
        return result


@pytest.mark.parametrize("options", [{}, {"timed": True}, {"symmetric": True}])
def test_besides_list_and_result_no_more_than_a_chunk_is_held(monkeypatch, options):
    monkeypatch.setattr(build, "EDGES_AT_ONCE", 64)
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(200, (2, 20_000), generator=generator)
    weight = torch.rand(20_000, generator=generator)
    time = torch.randint(100, (20_000,), generator=generator)
    with LargestResult(edge_index, weight, time) as seen:
        graph = Graph.from_edge_index(
            edge_index,
            200,
            edge_weight=weight,
            edge_time=time if options.get("timed") else None,
            symmetric=options.get("symmetric", False),
        )
    result = {tensor.untyped_storage().data_ptr() for tensor in graph.tensors().values()}
    largest = max(nbytes for pointer, nbytes in seen.made.items() if pointer not in result)
    in_one_node = int(graph.degree(torch.arange(200)).max())
    assert largest <= 8 * max(200 + 1, in_one_node)


def test_a_mapped_list_is_read_where_it_is(tmp_path):
    edges = np.random.default_rng(0).integers(50, size=(2, 400))
    for name, array in [("c", edges), ("fortran", np.asfortranarray(edges))]:
        np.save(tmp_path / f"{name}.npy", array)
        mapped = map_array(tmp_path / f"{name}.npy")
        expected = Graph.from_edge_index(torch.from_numpy(edges), 50)
        assert same(Graph.from_edge_index(mapped, 50), expected)


@pytest.mark.parametrize("chunk", [1, 2, 1 << 24])
@pytest.mark.parametrize(
    ("edge_index", "options", "message"),
    [
        (torch.tensor([[0, 3], [1, 1]]), {}, r"edge_index\[0, 1\] is 3; expected a node in \[0, 3"),
        (torch.tensor([[0, 1], [2, 3]]), {}, r"edge_index\[1, 1\] is 3"),
        (torch.tensor([[0, 1], [-2, 1]]), {}, r"edge_index\[1, 0\] is -2"),
        (torch.tensor([[0, -1]] * 2), {"num_nodes": None}, r"\[0, 1\] is -1; expected 0 or more"),
        (torch.tensor([[0, 2]] * 2), {"num_src_nodes": 2}, r"\[0, 1\] is 2; expected .*\[0, 2\)"),
        (torch.tensor([[0, 1, 2]] * 3), {}, r"shape \(3, 3\)"),
        (torch.tensor([0, 1]), {}, r"shape \(2,\)"),
        (torch.tensor([[0.0], [1.0]]), {}, r"torch\.float32"),
        (torch.tensor([[0], [1]]), {"edge_weight": torch.rand(2)}, r"weight is .*\(num_edges,\) ="),
        (torch.tensor([[0], [1]]), {"edge_weight": torch.tensor([1])}, r"torch\.int64 .*\.float"),
        (torch.tensor([[0], [1]]), {"edge_time": torch.rand(1)}, r"edge_time is torch\.float32"),
        (torch.tensor([[2], [1]]), {"node_time": torch.arange(2)}, r"num_src_nodes,\) = \(3,\)"),
        (
            torch.tensor([[0], [1]]),
            {"node_time": torch.arange(3), "edge_time": torch.arange(1)},
            "edge_time and node_time are both given",
        ),
        (
            torch.tensor([[0, 1], [1, 1]]),
            {"edge_time": torch.tensor([0.5, math.nan], dtype=torch.float64)},
            r"edge_time\[1\] is nan; expected a time",
        ),
        (
            torch.tensor([[0], [1]]),
            {"node_time": torch.tensor([math.nan, 1, 2], dtype=torch.float64)},
            r"node_time\[0\] is nan",
        ),
        (
            torch.tensor([[0], [1]]),
            {"num_src_nodes": 2, "symmetric": True},
            "symmetric is asked for with 2 source and 3 destination nodes",
        ),
    ],
)
def test_refuses(monkeypatch, chunk, edge_index, options, message):
    monkeypatch.setattr(build, "EDGES_AT_ONCE", chunk)
    with pytest.raises(GraphError, match=message):
        Graph.from_edge_index(edge_index, **({"num_nodes": 3} | options))


@pytest.mark.parametrize(
    ("edge_index", "options", "message"),
    [
        (np.zeros((2, 3), dtype=np.int64), {}, "edge_index is a ndarray; expected a tensor"),
        ([[0], [1]], {}, "edge_index is a list; expected a tensor"),
        (torch.tensor([[0], [1]]), {"edge_weight": [0.5]}, "edge_weight is a list"),
        (torch.tensor([[0], [1]]), {"node_time": np.zeros(2)}, "node_time is a ndarray"),
        (None, {}, "edge_index is None; expected a tensor"),
        (torch.tensor([[0], [1]]), {"num_nodes": "2"}, "num_nodes is '2'; expected an integer"),
        (torch.tensor([[0], [1]]), {"num_nodes": True}, "num_nodes is True; expected an integer"),
    ],
)
def test_names_what_is_no_tensor(edge_index, options, message):
    with pytest.raises(TypeError, match=message):
        Graph.from_edge_index(edge_index, **options)


@pytest.mark.parametrize("name", ["num_nodes", "num_src_nodes"])
def test_refuses_a_negative_number_of_nodes(name):
    with pytest.raises(GraphError, match=f"{name} is -3; expected 0 or more"):
        Graph.from_edge_index(torch.empty(2, 0, dtype=torch.int64), **{name: -3})


def test_repeats_that_were_dropped_take_no_memory():
    graph = Graph.from_edge_index(torch.tensor([[1] * 100, [0] * 100]), 2, coalesce=True)
    assert graph.num_edges == 1
    for tensor in (graph.indices, graph.edge_id):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
