from __future__ import annotations

import pytest
import torch

from torch_direct.graph import Graph
from torch_direct.sampler import NeighborSampler, bidirectional, induced


@pytest.fixture(params=[False, True], ids=["one tree", "disjoint"])
def sampled(request, device):
    """A graph with repeated edges and self-loops, its list of edges, and a batch."""
    edges = torch.randint(40, (2, 300), generator=torch.Generator().manual_seed(4))
    graph = Graph.from_edge_index(edges, 40).to_unified()
    sampler = NeighborSampler(graph, [3, 2], disjoint=request.param)
    return graph, edges, sampler.sample(torch.tensor([5, 39, 0], device=device))


def pairs(edge_index):
    return list(zip(*edge_index.tolist(), strict=True))


def test_bidirectional_edges_are_those_sampled_and_their_reverses(sampled):
    _, _, batch = sampled
    edge_index, e_id = bidirectional(batch)
    forward = pairs(batch.edge_index)
    expected = {*forward, *((dst, src) for src, dst in forward)}
    assert pairs(edge_index) == sorted(expected, key=lambda pair: pair[::-1])
    first = dict(reversed(list(zip(forward, batch.e_id.tolist(), strict=True))))
    for (src, dst), edge in zip(pairs(edge_index), e_id.tolist(), strict=True):
        assert edge == (first[src, dst] if (src, dst) in first else first[dst, src])


def test_bidirectional_edges_are_those_of_pyg(sampled):
    utils = pytest.importorskip("torch_geometric.sampler.utils")
    _, _, batch = sampled
    src, dst = batch.edge_index.cpu()
    row, col, _ = utils.to_bidirectional(src, dst, src, dst, batch.e_id.cpu(), batch.e_id.cpu())
    assert bidirectional(batch)[0].tolist() == [row.tolist(), col.tolist()]


def test_induced_edges_are_all_between_nodes_of_the_batch(sampled):
    graph, edges, batch = sampled
    edge_index, e_id = induced(graph, batch)
    tree = torch.zeros_like(batch.n_id) if batch.batch is None else batch.batch
    place = {vertex: i for i, vertex in enumerate(pairs(torch.stack([batch.n_id, tree])))}
    expected = [
        (place[src, number], local, edge)
        for (node, number), local in place.items()
        for edge, (src, dst) in enumerate(pairs(edges))
        if dst == node and (src, number) in place
    ]
    assert [(*pair, edge) for pair, edge in zip(pairs(edge_index), e_id.tolist(), strict=True)] == (
        expected
    )
    assert {*pairs(batch.edge_index)} <= {*pairs(edge_index)}


@pytest.mark.parametrize("seeds", [[], [2]], ids=["no seeds", "a node without edges"])
def test_no_edges(seeds):
    graph = Graph.from_edge_index(torch.tensor([[2], [0]]), 3)
    batch = NeighborSampler(graph, [2]).sample(torch.tensor(seeds, dtype=torch.int64))
    for edge_index, e_id in (bidirectional(batch), induced(graph, batch)):
        assert edge_index.shape == (2, 0)
        assert e_id.shape == (0,)
        assert edge_index.dtype == e_id.dtype == torch.int64
