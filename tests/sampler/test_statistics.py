"""What is drawn, against theory: many nodes that draw from the same neighbours, each on its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, combinations, permutations

import pytest
import torch
from scipy.stats import chi2

from torch_direct.graph import Graph
from torch_direct.kernels.sample import Hop
from torch_direct.kernels.sample.reference import draw
from torch_direct.sampler import NeighborSampler

DRAWS = 1_000_000
RARE = 1e-4


def offsets(
    degree: int,
    fanout: int,
    *,
    replace: bool = False,
    trees: bool = False,
    weights: Sequence[int] | None = None,
):
    """Draws of a million edges: `[num nodes, fanout]` numbers below the degree, ascending."""
    count = DRAWS // fanout
    numbers = torch.arange(count)
    nodes, tree = (numbers % 7, numbers) if trees else (numbers, torch.zeros_like(numbers))
    zero = torch.zeros_like(numbers)
    hop = Hop(fanout, (0x243F6A88, 0x85A308D3), replace)
    prefix = None if weights is None else torch.tensor([0, *accumulate(weights)])
    position, row = draw(nodes, tree, zero, zero + degree, hop, prefix)
    assert torch.equal(row, numbers.repeat_interleave(fanout))
    return position.view(count, fanout)


def check(observed: torch.Tensor, expected: torch.Tensor | float, correction: float = 1.0) -> None:
    """The statistic of Pearson is neither too large nor too small to be chance."""
    statistic = ((observed - expected) ** 2 / expected).sum().item() * correction
    freedom = observed.numel() - 1
    assert chi2.ppf(RARE, freedom) < statistic < chi2.ppf(1 - RARE, freedom)


def counts(drawn: torch.Tensor, degree: int) -> torch.Tensor:
    return torch.bincount(drawn.flatten(), minlength=degree).double()


@pytest.mark.parametrize("trees", [False, True], ids=["nodes", "trees"])
@pytest.mark.parametrize(("degree", "fanout"), [(2, 1), (7, 3), (12, 11), (16, 15), (300, 10)])
def test_every_neighbour_is_as_likely_as_any_other(degree, fanout, trees):
    drawn = offsets(degree, fanout, trees=trees)
    assert (drawn.diff(dim=1) > 0).all()
    assert drawn.min() >= 0
    # Counts of sampling without replacement: the statistic is chi-square after this correction.
    correction = (degree - 1) / (degree - fanout)
    check(counts(drawn, degree), drawn.numel() / degree, correction)


@pytest.mark.parametrize("degree", [1_000_000, 2**31 - 1])
def test_every_part_of_a_hub_is_as_likely_as_any_other(degree):
    drawn = offsets(degree, 10)
    check(counts(drawn * 1000 // degree, 1000), drawn.numel() / 1000)


def test_every_set_of_neighbours_is_as_likely_as_any_other():
    drawn = offsets(8, 4)
    sets = (1 << drawn).sum(dim=1)
    observed = torch.unique(sets, return_counts=True)[1].double()
    assert observed.numel() == 70
    check(observed, sets.numel() / 70)


@pytest.mark.parametrize(("degree", "fanout"), [(40, 5), (30, 25)])
def test_every_pair_of_neighbours_is_as_likely_as_any_other(degree, fanout):
    drawn = offsets(degree, fanout)
    hits = torch.zeros(drawn.size(0), degree).scatter_(1, drawn, 1.0)
    pairs = (hits.t() @ hits).double()[tuple(torch.triu_indices(degree, degree, 1))]
    chance = fanout * (fanout - 1) / (degree * (degree - 1))
    deviation = (drawn.size(0) * chance * (1 - chance)) ** 0.5
    assert ((pairs - drawn.size(0) * chance).abs() < 5 * deviation).all()


@pytest.mark.parametrize(("degree", "fanout"), [(1, 3), (2, 15), (9, 4), (1000, 10)])
def test_with_replacement_every_draw_is_on_its_own(degree, fanout):
    drawn = offsets(degree, fanout, replace=True)
    assert (drawn.diff(dim=1) >= 0).all()
    if degree > 1:
        check(counts(drawn, degree), drawn.numel() / degree)


def test_with_replacement_every_pair_of_draws_is_as_likely_as_any_other():
    low, high = offsets(9, 2, replace=True).t()
    observed = counts(low * 9 + high, 81).view(9, 9)
    expected = (2.0 - torch.eye(9)) * low.numel() / 81
    chosen = tuple(torch.triu_indices(9, 9))
    check(observed[chosen], expected[chosen])


def test_nodes_trees_and_keys_draw_independently():
    """Sets drawn by neighbouring nodes, trees or keys agree as often as chance says."""
    nodes = torch.arange(100_000)
    zero, degree = torch.zeros_like(nodes), torch.full_like(nodes, 10)

    def sets(ids, trees, key):
        position, _ = draw(ids, trees, zero, degree, Hop(2, key, False))
        return position.view(-1, 2)

    first = sets(nodes, zero, (5, 6))
    for other in (
        first.roll(1, 0),
        sets(nodes, zero + 1, (5, 6)),
        sets(nodes, zero, (6, 6)),
        sets(nodes, zero, (5, 7)),
    ):
        agree = (first == other).all(dim=1).double().mean().item()
        assert agree == pytest.approx(1 / 45, abs=5 * (1 / 45 / 100_000) ** 0.5)


def chance_of_set(chosen: tuple[int, ...], weights: Sequence[int]) -> float:
    """That drawing one after the other, by weight among those left, ends with this set."""
    total = 0.0
    for order in permutations(chosen):
        chance, left = 1.0, sum(weights)
        for number in order:
            chance *= weights[number] / left
            left -= weights[number]
        total += chance
    return total


@pytest.mark.parametrize(
    ("weights", "fanout"),
    [
        ([1, 2, 3, 4, 10], 1),
        ([1, 2, 3, 4, 10], 3),
        ([1, 2, 3, 4, 10], 4),
        ([3, 900, 5, 7, 900, 2], 3),
        ([5, 5, 5, 5, 5, 5, 5], 4),
        ([2**40 + 1, 2**50, 2**48, 2**49, 2**46], 2),
    ],
)
def test_by_weight_every_set_has_the_chance_of_successive_sampling(weights, fanout):
    drawn = offsets(len(weights), fanout, weights=weights)
    assert (drawn.diff(dim=1) > 0).all()
    sets = torch.bincount((1 << drawn).sum(dim=1), minlength=1 << len(weights)).double()
    chosen = list(combinations(range(len(weights)), fanout))
    chances = torch.tensor([chance_of_set(some, weights) for some in chosen]).double()
    observed = sets[[sum(1 << number for number in some) for some in chosen]]
    assert observed.sum() == drawn.size(0)
    check(observed, chances * drawn.size(0))


@pytest.mark.parametrize("trees", [False, True], ids=["nodes", "trees"])
@pytest.mark.parametrize("degree", [3, 50, 200_000])
def test_by_weight_with_replacement_every_draw_is_on_its_own(degree, trees):
    weights = [1 + number * 7919 % 31 for number in range(degree)]
    drawn = offsets(degree, 10, replace=True, trees=trees, weights=weights)
    buckets = min(degree, 100)
    bucket = torch.arange(degree) * buckets // degree
    expected = torch.zeros(buckets).double().scatter_add_(0, bucket, torch.tensor(weights).double())
    check(counts(bucket[drawn], buckets), expected * drawn.numel() / sum(weights))


def test_by_weight_every_part_of_a_hub_has_the_chance_of_its_weight():
    weights = [1 + number * 7919 % 31 for number in range(200_000)]
    drawn = offsets(200_000, 10, weights=weights)
    assert (drawn.diff(dim=1) > 0).all()
    expected = torch.tensor(weights).view(1000, 200).sum(dim=1) * (drawn.numel() / sum(weights))
    check(counts(drawn // 200, 1000), expected)


@pytest.mark.parametrize("times_of", ["edges", "nodes"])
def test_every_neighbour_that_is_not_later_is_as_likely_as_any_other(times_of):
    """Node 0 has 60 in-edges of times 0 to 59; each of a hundred thousand trees sees some."""
    sources = torch.arange(1, 61)
    edges = torch.stack([sources, torch.zeros_like(sources)])
    time = torch.arange(60)
    if times_of == "nodes":
        time = torch.cat([torch.full((1,), 99), time])
        graph = Graph.from_edge_index(edges, 61, node_time=time)
    else:
        graph = Graph.from_edge_index(edges, 61, edge_time=time)
    seeds = torch.zeros(DRAWS // 10, dtype=torch.int64)
    until = torch.arange(seeds.numel()) % 2 * 20 + 19
    batch = NeighborSampler(graph, [10]).sample(seeds, seed_time=until)
    tree = batch.batch[batch.edge_index[1]]
    for parity, seen in ((0, 20), (1, 40)):
        drawn = batch.e_id[tree % 2 == parity].view(-1, 10)
        assert (drawn.diff(dim=1) > 0).all()
        check(counts(drawn, seen), drawn.numel() / seen, (seen - 1) / (seen - 10))
