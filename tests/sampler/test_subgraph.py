from __future__ import annotations

import pytest
import torch

from torch_direct.graph import Graph
from torch_direct.sampler import NeighborSampler


def sampled(device, disjoint, subgraph_type):
    """A batch out of a graph with repeated edges and self-loops, and the list of its edges."""
    edges = torch.randint(40, (2, 300), generator=torch.Generator().manual_seed(4))
    graph = Graph.from_edge_index(edges, 40).to_unified()
    sampler = NeighborSampler(graph, [3, 2], disjoint=disjoint, subgraph_type=subgraph_type)
    return edges, sampler.sample(torch.tensor([5, 39, 0], device=device))


def pairs(edge_index):
    return list(zip(*edge_index.tolist(), strict=True))


@pytest.fixture(params=[False, True], ids=["one tree", "disjoint"])
def disjoint(request):
    return request.param


def test_bidirectional_edges_are_those_sampled_and_their_reverses(device, disjoint):
    _, batch = sampled(device, disjoint, "directional")
    _, both = sampled(device, disjoint, "bidirectional")
    forward = pairs(batch.edge_index)
    expected = {*forward, *((dst, src) for src, dst in forward)}
    assert both.n_id.tolist() == batch.n_id.tolist()
    assert pairs(both.edge_index) == sorted(expected, key=lambda pair: pair[::-1])
    first = dict(reversed(list(zip(forward, batch.e_id.tolist(), strict=True))))
    for (src, dst), edge in zip(pairs(both.edge_index), both.e_id.tolist(), strict=True):
        assert edge == (first[src, dst] if (src, dst) in first else first[dst, src])


def test_bidirectional_edges_are_those_of_pyg(device, disjoint):
    utils = pytest.importorskip("torch_geometric.sampler.utils")
    _, batch = sampled(device, disjoint, "directional")
    src, dst = batch.edge_index.cpu()
    row, col, _ = utils.to_bidirectional(src, dst, src, dst, batch.e_id.cpu(), batch.e_id.cpu())
    _, both = sampled(device, disjoint, "bidirectional")
    assert both.edge_index.tolist() == [row.tolist(), col.tolist()]


def test_induced_edges_are_all_between_nodes_of_the_batch(device, disjoint):
    _, batch = sampled(device, disjoint, "directional")
    edges, whole = sampled(device, disjoint, "induced")
    assert whole.n_id.tolist() == batch.n_id.tolist()
    tree = torch.zeros_like(whole.n_id) if whole.batch is None else whole.batch
    place = {vertex: i for i, vertex in enumerate(pairs(torch.stack([whole.n_id, tree])))}
    expected = [
        (place[src, number], local, edge)
        for (node, number), local in place.items()
        for edge, (src, dst) in enumerate(pairs(edges))
        if dst == node and (src, number) in place
    ]
    found = zip(pairs(whole.edge_index), whole.e_id.tolist(), strict=True)
    assert [(*pair, edge) for pair, edge in found] == expected
    assert {*pairs(batch.edge_index)} <= {*pairs(whole.edge_index)}


@pytest.mark.parametrize("subgraph_type", ["bidirectional", "induced"])
@pytest.mark.parametrize("seeds", [[], [2]], ids=["no seeds", "a node without edges"])
def test_no_edges(device, seeds, subgraph_type):
    graph = Graph.from_edge_index(torch.tensor([[2], [0]]), 3).to(device)
    sampler = NeighborSampler(graph, [2], subgraph_type=subgraph_type)
    batch = sampler.sample(torch.tensor(seeds, dtype=torch.int64))
    assert batch.edge_index.shape == (2, 0)
    assert batch.e_id.shape == (0,)
    assert batch.edge_index.dtype == batch.e_id.dtype == torch.int64


def test_an_induced_subgraph_holds_no_edge_from_the_future():
    """Nodes 0 and 1 each have an edge from the other, one early and one late."""
    edges, time = torch.tensor([[1, 0], [0, 1]]), torch.tensor([3, 8])
    graph = Graph.from_edge_index(edges, 2, edge_time=time)
    sampler = NeighborSampler(graph, [1], subgraph_type="induced")
    for until, expected in ((2, []), (3, [0]), (8, [0, 1])):
        batch = sampler.sample(torch.tensor([0]), seed_time=torch.tensor([until]))
        assert sorted(batch.e_id.tolist()) == expected


def test_an_induced_subgraph_holds_no_edge_from_a_node_of_the_future(device):
    """Seed 0 is of time 9, and is asked for as of earlier times."""
    edges, time = torch.tensor([[1, 0], [0, 1]]), torch.tensor([9, 1])
    graph = Graph.from_edge_index(edges, 2, node_time=time).to(device)
    sampler = NeighborSampler(graph, [1], subgraph_type="induced")
    for until, expected in ((0, []), (3, [0]), (9, [0, 1])):
        batch = sampler.sample(torch.tensor([0]), seed_time=torch.tensor([until]))
        assert sorted(batch.e_id.tolist()) == expected


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("subgraph_type", ["directional", "bidirectional", "induced"])
def test_seeds_on_another_gpu_than_the_one_the_graph_is_unified_for(disjoint, subgraph_type):
    _, here = sampled("cuda:0", disjoint, subgraph_type)
    _, there = sampled("cuda:1", disjoint, subgraph_type)
    for name in ("n_id", "edge_index", "e_id"):
        assert getattr(there, name).device == torch.device("cuda:1")
        assert torch.equal(getattr(there, name).cpu(), getattr(here, name).cpu())


def test_a_type_of_subgraph_that_does_not_exist():
    graph = Graph.from_edge_index(torch.tensor([[2], [0]]), 3)
    with pytest.raises(ValueError, match=r"subgraph_type is 'both'; expected one of directional"):
        NeighborSampler(graph, [2], subgraph_type="both")
