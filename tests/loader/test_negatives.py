"""The ends of negative links, against the distributions that they are to have."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chi2
from torch_geometric.sampler import NegativeSampling

from torch_direct.graph import Graph
from torch_direct.loader.negatives import Candidates, negatives_for

DRAWS = 200_000
TIME = torch.tensor([5, 1, 9, 1, 3, 7])
WEIGHT = torch.tensor([1.0, 0.0, 2.0, 4.0, 3.0, 0.0])


def candidates(*, times: bool, weights: bool):
    edges = torch.tensor([[0, 1], [2, 3]])
    graph = Graph.from_edge_index(edges, 6, node_time=TIME if times else None)
    config = NegativeSampling("triplet", 1, dst_weight=WEIGHT if weights else None)
    return negatives_for(graph, None, config).dst


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("latest", [None, 0, 1, 4, 7, 20])
def test_nodes_are_drawn_by_weight_among_those_no_later(weights, latest):
    ends = candidates(times=latest is not None, weights=weights)
    limit = None if latest is None else torch.full((DRAWS,), latest)
    drawn = ends.draw(DRAWS, limit, torch.Generator().manual_seed(0))
    observed = torch.bincount(drawn, minlength=6).double()
    chance = (WEIGHT if weights else torch.ones(6)).double()
    if latest is not None:
        chance = chance * TIME.le(latest)
    if chance.sum() == 0:
        assert drawn.unique().tolist() == [1]  # the first of the earliest
        return
    expected = chance / chance.sum() * DRAWS
    possible = expected > 0
    assert observed[~possible].sum() == 0
    statistic = ((observed - expected)[possible] ** 2 / expected[possible]).sum()
    assert statistic <= chi2.ppf(1 - 1e-4, max(1, int(possible.sum()) - 1))


def test_each_end_has_a_limit_of_its_own():
    ends = candidates(times=True, weights=False)
    limit = torch.arange(1, 10).repeat(1000)
    drawn = ends.draw(limit.numel(), limit, torch.Generator().manual_seed(1))
    assert (TIME[drawn] <= limit).all()
    assert drawn[limit == 9].unique().numel() == 6


def test_times_between_whole_numbers():
    edges = torch.tensor([[0], [1]])
    graph = Graph.from_edge_index(
        edges, 2, node_time=torch.tensor([1.25, 1.75], dtype=torch.float64)
    )
    ends = negatives_for(graph, None, NegativeSampling("triplet", 1)).dst
    limit = torch.full((100,), 1.5, dtype=torch.float64)
    assert ends.draw(100, limit, torch.Generator().manual_seed(0)).unique().tolist() == [0]


def test_every_node_of_many_may_be_drawn():
    drawn = Candidates(2**40).draw(1000, None, torch.Generator().manual_seed(0))
    for bit in range(40):
        assert 0.4 < (drawn >> bit & 1).double().mean() < 0.6


def test_a_limit_that_does_not_fit_into_the_type_of_the_times():
    edges = torch.tensor([[0, 1], [2, 3]])
    graph = Graph.from_edge_index(edges, 6, node_time=TIME.int())
    ends = negatives_for(graph, None, NegativeSampling("triplet", 1)).dst
    limit = torch.full((100,), 2**31 + 5)
    drawn = ends.draw(100, limit, torch.Generator().manual_seed(0))
    assert drawn.unique().numel() == 6


def test_draws_depend_on_the_generator_alone():
    ends = candidates(times=False, weights=True)
    first = ends.draw(50, None, torch.Generator().manual_seed(2))
    torch.rand(5)
    assert torch.equal(first, ends.draw(50, None, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize(("amount", "count"), [(1, 10), (0.25, 3), (2.05, 21)])
def test_how_many_are_drawn(amount, count):
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]))
    config = NegativeSampling("binary", amount)
    assert negatives_for(graph, None, config).count(10) == count


@pytest.mark.parametrize("weight", [[2.0, -1.0], [0.0, 0.0], [1.0, float("nan")]])
def test_bad_weights(weight):
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]))
    config = NegativeSampling("binary", 1, src_weight=torch.tensor(weight))
    with pytest.raises(ValueError, match="src_weight sums to"):
        negatives_for(graph, None, config)
