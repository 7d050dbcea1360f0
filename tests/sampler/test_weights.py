from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_direct.errors import GraphError
from torch_direct.graph import Graph
from torch_direct.sampler import NeighborSampler, weights
from torch_direct.sampler.weights import weight_prefix, without_zeros

POSITIVE = st.floats(0, 1e300, exclude_min=True) | st.sampled_from([5e-324, 1.7e308, 1.0])
LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=12)


def graph_of(lengths, weight, dtype=torch.float64, **kwargs):
    indptr = torch.tensor([0, *lengths]).cumsum(0)
    indices = torch.zeros(int(indptr[-1]), dtype=torch.int64)
    return Graph.from_csc(indptr, indices, weight=torch.tensor(weight, dtype=dtype), **kwargs)


def parts(graph, prefix):
    """The weights as integers, node by node."""
    sums = prefix.tolist()
    each = [(high - low) % 2**64 for low, high in pairwise(sums)]
    return [each[low:high] for low, high in pairwise(graph.indptr.tolist())]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.data(), LENGTHS, st.sampled_from([1, 3, 1 << 24]), st.booleans())
def test_parts_are_the_weights_rounded_down(data, lengths, chunk, unified):
    weight = data.draw(st.lists(POSITIVE, min_size=sum(lengths), max_size=sum(lengths)))
    graph = graph_of(lengths, weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "EDGES_AT_ONCE", chunk)
        prefix = weight_prefix(graph.to_unified() if unified else graph).cpu()
    assert prefix.shape == (graph.num_edges + 1,)
    assert prefix[0] == 0
    ends = graph.indptr.tolist()
    for (low, high), found in zip(pairwise(ends), parts(graph, prefix), strict=True):
        if high == low:
            continue
        mine = [Fraction(value) for value in weight[low:high]]
        power = 61 - (high - low).bit_length()
        unit = Fraction(1)
        while unit <= max(mine):
            unit *= 2
        while unit > max(mine):
            unit /= 2
        expected = [max(1, int(value / unit * 2 ** (power - 1))) for value in mine]
        assert found == expected
        assert sum(found) < 2**61


def test_parts_on_a_device_are_those_of_the_cpu(device):
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(3000, generator=generator).exp2().pow(torch.arange(3000) % 60 - 30)
    graph = graph_of([1000, 0, 1, 1999], weight.tolist(), torch.float32)
    assert weight_prefix(graph.to(device)).tolist() == weight_prefix(graph).tolist()


@pytest.mark.parametrize("given_ids", [False, True])
@pytest.mark.parametrize("unified", [False, True])
def test_edges_without_weight_are_dropped(device, given_ids, unified):
    ids = torch.tensor([7, 5, 3, 1, 0], dtype=torch.int32) if given_ids else None
    weight, time = [0.0, 2.0, 0.0, 0.0, 1.0], torch.arange(5)
    graph = graph_of([3, 1, 1], weight, torch.float32, edge_id=ids, edge_time=time)
    graph = graph.to_unified() if unified else graph.to(device)
    left = without_zeros(graph)
    assert left.indptr.tolist() == [0, 1, 1, 2]
    assert left.weight.tolist() == [2.0, 1.0]
    assert left.edge_time.tolist() == [1, 4]
    assert left.edge_id.tolist() == ([5, 0] if given_ids else [1, 4])
    assert {type(tensor) for tensor in left.tensors().values()} == {type(graph.indptr)}
    assert {tensor.device for tensor in left.tensors().values()} == {graph.indptr.device}
    assert without_zeros(left) is left


def test_edges_without_weight_are_never_sampled():
    graph = graph_of([6], [0.0, 1.0, 0.0, 1e-300, 1e300, 0.0])
    for fanout, expected in ((2, 2), (3, 3), (9, 3), (-1, 3)):
        sampler = NeighborSampler(graph, [fanout], weighted=True)
        e_id = sampler.sample(torch.tensor([0])).e_id.tolist()
        assert len(e_id) == expected
        assert {*e_id} <= {1, 3, 4}


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_bad_weights(bad):
    with pytest.raises(GraphError, match=r"the weight of edge 2 is .*; expected a finite number"):
        NeighborSampler(graph_of([4], [1.0, 0.0, bad, 1.0]), [2], weighted=True)


@pytest.mark.parametrize("chunk", [2, 1 << 24])
def test_a_bad_weight_is_named_by_its_edge(monkeypatch, chunk):
    monkeypatch.setattr(weights, "EDGES_AT_ONCE", chunk)
    weight = [1.0, 0.0, 1.0, -2.0, 1.0]
    for ids, edge in ((None, 3), (torch.tensor([9, 8, 7, 6, 5]), 6)):
        with pytest.raises(GraphError, match=rf"the weight of edge {edge} is -2\.0; expected"):
            without_zeros(graph_of([5], weight, edge_id=ids))


def test_no_weights():
    graph = Graph.from_csc(torch.tensor([0, 1]), torch.tensor([0]))
    with pytest.raises(ValueError, match="the graph has no weights"):
        NeighborSampler(graph, [2], weighted=True)
