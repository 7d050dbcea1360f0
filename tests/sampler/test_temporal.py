from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.sampler import NeighborSampler

TYPES = [torch.int32, torch.int64, torch.float64]


def random_graph(times_of="edges", dtype=torch.int64, seed=0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(40, (2, 600), generator=generator)
    count = 600 if times_of == "edges" else 40
    time = torch.randint(100, (count,), generator=generator).to(dtype)
    name = "edge_time" if times_of == "edges" else "node_time"
    return Graph.from_edge_index(edges, 40, **{name: time}, **kwargs), edges, time


@st.composite
def cases(draw):
    times_of = draw(st.sampled_from(["edges", "nodes"]))
    strategy = draw(st.sampled_from(["uniform", "last"]))
    fanout = draw(st.lists(st.integers(1, 9) | st.just(-1), min_size=1, max_size=3))
    seeds = draw(st.lists(st.integers(0, 39), min_size=1, max_size=5))
    until = [draw(st.integers(-1, 101)) for _ in seeds]
    return times_of, strategy, fanout, seeds, until, draw(st.booleans())


@settings(max_examples=50, derandomize=True, deadline=None)
@given(cases())
def test_no_neighbour_comes_from_the_future_of_its_seed(case):
    times_of, strategy, fanout, seeds, until, weighted = case
    weight = {"edge_weight": torch.rand(600)} if weighted else {}
    graph, edges, time = random_graph(times_of, **weight)
    sampler = NeighborSampler(graph, fanout, temporal_strategy=strategy, weighted=weighted)
    seed_time = torch.tensor(until)
    batch = sampler.sample(torch.tensor(seeds), seed_time=seed_time)
    assert batch.batch[: len(seeds)].tolist() == list(range(len(seeds)))
    src, dst = batch.edge_index
    assert torch.equal(batch.batch[src], batch.batch[dst])
    assert torch.equal(batch.n_id[batch.edge_index], edges[:, batch.e_id])
    edge_time = time[batch.e_id] if times_of == "edges" else time[edges[0, batch.e_id]]
    assert (edge_time <= seed_time[batch.batch[dst]]).all()


@pytest.mark.parametrize("times_of", ["edges", "nodes"])
@pytest.mark.parametrize("strategy", ["uniform", "last"])
def test_how_many_and_which(times_of, strategy):
    graph, edges, time = random_graph(times_of)
    times = time if times_of == "edges" else time[edges[0]]
    for fanout in (1, 5, 200, -1):
        sampler = NeighborSampler(graph, [fanout], temporal_strategy=strategy)
        for node, until in ((3, 50), (17, 99), (3, -1)):
            batch = sampler.sample(torch.tensor([node]), seed_time=torch.tensor([until]))
            seen = times[(edges[1] == node) & (times <= until)].sort().values
            count = seen.numel() if fanout == -1 else min(fanout, seen.numel())
            assert batch.num_sampled_edges == [count]
            if strategy == "last":
                latest = seen[seen.numel() - count :].tolist()
                assert times[batch.e_id].tolist() == latest


@pytest.mark.parametrize("times_of", ["edges", "nodes"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("unified", [False, True])
def test_every_placement_gives_the_same_batch(device, times_of, dtype, unified):
    graph, _, _ = random_graph(times_of, dtype)
    kind = torch.float64 if dtype.is_floating_point else torch.int64
    seeds, until = torch.arange(30), torch.arange(30).to(kind) * 3
    expected = NeighborSampler(graph, [4, 3]).sample(seeds, seed_time=until)
    placed = graph.to_unified() if unified else graph.to(device)
    batch = NeighborSampler(placed, [4, 3]).sample(seeds.to(device), seed_time=until.to(device))
    assert batch.n_id.tolist() == expected.n_id.tolist()
    assert batch.edge_index.tolist() == expected.edge_index.tolist()


def test_seeds_have_the_time_of_their_node_where_none_is_given(device):
    graph, _, time = random_graph("nodes", torch.int32)
    seeds = torch.tensor([4, 30, 4])
    sampler = NeighborSampler(graph.to(device), [3, 3])
    given_none = sampler.sample(seeds.to(device))
    given_times = sampler.sample(seeds, seed_time=time[seeds])
    assert given_none.n_id.tolist() == given_times.n_id.tolist()
    with pytest.raises(IndexError, match="seed 40 is outside"):
        sampler.sample(torch.tensor([40]))


def test_times_above_the_precision_of_floating_point():
    base = 2**60
    graph = Graph.from_edge_index(
        torch.tensor([[1, 2], [0, 0]]), 3, edge_time=torch.tensor([base, base + 1])
    )
    batch = NeighborSampler(graph, [-1]).sample(torch.tensor([0]), seed_time=torch.tensor([base]))
    assert batch.e_id.tolist() == [0]


def test_a_seed_time_that_is_not_a_number_sees_nothing():
    graph, _, _ = random_graph(dtype=torch.float64)
    never = torch.tensor([float("nan")], dtype=torch.float64)
    assert NeighborSampler(graph, [5]).sample(torch.tensor([3]), seed_time=never).n_id.numel() == 1


def test_edge_types_without_times_are_seen_always():
    timed, late = ("a", "timed", "a"), ("b", "always", "a")
    edges = torch.tensor([[1, 2], [0, 0]])
    graph = HeteroGraph(
        {"a": 3, "b": 3},
        {
            timed: Graph.from_edge_index(edges, 3, node_time=torch.tensor([5, 1, 9])),
            late: Graph.from_edge_index(edges, 3, num_src_nodes=3),
        },
        {"a": torch.tensor([5, 1, 9])},
    )
    batch = NeighborSampler(graph, [5]).sample(torch.tensor([0]), input_type="a")
    assert batch.e_id[timed].tolist() == [0]
    assert batch.e_id[late].tolist() == [0, 1]
    with pytest.raises(ValueError, match="seed_time is missing"):
        NeighborSampler(graph, [5]).sample(torch.tensor([0]), input_type="b")


def test_times_of_seeds_are_those_of_their_type_in_any_order():
    graph = Graph.from_edge_index(torch.tensor([[1], [0]]), 2, edge_time=torch.tensor([5]))
    graphs = {(kind, "to", kind): graph for kind in ("a", "b")}
    sampler = NeighborSampler(HeteroGraph({"a": 2, "b": 2}, graphs), [5])
    seeds = {kind: torch.tensor([0]) for kind in ("a", "b")}
    until = {"b": torch.tensor([4]), "a": torch.tensor([6])}
    batch = sampler.sample(seeds, seed_time=until)
    assert {kind: ids.tolist() for (kind, _, _), ids in batch.e_id.items()} == {"a": [0], "b": []}


@pytest.mark.parametrize(
    ("dtype", "seed_time", "error", "message"),
    [
        (torch.int64, torch.tensor([1.0]), TypeError, r"seed_time is torch.float32 .*int64"),
        (torch.float64, torch.tensor([1]), TypeError, r"seed_time is torch.int64 .*float64"),
        (torch.int64, torch.tensor([1, 2]), ValueError, r"shape \[\(2,\)\]; expected \[\(1,\)\]"),
        (torch.int64, None, ValueError, "seed_time is missing"),
        (torch.int64, [6], TypeError, "seed_time is a list; expected a tensor"),
        (torch.int64, {"": 6}, TypeError, "seed_time is a int; expected a tensor"),
    ],
)
def test_bad_seed_times(dtype, seed_time, error, message):
    graph, _, _ = random_graph(dtype=dtype)
    with pytest.raises(error, match=message):
        NeighborSampler(graph, [2]).sample(torch.tensor([0]), seed_time=seed_time)


def test_times_of_one_type_are_not_those_of_another():
    edges, time = torch.tensor([[0], [0]]), torch.tensor([5])
    graph = Graph.from_edge_index(edges, 1, edge_time=time)
    graph = HeteroGraph({"a": 1, "b": 1}, {("a", "to", "a"): graph})
    seeds = {"a": torch.tensor([0]), "b": torch.tensor([0])}
    with pytest.raises(ValueError, match=r"seed_time has shape \[\(1,\)\]; expected"):
        NeighborSampler(graph, [1]).sample(seeds, seed_time=torch.tensor([6]))


def test_times_that_the_graph_does_not_have():
    graph = Graph.from_edge_index(torch.tensor([[1], [0]]), 2)
    with pytest.raises(ValueError, match="seed_time is given and the graph has no times"):
        NeighborSampler(graph, [2]).sample(torch.tensor([0]), seed_time=torch.tensor([0]))


def test_integers_and_floating_point_do_not_mix():
    edges = torch.tensor([[1], [0]])
    graph = HeteroGraph(
        {"a": 2},
        {
            ("a", "first", "a"): Graph.from_edge_index(edges, 2, edge_time=torch.tensor([1])),
            ("a", "second", "a"): Graph.from_edge_index(
                edges, 2, edge_time=torch.tensor([1.0], dtype=torch.float64)
            ),
        },
    )
    with pytest.raises(ValueError, match="expected integers or floating point"):
        NeighborSampler(graph, [2])


def test_a_strategy_that_does_not_exist():
    graph, _, _ = random_graph()
    with pytest.raises(ValueError, match="temporal_strategy is 'first'; expected one of uniform"):
        NeighborSampler(graph, [2], temporal_strategy="first")
