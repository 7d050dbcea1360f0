from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from torch_direct.graph import Graph
from torch_direct.sampler import Batch, NeighborSampler


def random_graph(num_nodes=200, num_edges=3000, dtype=torch.int64):
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(num_nodes, (2, num_edges), generator=generator, dtype=dtype)
    return Graph.from_edge_index(edges, num_nodes, coalesce=True)


def star(num_leaves):
    """Node 0 with an in-edge from each of nodes 1 to num_leaves."""
    leaves = torch.arange(1, num_leaves + 1)
    return Graph.from_edge_index(torch.stack([leaves, torch.zeros_like(leaves)]), num_leaves + 1)


def same(left: Batch, right: Batch) -> bool:
    return (
        left.n_id.tolist() == right.n_id.tolist()
        and left.edge_index.tolist() == right.edge_index.tolist()
        and left.num_sampled_nodes == right.num_sampled_nodes
        and left.num_sampled_edges == right.num_sampled_edges
    )


def hops(batch):
    """Yield each hop's (nodes expanded, nodes first met, global src, global dst)."""
    node_ends = torch.tensor([0, *batch.num_sampled_nodes]).cumsum(0).tolist()
    edge_ends = torch.tensor([0, *batch.num_sampled_edges]).cumsum(0).tolist()
    for hop, (start, end) in enumerate(pairwise(edge_ends)):
        src, dst = batch.n_id[batch.edge_index[:, start:end]]
        expanded = batch.n_id[node_ends[hop] : node_ends[hop + 1]]
        met = batch.n_id[node_ends[hop + 1] : node_ends[hop + 2]]
        yield expanded, met, src, dst


def check_batch(graph, fanout, seeds, batch):
    """Everything that a batch promises, for a graph without repeated edges."""
    assert batch.batch_size == batch.num_sampled_nodes[0] == seeds.numel()
    assert batch.n_id[: batch.batch_size].tolist() == seeds.tolist()
    assert batch.n_id.unique().numel() == batch.n_id.numel() == sum(batch.num_sampled_nodes)
    assert batch.edge_index.shape == (2, sum(batch.num_sampled_edges))
    assert len(batch.num_sampled_edges) == len(fanout)
    known = set(seeds.tolist())
    for k, (expanded, met, src, dst) in zip(fanout, hops(batch), strict=True):
        edges = list(zip(src.tolist(), dst.tolist(), strict=True))
        assert len(set(edges)) == len(edges)
        expected = []
        for node in expanded.tolist():
            neighbours = graph.indices[graph.indptr[node] : graph.indptr[node + 1]].tolist()
            taken = [s for s, d in edges if d == node]
            assert len(taken) == (len(neighbours) if k == -1 else min(k, len(neighbours)))
            assert taken == [n for n in neighbours if n in set(taken)]
            expected += [(s, node) for s in taken]
        assert edges == expected
        assert met.tolist() == sorted(set(src.tolist()) - known)
        known |= set(met.tolist())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("fanout", [[5], [4, 3], [15, -1], [1, 1, 1], [-1, 2, 40]])
def test_batch_holds_what_it_promises(device, dtype, fanout):
    graph = random_graph(dtype=dtype)
    seeds = torch.tensor([7, 3, 150, 0, 199], device=device)
    batch = NeighborSampler(graph.to(device), fanout, seed=1).sample(seeds)
    assert batch.n_id.device == batch.edge_index.device == seeds.device
    assert batch.n_id.dtype == batch.edge_index.dtype == torch.int64
    moved = Batch(
        batch.n_id.cpu(),
        batch.edge_index.cpu(),
        batch.batch_size,
        batch.num_sampled_nodes,
        batch.num_sampled_edges,
    )
    check_batch(graph, fanout, seeds.cpu(), moved)
    assert same(batch, NeighborSampler(graph, fanout, seed=1).sample(seeds.cpu()))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_unified_graph_gives_the_same_batch(device, dtype):
    graph, seeds = random_graph(dtype=dtype), torch.tensor([7, 3, 150])
    expected = NeighborSampler(graph, [4, -1]).sample(seeds)
    unified = NeighborSampler(graph.to_unified(), [4, -1])
    assert same(unified.sample(seeds.to(device)), expected)
    assert same(unified.sample(seeds), expected)


@st.composite
def cases(draw):
    num_nodes = draw(st.integers(1, 30))
    node = st.integers(0, num_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=200))
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    seeds = draw(st.lists(node, unique=True, max_size=10))
    fanout = draw(st.lists(st.integers(1, 6) | st.just(-1), min_size=1, max_size=3))
    graph = Graph.from_edge_index(edge_index, num_nodes, coalesce=True)
    return graph, fanout, torch.tensor(seeds, dtype=torch.int64), draw(st.integers(0, 2**64 - 1))


@given(cases())
def test_random_graphs(case):
    graph, fanout, seeds, seed = case
    check_batch(graph, fanout, seeds, NeighborSampler(graph, fanout, seed=seed).sample(seeds))


def test_repeated_edges_are_drawn_as_edges():
    graph = Graph.from_edge_index(torch.tensor([[1, 1, 1, 2], [0, 0, 0, 0]]), 3)
    batch = NeighborSampler(graph, [3]).sample(torch.tensor([0]))
    assert batch.num_sampled_edges == [3]
    assert batch.edge_index[1].tolist() == [0, 0, 0]


def draws(degree, fanout, count):
    """Draw `fanout` of `degree` neighbours `count` times, as a 0/1 matrix [count, degree]."""
    sampler = NeighborSampler(star(degree), [fanout], seed=11)
    hits = torch.zeros(count, degree, dtype=torch.int64)
    for number in range(count):
        batch = sampler.sample(torch.tensor([0]), batch=number)
        hits[number, batch.n_id[1:] - 1] = 1
    return hits


@pytest.mark.parametrize(("degree", "fanout"), [(7, 3), (12, 11), (5, 1), (300, 4)])
def test_every_neighbour_is_as_likely_as_any_other(degree, fanout):
    count = 1000
    hits = draws(degree, fanout, count)
    assert (hits.sum(1) == fanout).all()
    expected = count * fanout / degree
    # Counts of sampling without replacement: the statistic is chi-square after this correction.
    correction = (degree - 1) / (degree - fanout)
    statistic = ((hits.sum(0) - expected) ** 2 / expected).sum().item() * correction
    assert chi2.ppf(1e-4, degree - 1) < statistic < chi2.ppf(1 - 1e-4, degree - 1)


def test_every_pair_of_neighbours_is_as_likely_as_any_other():
    degree, fanout, count = 6, 3, 1500
    hits = draws(degree, fanout, count)
    _, sets = torch.unique(hits, dim=0, return_counts=True)
    assert sets.numel() == 20
    expected = count / 20
    statistic = ((sets - expected) ** 2 / expected).sum().item()
    assert statistic < chi2.ppf(1 - 1e-4, 19)
    pairs = (hits.t().float() @ hits.float())[tuple(torch.triu_indices(degree, degree, 1))]
    assert pairs.min() > 0.75 * count / 5
    assert pairs.max() < 1.25 * count / 5


def test_nodes_draw_independently_in_one_call():
    num_nodes, degree, fanout = 3000, 10, 2
    indptr = torch.arange(num_nodes + 1) * degree
    offsets = torch.arange(num_nodes * degree) % degree
    batch = NeighborSampler(Graph(indptr, offsets), [fanout], seed=5).sample(torch.arange(3000))
    chosen = batch.n_id[batch.edge_index[0]]
    counts = torch.bincount(chosen, minlength=degree)
    expected = num_nodes * fanout / degree
    statistic = ((counts - expected) ** 2 / expected).sum().item() * (degree - 1) / (degree - 2)
    assert statistic < chi2.ppf(1 - 1e-4, degree - 1)
    assert torch.unique(chosen.view(-1, fanout), dim=0).size(0) == 45


def test_a_hub_costs_what_the_fanout_says():
    graph = star(200_000)
    batch = NeighborSampler(graph, [10]).sample(torch.tensor([0]))
    assert batch.num_sampled_edges == [10]
    assert batch.n_id[1:].min() > 0


def test_the_draw_depends_on_each_part_of_the_key_and_on_nothing_else():
    graph, seeds = random_graph(), torch.arange(50)
    sampler = NeighborSampler(graph, [3, 3], seed=0)
    first = sampler.sample(seeds, epoch=1, batch=2)
    sampler.sample(seeds, epoch=5, batch=7)
    assert same(first, sampler.sample(seeds, epoch=1, batch=2))
    assert same(first, NeighborSampler(graph, [3, 3], seed=0).sample(seeds, epoch=1, batch=2))
    assert not same(first, sampler.sample(seeds, epoch=2, batch=2))
    assert not same(first, sampler.sample(seeds, epoch=1, batch=3))
    assert not same(first, sampler.sample(seeds, epoch=2, batch=1))
    assert not same(first, NeighborSampler(graph, [3, 3], seed=1).sample(seeds, epoch=1, batch=2))
    assert not same(
        first, NeighborSampler(graph, [3, 3], seed=2**32).sample(seeds, epoch=1, batch=2)
    )


def test_hops_draw_independently():
    """Two nodes with the same 20 sources: what hop 0 draws for one says nothing about hop 1."""
    graph = star(20)
    first = NeighborSampler(graph, [4], seed=3).sample(torch.tensor([0]))
    # Node 21 has one in-edge, from node 0, which is therefore expanded in hop 1.
    indptr = torch.cat([graph.indptr, graph.indptr[-1:] + 1])
    fed = Graph(indptr, torch.cat([graph.indices, torch.tensor([0])]))
    second = NeighborSampler(fed, [4, 4], seed=3).sample(torch.tensor([21]))
    assert second.num_sampled_edges == [1, 4]
    assert first.n_id[1:].tolist() != second.n_id[2:].tolist()


def test_a_node_draws_the_same_whatever_the_other_seeds_are():
    graph = random_graph()
    sampler = NeighborSampler(graph, [3])
    alone = sampler.sample(torch.tensor([9]))
    among = sampler.sample(torch.tensor([4, 9, 100]))
    of_nine = among.edge_index[0][among.edge_index[1] == 1]
    assert among.n_id[of_nine].tolist() == alone.n_id[alone.edge_index[0]].tolist()


def test_isolated_and_no_seeds(device):
    graph = star(3).to(device)
    lonely = NeighborSampler(graph, [2, 2]).sample(torch.tensor([1, 2], device=device))
    assert lonely.num_sampled_nodes == [2, 0, 0]
    assert lonely.edge_index.shape == (2, 0)
    empty = NeighborSampler(graph, [2, -1]).sample(torch.empty(0, dtype=torch.int64, device=device))
    assert empty.num_sampled_nodes == [0, 0, 0]
    assert empty.num_sampled_edges == [0, 0]
    assert empty.n_id.shape == (0,)


def test_int32_seeds():
    sampler = NeighborSampler(random_graph(), [3])
    assert same(
        sampler.sample(torch.tensor([5, 6])),
        sampler.sample(torch.tensor([5, 6], dtype=torch.int32)),
    )


@pytest.mark.parametrize(
    ("seeds", "error", "message"),
    [
        (torch.tensor([0, 4]), IndexError, r"seed 4 is outside the graph; .* \[0, 4\)"),
        (torch.tensor([-1]), IndexError, "seed -1 is outside"),
        (torch.tensor([2, 1, 2]), ValueError, "seed 2 is given more than once"),
        (torch.tensor([[1]]), ValueError, r"shape \(1, 1\)"),
        (torch.tensor([1.0]), TypeError, "torch.float32"),
        (torch.tensor([True]), TypeError, "torch.bool"),
    ],
)
def test_bad_seeds(device, seeds, error, message):
    sampler = NeighborSampler(star(3).to(device), [2])
    with pytest.raises(error, match=message):
        sampler.sample(seeds.to(device))


@pytest.mark.parametrize("fanout", [[], [0], [5, -2]])
def test_bad_fanout(fanout):
    with pytest.raises(ValueError, match=r"fanout is .*-1 for all"):
        NeighborSampler(star(3), fanout)


@pytest.mark.parametrize("name", ["epoch", "batch"])
@pytest.mark.parametrize("value", [-1, 2**32])
def test_bad_counter(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        NeighborSampler(star(3), [2]).sample(torch.tensor([0]), **{name: value})


def test_bad_seed():
    with pytest.raises(ValueError, match="64 bits"):
        NeighborSampler(star(3), [2], seed=2**64)


@pytest.mark.gpu
def test_seeds_on_a_gpu_that_cannot_read_the_graph():
    with pytest.raises(ValueError, match="to_unified"):
        NeighborSampler(star(3), [2]).sample(torch.tensor([0], device="cuda"))
