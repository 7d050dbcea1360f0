from dataclasses import replace

import pytest
import torch

from torch_direct.bench.sample.check import check_batch
from torch_direct.bench.sample.systems import Sampled
from torch_direct.errors import WrongBatchError
from torch_direct.graph import Graph

FANOUT = (2, 2)
SEEDS = torch.tensor([0, 5])
GRAPH = Graph(
    indptr=torch.tensor([0, 3, 5, 5, 6, 6, 7]),
    indices=torch.tensor([1, 1, 2, 3, 4, 0, 1]),
    edge_time=torch.tensor([10, 20, 30, 10, 20, 10, 10]),
)
"""Edges 1, 1, 2 to 0; 3, 4 to 1; 0 to 3; 1 to 5."""
NODES = torch.tensor([0, 5, 1, 2, 3, 4])
GOOD = Sampled(NODES, torch.tensor([[2, 3, 2, 4, 5], [0, 0, 1, 2, 2]]))
"""1 and 2 to 0, 1 to 5; then 3 and 4 to 1; 2 has no in-edges."""


def changed(row, at, value):
    edges = GOOD.edge_index.clone()
    edges[row, at] = value
    return replace(GOOD, edge_index=edges)


def without(*places):
    kept = [i for i in range(GOOD.edge_index.shape[1]) if i not in places]
    return replace(GOOD, edge_index=GOOD.edge_index[:, kept])


def check(sampled, fanout=FANOUT, graph=GRAPH, seeds=SEEDS, seed_time=None):
    check_batch(graph, sampled, seeds, fanout, seed_time)


def test_a_good_batch_passes():
    check(GOOD)
    check(replace(GOOD, nodes=NODES.int(), edge_index=GOOD.edge_index.int()))


@pytest.mark.gpu
def test_a_good_batch_passes_on_a_gpu():
    check(GOOD, graph=GRAPH.to("cuda"))
    check(GOOD, graph=GRAPH.to_unified())


@pytest.mark.parametrize(
    ("sampled", "words"),
    [
        (replace(GOOD, nodes=NODES[[1, 0, 2, 3, 4, 5]]), "begin with its seeds"),
        (replace(GOOD, nodes=torch.tensor([0, 5, 1, 2, 3, 3])), "in the batch twice"),
        (changed(0, 4, 9), "hop 2: an edge comes from a place outside the 6"),
        (changed(0, 4, -1), "hop 2: an edge comes from a place outside the 6"),
        (changed(0, 1, 4), "hop 1: the nodes that it meets do not follow"),
        (without(4), "hop 2: 1 edges lead into node 1; expected 2"),
        (without(1), "hop 1: 1 edges lead into node 0; expected 2"),
        (changed(0, 4, 1), "hop 2: the edge from 5 to 1 is not in the graph"),
        (changed(0, 4, 4), "hop 2: the edge from 3 to 1 is not in the graph, or not so often"),
        (replace(GOOD, nodes=torch.cat([NODES, torch.tensor([4 + 5])])), "1 nodes were met in no"),
    ],
)
def test_finds_what_is_wrong(sampled, words):
    with pytest.raises(WrongBatchError, match=words):
        check(sampled)


def test_an_edge_that_the_graph_has_twice_may_be_drawn_twice():
    twice = Sampled(torch.tensor([0, 1]), torch.tensor([[1, 1], [0, 0]]))
    check(twice, fanout=(2,), seeds=torch.tensor([0]))


def test_where_hops_expand_all_nodes_again():
    first, second = GOOD.edge_index.split([3, 2], dim=1)
    again = replace(GOOD, edge_index=[first, torch.cat([first, second], dim=1)])
    check(again)
    with pytest.raises(WrongBatchError, match="hop 2: 0 edges lead into node 0; expected 2"):
        check(replace(GOOD, edge_index=[first, second]))
    with pytest.raises(WrongBatchError, match="hop 1: an edge goes to a node that is not from 0"):
        check(replace(GOOD, edge_index=[torch.cat([first, second], dim=1), second]))


SEED_TIME = torch.tensor([20, 10])
TREES = Sampled(
    torch.tensor([0, 5, 1, 1, 3, 4, 3]),
    torch.tensor([[2, 2, 3, 4, 5, 6], [0, 0, 1, 2, 2, 3]]),
    torch.tensor([0, 1, 0, 1, 0, 0, 1]),
)
"""Up to time 20, 1 and 1 to 0, then 3 and 4 to 1; up to time 10, 1 to 5, then 3 to 1."""


def test_trees_and_times():
    check(TREES, seed_time=SEED_TIME)
    late = torch.tensor([30, 10])
    at = torch.tensor([20, 20])
    check(TREES, seed_time=late)  # with 30 the two of three that were drawn may be drawn, too
    with pytest.raises(WrongBatchError, match="hop 2: 1 edges lead into node 1; expected 2"):
        check(TREES, seed_time=at)
    with pytest.raises(WrongBatchError, match="hop 1: 2 edges lead into node 0; expected 1"):
        check(TREES, seed_time=torch.tensor([10, 10]))
    swapped = torch.tensor([0, 1, 1, 0, 0, 0, 1])
    with pytest.raises(WrongBatchError, match="hop 1: an edge joins two trees"):
        check(replace(TREES, tree=swapped), seed_time=SEED_TIME)


def test_of_many_nodes_some_are_looked_at():
    nodes = 5000
    ring = Graph(torch.arange(nodes + 1), torch.arange(nodes).roll(1))
    seeds = torch.arange(0, nodes, 2)
    met = torch.cat([seeds, seeds.roll(1) + 1])
    met[seeds.numel()] = nodes - 1
    order = torch.arange(seeds.numel())
    good = Sampled(met, torch.stack([order + seeds.numel(), order]))
    check(good, fanout=(1,), graph=ring, seeds=seeds)
    rolled = good.edge_index.clone()
    rolled[0] = rolled[0].roll(1)
    with pytest.raises(WrongBatchError, match="is not in the graph"):
        check(Sampled(met, rolled), fanout=(1,), graph=ring, seeds=seeds)
