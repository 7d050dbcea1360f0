"""Multi-hop sampling: every implementation against a plain Python model, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torch_direct.kernels.backend import interpreting
from torch_direct.kernels.philox import bounded, philox
from torch_direct.kernels.sample import ALL, Hop, Sample, reference, sample_hops

from .conftest import MODEST

WORD = st.integers(0, 2**32 - 1)


class Case(NamedTuple):
    neighbours: list[list[int]]
    seeds: list[int]
    hops: list[Hop]
    disjoint: bool
    indptr_dtype: torch.dtype = torch.int64
    indices_dtype: torch.dtype = torch.int64

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        ends = torch.tensor([0, *(len(row) for row in self.neighbours)]).cumsum(0)
        flat = [source for row in self.neighbours for source in row]
        return (
            ends.to(device, self.indptr_dtype),
            torch.tensor(flat, dtype=self.indices_dtype, device=device),
            torch.tensor(self.seeds, dtype=torch.int64, device=device),
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    num_nodes = draw(st.integers(1, 70))
    node = st.integers(0, num_nodes - 1)
    some = draw(st.lists(st.lists(node, max_size=20), max_size=num_nodes))
    neighbours = some + [[]] * (num_nodes - len(some))
    replace, disjoint = draw(st.booleans()), draw(st.booleans())
    hop = st.builds(Hop, st.integers(1, 12) | st.just(ALL), st.tuples(WORD, WORD), st.just(replace))
    return Case(
        draw(st.permutations(neighbours)),
        draw(st.lists(node, min_size=1, max_size=8, unique=not disjoint)),
        draw(st.lists(hop, min_size=1, max_size=3)),
        disjoint,
        draw(st.sampled_from([torch.int32, torch.int64])),
        draw(st.sampled_from([torch.int32, torch.int64])),
    )


def word(node: int, tree: int, number: int, key: tuple[int, int]) -> tuple[int, int]:
    words = philox((node & 0xFFFFFFFF, node >> 32, number // 2, tree), key)
    return words[:2] if number % 2 == 0 else words[2:]


def drawn(node: int, tree: int, degree: int, hop: Hop) -> list[int]:
    """Which of a node's in-edges are drawn."""
    if hop.fanout == ALL or (degree <= hop.fanout and not hop.replace):
        return list(range(degree))
    words = [word(node, tree, number, hop.key) for number in range(hop.fanout)]
    if hop.replace:
        return sorted(bounded(*pair, degree) for pair in words) if degree else []
    chosen: set[int] = set()
    for step, pair in enumerate(words):
        last = degree - hop.fanout + step
        number = bounded(*pair, last + 1)
        chosen.add(last if number in chosen else number)
    return sorted(chosen)


def model(case: Case) -> tuple[list[int], list[list[int]], list[int], list[int], list[int]]:
    """The sample, made with sets and dictionaries."""
    trees = len(case.seeds) if case.disjoint else 1
    begin = [0]
    for row in case.neighbours:
        begin.append(begin[-1] + len(row))
    place = {(s, t if case.disjoint else 0): t for t, s in enumerate(case.seeds)}
    frontier = list(place)
    edges, positions, num_vertices, num_edges = [], [], [len(place)], []
    for hop in case.hops:
        taken = [
            (target, number)
            for target in frontier
            for number in drawn(*target, len(case.neighbours[target[0]]), hop)
        ]
        met = {(case.neighbours[node][number], tree) for (node, tree), number in taken}
        frontier = sorted(met - set(place))
        for vertex in frontier:
            place[vertex] = len(place)
        for (node, tree), number in taken:
            edges.append((place[case.neighbours[node][number], tree], place[node, tree]))
            positions.append(begin[node] + number)
        num_vertices.append(len(frontier))
        num_edges.append(len(taken))
    vertices = [node * trees + tree for node, tree in place]
    rows = [[edge[0] for edge in edges], [edge[1] for edge in edges]]
    return vertices, rows, positions, num_vertices, num_edges


class Place(NamedTuple):
    """Where a sampler runs."""

    device: torch.device
    sample_hops: Callable[..., Sample]

    def sample(self, case: Case) -> Sample:
        return self.sample_hops(*case.tensors(self.device), case.hops, disjoint=case.disjoint)


CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
KERNELS = [pytest.param(Place(GPU, sample_hops), id="GPU", marks=pytest.mark.gpu)]
PLACES = [
    pytest.param(Place(CPU, reference.sample_hops), id="reference"),
    pytest.param(Place(GPU, reference.sample_hops), id="reference on GPU", marks=pytest.mark.gpu),
    *KERNELS,
]
if interpreting():
    PLACES = KERNELS = [pytest.param(Place(CPU, sample_hops), id="interpreter")]

everywhere = pytest.mark.parametrize("place", PLACES)


def as_lists(sample: Sample) -> tuple[object, ...]:
    vertices, edge_index, position, num_vertices, num_edges = sample
    lists = (vertices.tolist(), edge_index.tolist(), position.tolist())
    return (*lists, num_vertices, num_edges)


@everywhere
@MODEST
@given(case=cases())
def test_equals_the_model(place: Place, case: Case) -> None:
    made = place.sample(case)
    assert as_lists(made) == model(case)
    for tensor in made[:3]:
        assert tensor.dtype == torch.int64
        assert tensor.device == place.device
        assert tensor.is_contiguous()


def ring(num_nodes: int, degree: int) -> list[list[int]]:
    """Every node hears from those after it, far apart."""
    return [[(i + 7 * j) % num_nodes for j in range(1, degree + 1)] for i in range(num_nodes)]


@everywhere
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("fanout", [1, 2, 15, 16, 17, 64, 1025])
def test_fanouts_around_the_tiles(place: Place, fanout: int, replace: bool) -> None:
    hops = [Hop(fanout, (1, 2**32 - 1), replace)]
    case = Case([*ring(40, 30), [5] * 1030], [40, 3, 17], hops, disjoint=False)
    assert as_lists(place.sample(case)) == model(case)


@everywhere
def test_frontiers_longer_than_a_block(place: Place) -> None:
    hops = [Hop(3, (5, 7), False), Hop(2, (7, 5), False)]
    case = Case(ring(2100, 5), list(range(700)), hops, disjoint=False)
    assert as_lists(place.sample(case)) == model(case)


@pytest.mark.parametrize("place", KERNELS)
def test_a_narrow_grid_over_the_link(place: Place) -> None:
    case = Case(ring(600, 4), list(range(300)), [Hop(3, (5, 7), False)] * 2, disjoint=False)
    from torch_direct.kernels.sample import device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_PROGRAMS_OVER_LINK", 2)
        made = place.sample_hops(
            *case.tensors(place.device), case.hops, disjoint=False, over_link=True
        )
    assert as_lists(made) == model(case)


def test_upper_words_of_ids_and_trees_reach_the_draw() -> None:
    high, low = reference.random_words(
        torch.tensor([2**40 + 3, 3, 3]), torch.tensor([0, 0, 9]), 3, (11, 13)
    )
    expected = [
        [word(n, t, i, (11, 13)) for i in range(3)] for n, t in [(2**40 + 3, 0), (3, 0), (3, 9)]
    ]
    assert torch.stack([high, low], dim=2).tolist() == [[list(w) for w in row] for row in expected]


@pytest.mark.parametrize("place", KERNELS)
@MODEST
@given(case=cases())
def test_vertices_too_many_for_bitmaps(place: Place, case: Case) -> None:
    from torch_direct.kernels.sample import device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_MOST_MARKED", 0)
        assert as_lists(place.sample(case)) == model(case)


@pytest.mark.parametrize("place", KERNELS)
def test_hops_too_wide_for_the_worst_case(place: Place) -> None:
    case = Case(ring(60, 9), list(range(20)), [Hop(3, (5, 7), True)] * 2, disjoint=False)
    from torch_direct.kernels.sample import device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_MOST_UNCOUNTED", 10)
        assert as_lists(place.sample(case)) == model(case)


@everywhere
@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("bad", [-1, 4, 2**62, -(2**63)])
def test_seeds_outside_the_graph(place: Place, bad: int, disjoint: bool) -> None:
    hops = [Hop(2, (0, 0), False), Hop(ALL, (0, 0), False)]
    with pytest.raises(IndexError, match=rf"seed {bad} is outside .* \[0, 4\)"):
        place.sample(Case(ring(4, 3), [1, bad], hops, disjoint))


@everywhere
def test_repeated_seeds(place: Place) -> None:
    hops = [Hop(2, (0, 0), False)]
    with pytest.raises(ValueError, match="seed 2 is given more than once"):
        place.sample(Case(ring(4, 3), [2, 1, 2], hops, disjoint=False))
    repeated = Case(ring(4, 3), [2, 1, 2], hops, disjoint=True)
    assert as_lists(place.sample(repeated)) == model(repeated)


@everywhere
def test_no_seeds_and_no_edges(place: Place) -> None:
    hops = [Hop(2, (0, 0), False), Hop(ALL, (0, 0), False)]
    for case in (
        Case(ring(4, 3), [], hops, disjoint=False),
        Case(ring(4, 3), [], hops, disjoint=True),
        Case([[], []], [1, 0], hops, disjoint=False),
        Case([[], [1]], [0], hops, disjoint=False),
    ):
        assert as_lists(place.sample(case)) == model(case)


@everywhere
def test_too_many_in_edges_to_draw_from(place: Place) -> None:
    device = place.device
    indptr = torch.tensor([0, 2**31], device=device)
    indices, seeds = torch.zeros(8, dtype=torch.int64, device=device), torch.zeros_like(indptr[:1])
    with pytest.raises(ValueError, match="2147483648 in-edges; expected at most 2147483647"):
        place.sample_hops(indptr, indices, seeds, [Hop(2, (0, 0), False)], disjoint=False)


@everywhere
def test_strided_graphs_are_sampled_too(place: Place) -> None:
    case = Case(ring(9, 4), [3, 8], [Hop(2, (1, 1), False)] * 2, disjoint=False)
    indptr, indices, seeds = case.tensors(place.device)
    strided = torch.stack([indices, indices - 1], dim=1)[:, 0]
    made = place.sample_hops(indptr, strided, seeds, case.hops, disjoint=False)
    assert as_lists(made) == model(case)
