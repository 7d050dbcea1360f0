from __future__ import annotations

import warnings
from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.sampler import NeighborSampler
from torch_direct.sampler.subgraph import reverse_type

NUM_NODES = {"paper": 60, "author": 40, "venue": 5, "topic": 7}
WRITES = ("author", "writes", "paper")
CITES = ("paper", "cites", "paper")
PRINTS = ("venue", "prints", "paper")
WRITTEN = ("paper", "written_by", "author")
EDGE_TYPES = [WRITES, CITES, PRINTS, WRITTEN]


def random_graph(seed=0, num_edges=200, **kwargs):
    """Edges of four types; no edge reaches or leaves a topic."""
    generator = torch.Generator().manual_seed(seed)
    graphs = {}
    for edge_type in EDGE_TYPES:
        sizes = NUM_NODES[edge_type[0]], NUM_NODES[edge_type[2]]
        ends = [torch.randint(size, (num_edges,), generator=generator) for size in sizes]
        graphs[edge_type] = Graph.from_edge_index(
            torch.stack(ends), sizes[1], num_src_nodes=sizes[0], **kwargs
        )
    return HeteroGraph(NUM_NODES, graphs)


def as_lists(batch):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        return value.tolist() if isinstance(value, torch.Tensor) else value

    names = [field.name for field in fields(batch) if field.repr]
    return {name: plain(getattr(batch, name)) for name in [*names, "e_id"]}


def same(left, right):
    return as_lists(left) == as_lists(right)


def by_hop(values, counts):
    ends = torch.tensor([0, *counts]).cumsum(0).tolist()
    return [values[..., low:high] for low, high in pairwise(ends)]


def check_batch(graph, fanout, seeds, batch):
    """Everything that a batch of one tree promises."""
    assert list(batch.n_id) == graph.node_types
    assert list(batch.edge_index) == list(batch.e_id) == graph.edge_types
    known = {kind: [] for kind in graph.node_types}
    num_hops = len(next(iter(fanout.values())))
    for hop in range(num_hops + 1):
        met = {kind: set() for kind in graph.node_types}
        for edge_type, edges in graph.graphs.items() if hop > 0 else ():
            source, _, target = edge_type
            src, dst = by_hop(batch.edge_index[edge_type], batch.num_sampled_edges[edge_type])[
                hop - 1
            ]
            e_id = by_hop(batch.e_id[edge_type], batch.num_sampled_edges[edge_type])[hop - 1]
            expanded = by_hop(batch.n_id[target], batch.num_sampled_nodes[target])[hop - 1]
            src, dst = batch.n_id[source][src], batch.n_id[target][dst]
            place = {int(edge): at for at, edge in enumerate(edges.edge_id)}
            position = torch.tensor([place[int(edge)] for edge in e_id], dtype=torch.int64)
            assert torch.equal(edges.indices[position], src)
            assert (edges.indptr[dst] <= position).all()
            assert (position < edges.indptr[dst + 1]).all()
            k = fanout[edge_type][hop - 1]
            expected = []
            for node in expanded.tolist():
                degree = int(edges.degree(torch.tensor(node)))
                expected += [node] * (degree if k == -1 else min(k, degree))
            assert dst.tolist() == expected
            assert len(set(e_id.tolist())) == e_id.numel()
            met[source] |= set(src.tolist())
        for kind in graph.node_types:
            found = by_hop(batch.n_id[kind], batch.num_sampled_nodes[kind])[hop].tolist()
            first = seeds.get(kind, []) if hop == 0 else sorted(met[kind] - set(known[kind]))
            assert found == first
            known[kind] += found
    assert {kind: len(nodes) for kind, nodes in known.items()} == {
        kind: nodes.numel() for kind, nodes in batch.n_id.items()
    }


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
    st.lists(st.integers(0, 59), unique=True, max_size=6),
    st.fixed_dictionaries(
        {kind: st.lists(st.integers(-1, 4), min_size=2, max_size=2) for kind in EDGE_TYPES}
    ),
    st.integers(0, 2**64 - 1),
)
def test_batch_holds_what_it_promises(seeds, fanout, seed):
    graph = random_graph()
    batch = NeighborSampler(graph, fanout, seed=seed).sample(
        torch.tensor(seeds, dtype=torch.int64), input_type="paper"
    )
    assert batch.input_type == "paper"
    assert batch.batch_size == len(seeds)
    assert batch.batch is None
    check_batch(graph, fanout, {"paper": seeds}, batch)


def test_seeds_of_several_types():
    graph, fanout = random_graph(), {kind: [3, 2] for kind in EDGE_TYPES}
    seeds = {"venue": [4, 0], "paper": [8], "author": [39, 2]}
    given_seeds = {kind: torch.tensor(nodes) for kind, nodes in seeds.items()}
    batch = NeighborSampler(graph, [3, 2]).sample(given_seeds)
    assert batch.batch_size == 5
    assert batch.input_type is None
    check_batch(graph, fanout, seeds, batch)
    trees = NeighborSampler(graph, [3, 2], disjoint=True).sample(given_seeds).batch
    assert trees["venue"][:2].tolist() == [0, 1]
    assert trees["paper"][:1].tolist() == [2]
    assert trees["author"][:2].tolist() == [3, 4]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("subgraph_type", ["directional", "induced"])
def test_every_placement_gives_the_same_batch(device, weighted, timed, subgraph_type):
    generator = torch.Generator().manual_seed(3)
    columns = {"edge_weight": torch.rand(300, generator=generator)} if weighted else {}
    if timed:
        columns["edge_time"] = torch.randint(20, (300,), generator=generator)
    graph = random_graph(num_edges=300, **columns)
    options = {"weighted": weighted, "subgraph_type": subgraph_type, "seed": 5}
    arguments = {"input_type": "paper", "epoch": 1}
    if timed:
        arguments["seed_time"] = torch.tensor([12, 3, 20])
    seeds = torch.tensor([9, 0, 31])
    expected = NeighborSampler(graph, [3, -1, 2], **options).sample(seeds, **arguments)
    unified = graph.to_unified()
    reader = unified["paper", "cites", "paper"].indices.device
    for placed, where in ((graph.to(device), device), (unified, reader)):
        sampler = NeighborSampler(placed, [3, -1, 2], **options)
        batch = sampler.sample(seeds.to(device), **arguments)
        assert same(batch, expected)
        assert {tensor.device for tensor in batch.n_id.values()} == {where}


def test_the_first_edge_type_draws_as_a_graph_of_one_type_does():
    """And the others draw otherwise: the number of the edge type is a part of the key."""
    generator = torch.Generator().manual_seed(1)
    edges = torch.randint(50, (2, 900), generator=generator)
    graph = Graph.from_edge_index(edges, 50)
    names = [("node", "first", "node"), ("node", "second", "node")]
    hetero = HeteroGraph({"node": 50}, dict.fromkeys(names, graph))
    seeds = torch.arange(20)
    alone = NeighborSampler(graph, [4], seed=9).sample(seeds)
    both = NeighborSampler(hetero, [4], seed=9).sample(seeds, input_type="node")
    assert both.e_id[names[0]].tolist() == alone.e_id.tolist()
    assert both.e_id[names[1]].tolist() != alone.e_id.tolist()


def test_weights_of_some_edge_types():
    """Edges with weights are drawn by them, the others uniformly."""
    graph = random_graph()
    weight = torch.zeros(200)
    weight[::50] = 1.0
    graphs = {**graph.graphs}
    cites = graphs[CITES]
    graphs[CITES] = Graph.from_csc(
        cites.indptr, cites.indices, edge_id=cites.edge_id, weight=weight
    )
    weighted = HeteroGraph(NUM_NODES, graphs)
    seeds = torch.arange(60)
    batch = NeighborSampler(weighted, [5], weighted=True).sample(seeds, input_type="paper")
    plain = NeighborSampler(graph, [5]).sample(seeds, input_type="paper")
    assert {*batch.e_id[CITES].tolist()} == {*cites.edge_id[::50].tolist()}
    assert batch.e_id[WRITES].tolist() == plain.e_id[WRITES].tolist()


def test_induced_edges_are_all_between_nodes_of_the_batch():
    graph = random_graph()
    seeds = torch.tensor([3, 50])
    batch = NeighborSampler(graph, [2, 2], subgraph_type="induced").sample(
        seeds, input_type="paper"
    )
    for (source, _, target), edges in graph.graphs.items():
        inside = {kind: set(batch.n_id[kind].tolist()) for kind in (source, target)}
        dst = torch.repeat_interleave(edges.indptr.diff())
        expected = {
            int(edge)
            for edge, s, d in zip(edges.edge_id, edges.indices, dst, strict=True)
            if int(s) in inside[source] and int(d) in inside[target]
        }
        found = batch.e_id[source, _, target].tolist()
        assert len(found) == len(expected)
        assert set(found) == expected


FOLLOWS, FOLLOWED = ("user", "follows", "user"), ("user", "rev_follows", "user")
BUYS, BOUGHT, SOLD = ("user", "buys", "item"), ("item", "rev_buys", "user"), ("item", "to", "user")


@pytest.mark.parametrize(
    ("edge_types", "expected"),
    [
        ([BUYS, BOUGHT], [BOUGHT, BUYS]),
        ([BUYS, BOUGHT, SOLD], [BOUGHT, BUYS, BUYS]),
        ([BUYS, SOLD], [SOLD, BUYS]),
        ([BOUGHT, SOLD], [None, None]),
        ([FOLLOWS], [FOLLOWS]),
        ([FOLLOWS, FOLLOWED], [FOLLOWED, FOLLOWS]),
        ([BUYS, ("item", "a", "user"), SOLD], [None, BUYS, BUYS]),
    ],
)
def test_reverse_types(edge_types, expected):
    assert [reverse_type(kind, edge_types) for kind in edge_types] == expected


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize(
    "edge_types",
    [[BUYS, BOUGHT], [BUYS, BOUGHT, FOLLOWS], [BUYS, SOLD], [FOLLOWS, FOLLOWED], [BUYS]],
    ids=str,
)
def test_bidirectional_edges_are_those_of_pyg(device, disjoint, edge_types):
    """A type is joined with that of its reverses, and both with themselves where they are one."""
    outputs = pytest.importorskip("torch_geometric.sampler")
    generator = torch.Generator().manual_seed(1)
    sizes = {"user": 30, "item": 20}
    graphs = {}
    for source, name, target in edge_types:
        ends = [torch.randint(sizes[kind], (90,), generator=generator) for kind in (source, target)]
        graphs[source, name, target] = Graph.from_edge_index(
            torch.stack(ends), sizes[target], num_src_nodes=sizes[source]
        )
    graph = HeteroGraph(sizes, graphs).to_unified()
    options = {"disjoint": disjoint, "seed": 3}
    seeds = torch.tensor([3, 8, 19], device=device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*reverse")
        sampler = NeighborSampler(graph, [3, 2], subgraph_type="bidirectional", **options)
        both = sampler.sample(seeds, input_type="user")
        one = NeighborSampler(graph, [3, 2], **options).sample(seeds, input_type="user")
        ends = [{k: e[i].cpu() for k, e in one.edge_index.items()} for i in range(2)]
        expected = outputs.HeteroSamplerOutput(dict(one.n_id), *ends, dict(one.e_id))
        expected = expected.to_bidirectional()
    for kind, edge_index in both.edge_index.items():
        row, col = expected.row[kind], expected.col[kind]
        if expected.edge[kind] is None:
            pairs = sorted(zip(col.tolist(), row.tolist(), strict=True))
            assert edge_index.flip(0).t().tolist() == [list(pair) for pair in pairs]
            assert both.e_id[kind] is None
        else:
            assert edge_index.tolist() == [row.tolist(), col.tolist()]
            assert torch.equal(both.e_id[kind], one.e_id[kind])


def test_edges_that_have_no_reverses_are_said():
    with pytest.warns(
        UserWarning, match=r"\('venue', 'prints', 'paper'\)\] have no .*ToUndirected"
    ):
        NeighborSampler(random_graph(), [2], subgraph_type="bidirectional")


@pytest.mark.parametrize(
    ("fanout", "message"),
    [
        ({WRITES: [2]}, "fanout .* is for .*; expected .*with 0 for what is not to be drawn"),
        (
            {kind: [2] * (1 + (kind == CITES)) for kind in EDGE_TYPES},
            r"fanout .* has \[1, 2\] entries",
        ),
        ({kind: [-2] for kind in EDGE_TYPES}, r"fanout .* is \[-2\]"),
    ],
)
def test_bad_fanout(fanout, message):
    with pytest.raises(ValueError, match=message):
        NeighborSampler(random_graph(), fanout)


@pytest.mark.parametrize(
    ("seeds", "input_type"),
    [
        (torch.tensor([0]), None),
        (torch.tensor([0]), "reader"),
        ({"reader": torch.tensor([0])}, None),
        ({"paper": torch.tensor([0])}, "paper"),
        ({}, None),
    ],
)
def test_bad_input_type(seeds, input_type):
    with pytest.raises(ValueError, match="expected one of paper, author, venue, topic"):
        NeighborSampler(random_graph(), [2]).sample(seeds, input_type=input_type)


def test_types_for_a_graph_of_one_type():
    graph = Graph.from_edge_index(torch.tensor([[1], [0]]), 2)
    with pytest.raises(ValueError, match=r"fanout .* is for .*as the graph has one"):
        NeighborSampler(graph, {CITES: [2]})
    with pytest.raises(ValueError, match=r"input_type is 'paper' .*as the graph has one type"):
        NeighborSampler(graph, [2]).sample(torch.tensor([0]), input_type="paper")


def test_what_is_not_there_for_several_types():
    with pytest.raises(ValueError, match="no edge types"):
        NeighborSampler(HeteroGraph({"paper": 3}, {}), [2])


def test_seeds_outside_the_nodes_of_their_type():
    with pytest.raises(IndexError, match=r"seed 5 is outside .* \[0, 5\)"):
        NeighborSampler(random_graph(), [2]).sample(torch.tensor([1, 5]), input_type="venue")
