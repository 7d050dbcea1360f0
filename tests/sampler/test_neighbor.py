from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import fields, replace
from itertools import pairwise
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.sampler import Batch, HeteroBatch, NeighborSampler
from torch_direct.sampler import batch as batch_module


def random_graph(num_nodes=200, num_edges=3000, dtype=torch.int64):
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(num_nodes, (2, num_edges), generator=generator, dtype=dtype)
    return Graph.from_edge_index(edges, num_nodes, coalesce=True, edge_id=False)


def star(num_leaves):
    """Node 0 with an in-edge from each of nodes 1 to num_leaves."""
    leaves = torch.arange(1, num_leaves + 1)
    return Graph.from_edge_index(torch.stack([leaves, torch.zeros_like(leaves)]), num_leaves + 1)


def as_lists(batch: Batch | HeteroBatch) -> dict[str, object]:
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        return value.tolist() if isinstance(value, torch.Tensor) else value

    names = [field.name for field in fields(batch) if field.repr]
    return {name: plain(getattr(batch, name)) for name in [*names, "e_id"]}


def same(left: Batch | HeteroBatch, right: Batch | HeteroBatch) -> bool:
    return as_lists(left) == as_lists(right)


def on_cpu(batch: Batch) -> Batch:
    edges = replace(batch._edges, position=batch._edges.position.cpu())
    return replace(batch, n_id=batch.n_id.cpu(), edge_index=batch.edge_index.cpu(), _edges=edges)


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
    destination = torch.repeat_interleave(graph.indptr.diff())
    global_ids = batch.n_id[batch.edge_index]
    assert torch.equal(graph.indices[batch.e_id], global_ids[0].to(graph.indices.dtype))
    assert torch.equal(destination[batch.e_id], global_ids[1])
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
    check_batch(graph, fanout, seeds.cpu(), on_cpu(batch))
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
    graph = Graph.from_edge_index(edge_index, num_nodes, coalesce=True, edge_id=False)
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


def test_a_hub_costs_what_the_fanout_says(monkeypatch):
    """No array that is made is longer than the seeds and the fanout ask for."""
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in pytree.tree_leaves(made) if isinstance(t, torch.Tensor))
            return made

    sampler = NeighborSampler(star(200_000), [10])
    with Watch():
        batch = sampler.sample(torch.tensor([0]))
    assert batch.num_sampled_edges == [10]
    assert 10 <= max(sizes) < 1000


def test_edge_ids_name_the_edges_as_they_were_given(device):
    edges = torch.randint(50, (2, 900), generator=torch.Generator().manual_seed(1))
    graph = Graph.from_edge_index(edges, 50)
    for moved in (graph.to(device), graph.to_unified()):
        batch = NeighborSampler(moved, [4, 6]).sample(torch.tensor([3, 1, 44]))
        assert batch.e_id.dtype == torch.int64
        assert torch.equal(edges[:, batch.e_id.cpu()], batch.n_id[batch.edge_index].cpu())


def test_with_replacement_every_node_that_has_an_edge_gets_the_fanout(device):
    graph = Graph.from_edge_index(torch.tensor([[1, 2, 3], [0, 0, 1]]), 4, edge_id=False)
    seeds = torch.tensor([3, 0, 1], device=device)
    batch = NeighborSampler(graph.to(device), [50], replace=True).sample(seeds)
    assert batch.num_sampled_edges == [100]
    assert batch.e_id.tolist() == sorted(batch.e_id.tolist())
    assert batch.e_id.unique().tolist() == [0, 1, 2]
    assert batch.edge_index[1].tolist() == [1] * 50 + [2] * 50
    everything = NeighborSampler(graph.to(device), [-1], replace=True).sample(seeds)
    assert everything.e_id.tolist() == [0, 1, 2]


def test_disjoint_trees_share_nothing(device):
    """Each tree is what sampling it with its own number gives; a seed may come twice."""
    graph = random_graph()
    sampler = NeighborSampler(graph.to(device), [4, 3], disjoint=True)
    batch = sampler.sample(torch.tensor([7, 3, 7], device=device))
    assert batch.batch[: batch.batch_size].tolist() == [0, 1, 2]
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    vertices = torch.stack([batch.n_id, batch.batch], dim=1)
    assert vertices.unique(dim=0).size(0) == batch.n_id.numel()
    alone = NeighborSampler(graph, [4, 3]).sample(torch.tensor([7]))
    first, third = batch.batch == 0, batch.batch == 2
    assert batch.n_id[first].tolist() == alone.n_id.tolist()
    assert batch.n_id[first].tolist() != batch.n_id[third].tolist()
    met = vertices[batch.batch_size :][: batch.num_sampled_nodes[1]].tolist()
    assert met == sorted(met)


def test_trees_are_not_disjoint_unless_asked():
    assert NeighborSampler(star(3), [2]).sample(torch.tensor([0])).batch is None


def every_kind(num_nodes, num_edges):
    """For each kind of sampling: the graph, and what goes with it and with the seeds."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(num_nodes, (2, num_edges), generator=generator, dtype=torch.int32)
    weight = torch.rand(num_edges, generator=generator)
    time = torch.randint(1000, (num_edges,), generator=generator)
    node_time = torch.randint(1000, (num_nodes,), generator=generator)

    def graph(**columns):
        return Graph.from_edge_index(edges, num_nodes, **columns)

    types = [("node", name, "node") for name in ("first", "second")]
    both = {types[0]: graph(edge_weight=weight), types[1]: graph()}
    hetero = HeteroGraph({"node": num_nodes}, both)
    return {
        "uniform": (graph(), {}, {}),
        "with replacement": (graph(), {"replace": True}, {}),
        "disjoint": (graph(), {"disjoint": True}, {}),
        "weighted": (graph(edge_weight=weight), {"weighted": True}, {}),
        "weighted with replacement": (
            graph(edge_weight=weight),
            {"weighted": True, "replace": True},
            {},
        ),
        "edge times": (graph(edge_time=time), {}, {"seed_time": 500}),
        "node times": (graph(node_time=node_time), {"temporal_strategy": "last"}, {}),
        "weights and times": (
            graph(edge_weight=weight, edge_time=time),
            {"weighted": True},
            {"seed_time": 900},
        ),
        "types": (hetero, {"weighted": True}, {"input_type": "node"}),
    }


KINDS = list(every_kind(2, 2))


def with_times(seeds, asked):
    return {k: torch.full_like(seeds, v) if k == "seed_time" else v for k, v in asked.items()}


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unified", [False, True])
@pytest.mark.parametrize("seeds_on", ["cpu", "cuda"])
@pytest.mark.parametrize("most_marked", [0, 2**30])
def test_the_host_waits_once(kind, unified, seeds_on, most_marked, monkeypatch):
    from torch_direct.kernels.counts import Counts
    from torch_direct.kernels.sample import batch

    monkeypatch.setattr(batch, "_MOST_MARKED", most_marked)
    asleep = create_autospec(Counts.read, side_effect=Counts.read)
    monkeypatch.setattr(Counts, "read", asleep)
    graph, options, asked = every_kind(200, 3000)[kind]
    graph, seeds = graph.to_unified() if unified else graph.to("cuda"), torch.arange(50)
    seeds = seeds.to(seeds_on)
    asked = with_times(seeds, asked)
    sampler = NeighborSampler(graph, [4, 3, 2], **options)
    sampler.sample(seeds, **asked)
    asleep.reset_mock()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            sampler.sample(seeds, batch=1, **asked)  # which is kept
            sampler.sample(seeds, batch=2, **asked)  # which is queued again
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert asleep.call_count == 2
    messages = [str(warning.message) for warning in seen]
    assert [message for message in messages if "synchronizing CUDA" in message] == []


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_large_batches_are_the_same_on_a_gpu(kind):
    graph, options, asked = every_kind(20_000, 600_000)[kind]
    seeds = torch.randperm(20_000, generator=torch.Generator().manual_seed(2))[:300]
    asked = with_times(seeds, asked)
    samplers = [
        NeighborSampler(moved, [15, 10, 5], seed=3, **options)
        for moved in (graph, graph.to("cuda"), graph.to_unified())
    ]
    for batch in range(4):  # the later ones are queued again
        expected, *made = (sampler.sample(seeds, batch=batch, **asked) for sampler in samplers)
        assert all(same(some, expected) for some in made)


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


def test_seeds_that_are_no_tensor():
    with pytest.raises(TypeError, match=r"seeds is a list; expected a tensor.*torch\.as_tensor"):
        NeighborSampler(star(3), [2]).sample([0, 1])


def test_what_is_no_graph_is_refused_with_what_makes_one():
    with pytest.raises(TypeError, match=r"graph is a Tensor; .*td\.Graph\.from_edge_index"):
        NeighborSampler(torch.tensor([[0], [1]]), [2])


@pytest.mark.parametrize("fanout", [[], [-3], [5, -2], [2**31], [2**70]])
def test_bad_fanout(fanout):
    with pytest.raises(ValueError, match=r"fanout .* is .*-1 for all"):
        NeighborSampler(star(3), fanout)


@pytest.mark.parametrize("name", ["epoch", "batch"])
@pytest.mark.parametrize("value", [-1, 2**32])
def test_bad_counter(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        NeighborSampler(star(3), [2]).sample(torch.tensor([0]), **{name: value})
    with pytest.raises(TypeError, match=rf"{name} is 1\.5; expected an integer"):
        NeighborSampler(star(3), [2]).sample(torch.tensor([0]), **{name: 1.5})


def test_two_sets_of_nodes():
    graph = Graph.from_csc(torch.tensor([0, 1]), torch.tensor([5]), num_src_nodes=9)
    with pytest.raises(ValueError, match="from 9 nodes to 1 others"):
        NeighborSampler(graph, [2])


def test_what_is_said_at_the_call_is_as_what_is_said_at_the_start(device):
    graph, seeds = random_graph().to(device), torch.arange(5, device=device)
    sampler = NeighborSampler(graph, [3, 2], seed=1)
    other = NeighborSampler(graph, [3, 2], seed=-8, disjoint=True)
    assert same(sampler.sample(seeds, seed=-8, disjoint=True), other.sample(seeds))
    assert not same(sampler.sample(seeds, seed=-8), sampler.sample(seeds))
    with pytest.raises(ValueError, match=r"seed is 2\d*; expected .*64 bits"):
        sampler.sample(seeds, seed=2 * 10**19)
    with pytest.raises(TypeError, match=r"seed is 0\.5; expected an integer"):
        sampler.sample(seeds, seed=0.5)


def test_edge_ids_are_read_when_they_are_asked_for(monkeypatch):
    edges = torch.randint(50, (2, 400), generator=torch.Generator().manual_seed(2))
    graph = Graph.from_edge_index(edges, 50)
    read = []
    gather = batch_module.gather
    monkeypatch.setattr(
        batch_module, "gather", lambda *args, **kwargs: read.append(args) or gather(*args, **kwargs)
    )
    batch = NeighborSampler(graph, [3, 2]).sample(torch.tensor([4, 9]))
    assert not read
    assert torch.equal(edges[:, batch.e_id], batch.n_id[batch.edge_index])
    assert batch.e_id is batch.e_id
    assert len(read) == 1


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_batch_does_not_carry_the_graph(again):
    graph = Graph.from_edge_index(torch.randint(50, (2, 50_000)), 50)
    batch = NeighborSampler(graph, [3]).sample(torch.tensor([4, 9]))
    assert len(pickle.dumps(batch)) < graph.edge_id.nbytes // 10
    assert again(batch).e_id.tolist() == batch.e_id.tolist()


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint64, torch.tensor])
def test_numbers_of_other_libraries(kind):
    graph = Graph.from_edge_index(torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0]]))
    sampler, seeds = NeighborSampler(graph, [2], seed=kind(3)), torch.tensor([0])
    assert type(sampler.seed) is int
    for numbers in ({"seed": 5}, {"epoch": 4}, {"batch": 1}):
        like = {name: kind(number) for name, number in numbers.items()}
        expected = NeighborSampler(graph, [2], seed=3).sample(seeds, **numbers)
        assert torch.equal(sampler.sample(seeds, **like).n_id, expected.n_id)


def test_bad_seed():
    with pytest.raises(ValueError, match="64 bits"):
        NeighborSampler(star(3), [2], seed=2**64)


@pytest.mark.gpu
def test_seeds_on_a_gpu_that_cannot_read_the_graph():
    with pytest.raises(ValueError, match="to_unified"):
        NeighborSampler(star(3), [2]).sample(torch.tensor([0], device="cuda"))
