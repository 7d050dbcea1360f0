from __future__ import annotations

import pytest
import torch
from graph_model import cases, same
from hypothesis import given

import torch_direct as td
from torch_direct.errors import GraphError
from torch_direct.graph import Graph


def make(**options):
    return Graph(torch.tensor([0, 2, 2, 5]), torch.tensor([1, 2, 0, 0, 2]), **options)


@pytest.fixture
def full():
    """A graph with everything but node times."""
    return make(
        edge_id=torch.tensor([4, 3, 2, 1, 0]),
        weight=torch.tensor([0.5, 1, 0, 2, 3]),
        edge_time=torch.tensor([1, 2, 0, 0, 7]),
    )


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_sizes_and_degree(dtype):
    graph = Graph(make().indptr.to(dtype), make().indices)
    assert (graph.num_nodes, graph.num_src_nodes, graph.num_edges) == (3, 3, 5)
    assert graph.nbytes == 4 * dtype.itemsize + 5 * 8
    degree = graph.degree(torch.tensor([[2, 1], [0, 2]], dtype=torch.int32))
    assert degree.dtype == torch.int64
    assert degree.tolist() == [[3, 0], [2, 3]]
    assert graph.degree(torch.tensor([-1, -3])).tolist() == [3, 2]
    with pytest.raises(IndexError):
        graph.degree(torch.tensor([3]))


def test_from_csc_keeps_the_very_tensors(full):
    graph = Graph.from_csc(**full.tensors(), num_src_nodes=9)
    assert all(graph.tensors()[name] is tensor for name, tensor in full.tensors().items())
    assert graph.num_src_nodes == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": torch.tensor([[0, 2]])}, r"indptr is torch\.int64 of shape \(1, 2\)"),
        ({"indptr": torch.empty(0, dtype=torch.int64)}, r"shape \(0,\)"),
        ({"indptr": torch.rand(4)}, r"indptr is torch\.float32 .* begin it with 0"),
        ({"indices": torch.rand(5)}, r"indices is torch\.float32"),
        ({"indices": torch.tensor([[1, 2, 0, 0, 2]])}, r"indices is .*shape \(1, 5\)"),
        ({"edge_id": torch.arange(4)}, r"edge_id .*shape \(4,\); expected .*\(num_edges,\) = \(5,"),
        ({"weight": torch.ones(5, dtype=torch.float16)}, r"weight is torch\.float16"),
        ({"edge_time": torch.ones(5, 1)}, r"edge_time is .*shape \(5, 1\)"),
        ({"node_time": torch.arange(5)}, r"node_time .*\(num_src_nodes,\) = \(3,\)"),
        ({"edge_time": torch.arange(5), "node_time": torch.arange(3)}, "are both given"),
        ({"weight": torch.ones(5, device="meta")}, "weight is on meta and indptr on cpu"),
        ({"num_src_nodes": -7}, "num_src_nodes is -7"),
        ({"indptr": torch.tensor([0, 2, 2])}, "indptr ends at 2 but indices has 5 entries"),
        ({"indptr": torch.tensor([1, 2, 2, 5])}, r"indptr\[0\] is 1; expected 0"),
    ],
)
def test_from_csc_refuses_the_wrong_layout(change, message):
    with pytest.raises(GraphError, match=message):
        Graph.from_csc(**(make().tensors() | change))


@pytest.mark.parametrize("name", ["indptr", "indices", "weight"])
def test_from_csc_names_what_is_no_tensor(full, name):
    with pytest.raises(TypeError, match=f"{name} is a ndarray; expected a tensor"):
        Graph.from_csc(**(full.tensors() | {name: full.tensors()[name].numpy()}))


def test_to_the_same_device_copies_nothing(full):
    same_graph = full.to("cpu")
    assert all(same_graph.tensors()[name] is tensor for name, tensor in full.tensors().items())


def test_a_unified_graph_shares_the_memory(full):
    unified = full.to_unified()
    back = unified.to("cpu")
    for name, tensor in full.tensors().items():
        assert td.is_unified(unified.tensors()[name])
        assert not td.is_unified(back.tensors()[name])
        assert unified.tensors()[name].data_ptr() == tensor.data_ptr()
        assert back.tensors()[name].data_ptr() == tensor.data_ptr()
    full.indices[0] = 0
    assert unified.indices.tolist() == [0, 2, 0, 0, 2]


@given(cases())
def test_every_placement_is_the_same_graph(case):
    graph = case.graph()
    assert same(graph.to_unified(), graph)
    graph.to_unified().validate()


@pytest.mark.gpu
def test_a_unified_graph_is_copied_into_gpu_memory(full):
    unified = full.to_unified()
    assert all(tensor.is_cuda for tensor in unified.tensors().values())
    on_gpu = unified.to("cuda")
    assert not any(td.is_unified(tensor) for tensor in on_gpu.tensors().values())
    assert {tensor.device.type for tensor in on_gpu.tensors().values()} == {"cuda"}
    assert same(on_gpu, full)
    on_gpu.validate()
    assert same(on_gpu.to("cpu"), full)
