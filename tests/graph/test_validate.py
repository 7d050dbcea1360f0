from __future__ import annotations

import pytest
import torch
from graph_model import cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torch_direct.errors import GraphError
from torch_direct.graph import Graph, validate

INDPTR = [0, 2, 2, 5]
INDICES = [1, 2, 0, 0, 2]
CHUNKS = [1, 2, 3, 1 << 24]


def make(indptr=INDPTR, indices=INDICES, dtype=torch.int64, **options):
    return Graph(torch.tensor(indptr, dtype=dtype), torch.tensor(indices, dtype=dtype), **options)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_accepts_a_good_graph(monkeypatch, dtype, chunk):
    monkeypatch.setattr(validate, "EDGES_AT_ONCE", chunk)
    make(dtype=dtype).validate()
    make(
        dtype=dtype,
        edge_id=torch.tensor([7, 7, 0, 1, 2]),
        weight=torch.tensor([0, 1, 0.5, 1e30, 2], dtype=torch.float64),
        edge_time=torch.tensor([3, 3, 0, 1, 1]),
    ).validate()
    make(dtype=dtype, node_time=torch.tensor([-1.0, 2.0, 5.0]).double()).validate()
    make(indices=[1, 2, 0, 9, 2], dtype=dtype, num_src_nodes=10).validate()
    make([0], [], dtype=dtype).validate()


@pytest.mark.parametrize("chunk", CHUNKS)
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
def test_names_the_place(monkeypatch, device, chunk, indptr, indices, message):
    monkeypatch.setattr(validate, "EDGES_AT_ONCE", chunk)
    with pytest.raises(GraphError, match=message):
        make(indptr, indices).to(device).validate()


@pytest.mark.parametrize("indptr", [[0, 2, 2, 4], [0, 2, 2, 6], [1, 2, 2, 5]])
def test_finds_ends_that_were_changed_since(indptr):
    graph = make(INDPTR, INDICES)
    graph.indptr.copy_(torch.tensor(indptr))
    with pytest.raises(GraphError, match="indptr"):
        graph.validate()


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_src_nodes": 2}, r"indices\[1\] is 2; expected a node in \[0, 2\)"),
        ({"edge_id": torch.tensor([0, 1, 2, -3, 4])}, r"edge_id\[3\] is -3; expected 0 or more"),
        ({"weight": torch.tensor([1, 1, 1, 1, -0.5])}, r"weight\[4\] is -0\.5; expected a finite"),
        ({"weight": torch.tensor([1, 1, torch.nan, 1, 1])}, r"weight\[2\] is nan"),
        ({"weight": torch.tensor([1, torch.inf, 1, 1, 1])}, r"weight\[1\] is inf"),
        (
            {"edge_time": torch.tensor([0, 1, torch.nan, 1, 1], dtype=torch.float64)},
            r"edge_time\[2\] is nan",
        ),
        ({"node_time": torch.tensor([0, torch.nan, 1]).double()}, r"node_time\[1\] is nan"),
        ({"edge_time": torch.tensor([9, 9, 0, 5, 4])}, "edge at 4 is of time 4, .*before.* of 5"),
        ({"edge_time": torch.tensor([9, 8, 0, 5, 4])}, "edge at 1 is of time 8, .*before.* of 9"),
        ({"node_time": torch.tensor([6, 5, 4])}, "edge at 1 is of time 4, .*before.* of 5"),
        ({"edge_id": torch.arange(4)}, r"edge_id is .*\(num_edges,\) = \(5,\)"),
    ],
)
def test_names_the_place_in_what_is_optional(monkeypatch, device, chunk, options, message):
    monkeypatch.setattr(validate, "EDGES_AT_ONCE", chunk)
    with pytest.raises(GraphError, match=message):
        make(**options).to(device).validate()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases(), st.data())
def test_one_changed_number_is_found(device, case, data):
    graph = case.graph().to(device)
    tensors = graph.tensors()
    tensors.pop("node_time", None)
    tensors.pop("edge_time", None)
    name = data.draw(st.sampled_from([name for name in tensors if tensors[name].numel() > 0]))
    at = data.draw(st.integers(0, tensors[name].numel() - 1))
    broken = tensors[name].clone()
    broken[at] = -1
    options = tensors | {name: broken, "num_src_nodes": graph.num_src_nodes}
    with pytest.raises(GraphError):
        Graph.from_csc(**options).validate()
