"""Multi-hop sampling: every implementation against a plain Python model, bit for bit."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torch_direct.kernels.backend import interpreting
from torch_direct.kernels.philox import bounded, philox
from torch_direct.kernels.queue import Queue
from torch_direct.kernels.sample import ALL, Hop, Relation, Sample, Seeds, reference, sample_hops

from .conftest import MODEST

WORD = st.integers(0, 2**32 - 1)


class Edges(NamedTuple):
    """The edges of one type, by destination."""

    neighbours: list[list[int]]
    source: int = 0
    target: int = 0
    weights: list[list[int]] | None = None
    times: list[list[int]] | None = None
    source_times: list[int] | None = None

    def relation(self, device: torch.device, ids: tuple[torch.dtype, torch.dtype]) -> Relation:
        ends = torch.tensor([0, *(len(row) for row in self.neighbours)]).cumsum(0)
        indices = torch.tensor(flat(self.neighbours), dtype=ids[1], device=device)
        return Relation(
            ends.to(device, ids[0]),
            indices,
            self.source,
            self.target,
            None if self.weights is None else prefix_of(flat(self.weights)).to(device),
            None if self.times is None else torch.tensor(flat(self.times), device=device),
            None if self.source_times is None else torch.tensor(self.source_times, device=device),
        )

    def times_into(self, node: int) -> list[int] | None:
        if self.source_times is not None:
            return [self.source_times[source] for source in self.neighbours[node]]
        return None if self.times is None else self.times[node]


def flat(rows: list[list[int]]) -> list[int]:
    return [value for row in rows for value in row]


def prefix_of(weights: list[int]) -> torch.Tensor:
    """Running sums modulo 2**64; large weights make them wrap round early."""
    sums = itertools.accumulate(weights, initial=0)
    return torch.tensor([(number + 2**63) % 2**64 - 2**63 for number in sums])


class Case(NamedTuple):
    edges: list[Edges]
    num_nodes: list[int]
    seeds: list[tuple[int, list[int]]]
    hops: list[list[Hop]]
    disjoint: bool = False
    times: list[int] | None = None
    ids: tuple[torch.dtype, torch.dtype] = (torch.int64, torch.int64)

    @staticmethod
    def of(neighbours: list[list[int]], seeds: list[int], hops: list[Hop], **kwargs: Any) -> Case:
        """Nodes and edges of one type."""
        alone = [[hop] for hop in hops]
        return Case([Edges(neighbours)], [len(neighbours)], [(0, seeds)], alone, **kwargs)

    def tensors(self, device: torch.device) -> tuple[list[Relation], list[int], Seeds]:
        seeds = [
            (kind, torch.tensor(nodes, dtype=torch.int64, device=device))
            for kind, nodes in self.seeds
        ]
        times = None if self.times is None else torch.tensor(self.times, device=device)
        relations = [edges.relation(device, self.ids) for edges in self.edges]
        return relations, self.num_nodes, Seeds(seeds, self.disjoint, times)


def edges_between(num_nodes: list[int], source: int, target: int, number: int) -> Edges:
    """Edges of one type, in all forms; which, the number says."""
    chance = random.Random(number)
    node, most = range(num_nodes[source]), chance.choice([3, 20])
    degrees = [chance.choice([0, chance.randint(0, most)]) for _ in range(num_nodes[target])]
    rows = [chance.choices(node, k=degree) for degree in degrees]
    edges = Edges(rows, source, target)
    if chance.random() < 0.5:
        largest = chance.choice([1, 5, 2**57])
        weights = [[chance.randint(1, chance.choice([1, largest])) for _ in row] for row in rows]
        edges = edges._replace(weights=weights)
    timed = chance.choice(["edges", "nodes", "no"])
    if timed == "edges":
        times = [sorted(chance.randrange(10) for _ in row) for row in rows]
        return edges._replace(times=times)
    if timed == "nodes":
        source_times = [chance.randrange(10) for _ in node]
        rows = [sorted(row, key=source_times.__getitem__) for row in rows]
        return edges._replace(neighbours=rows, source_times=source_times)
    return edges


@st.composite
def cases(draw: st.DrawFn, max_types: int = 3) -> Case:
    num_types = draw(st.integers(1, max_types))
    num_nodes = [draw(st.integers(1, 70)) for _ in range(num_types)]
    kind = st.integers(0, num_types - 1)
    kinds = draw(st.lists(st.tuples(kind, kind), min_size=1, max_size=max_types))
    edges = [edges_between(num_nodes, *pair, draw(WORD)) for pair in kinds]
    timed = draw(st.booleans())
    disjoint = timed or draw(st.booleans())
    seeds = []
    for seed_type in draw(st.lists(kind, min_size=1, unique=True)):
        node = st.integers(0, num_nodes[seed_type] - 1)
        nodes = draw(st.lists(node, min_size=1, max_size=8, unique=not disjoint))
        seeds.append((seed_type, nodes))
    fanout = st.integers(1, 12) | st.sampled_from([ALL, 0])
    replace, last = draw(st.booleans()), draw(st.booleans())
    hop = st.builds(Hop, fanout, st.tuples(WORD, WORD), st.just(replace), st.just(last))
    hops = draw(st.lists(st.tuples(*[hop] * len(edges)).map(list), min_size=1, max_size=3))
    times = [draw(st.integers(-1, 9)) for _, nodes in seeds for _ in nodes] if timed else None
    dtype = st.sampled_from([torch.int32, torch.int64])
    return Case(edges, num_nodes, seeds, hops, disjoint, times, draw(st.tuples(dtype, dtype)))


def word(node: int, tree: int, number: int, key: tuple[int, int]) -> tuple[int, int]:
    words = philox((node & 0xFFFFFFFF, node >> 32, number // 2, tree), key)
    return words[:2] if number % 2 == 0 else words[2:]


def drawn(node: int, tree: int, degree: int, hop: Hop, weights: list[int] | None) -> list[int]:
    """Which of a node's in-edges are drawn."""
    if hop.fanout == ALL or (degree <= hop.fanout and not hop.replace):
        return list(range(degree))
    if degree == 0:
        return []
    if weights is not None:
        return drawn_by_weight(node, tree, weights, hop)
    words = [word(node, tree, number, hop.key) for number in range(hop.fanout)]
    if hop.replace:
        return sorted(bounded(*pair, degree) for pair in words)
    chosen: set[int] = set()
    for step, pair in enumerate(words):
        last = degree - hop.fanout + step
        number = bounded(*pair, last + 1)
        chosen.add(last if number in chosen else number)
    return sorted(chosen)


def drawn_by_weight(node: int, tree: int, weights: list[int], hop: Hop) -> list[int]:
    """Round by round, among the in-edges that no round before has chosen."""
    chosen: list[int] = []
    first = 0
    while len(chosen) < hop.fanout:
        left = [number for number in range(len(weights)) if hop.replace or number not in chosen]
        ends = list(itertools.accumulate(weights[number] for number in left))
        found = []
        for place in range(len(chosen), hop.fanout):
            high, low = word(node, tree, first + place, hop.key)
            at = ((high >> 1 << 31) + (low >> 1)) * ends[-1] >> 62
            found.append(left[bisect.bisect_right(ends, at)])
        chosen = sorted(chosen + (found if hop.replace else sorted(set(found))))
        first += hop.fanout + hop.fanout % 2
    return chosen


def taken(edges: Edges, node: int, tree: int, until: int | None, hop: Hop) -> list[int]:
    """Which of a node's in-edges are drawn, of those that its tree sees."""
    begin, end = 0, len(edges.neighbours[node])
    times = edges.times_into(node)
    if until is not None and times is not None:
        end = bisect.bisect_right(times, until)
        if hop.last and hop.fanout != ALL:
            begin = max(0, end - hop.fanout)
    weights = None if edges.weights is None else edges.weights[node][begin:end]
    return [begin + number for number in drawn(node, tree, end - begin, hop, weights)]


def model(case: Case) -> tuple[list[object], ...]:
    """The sample, made with lists and dictionaries."""
    num_seeds = sum(len(nodes) for _, nodes in case.seeds)
    num_trees = max(1, num_seeds) if case.disjoint else 1
    trees = iter(range(num_seeds) if case.disjoint else [0] * num_seeds)
    places: list[dict[tuple[int, int], int]] = [{} for _ in case.num_nodes]
    for kind, nodes in case.seeds:
        places[kind] = {(node, next(trees)): place for place, node in enumerate(nodes)}
    frontiers = [list(place) for place in places]
    rows: list[tuple[list[int], list[int]]] = [([], []) for _ in case.edges]
    positions: list[list[int]] = [[] for _ in case.edges]
    num_vertices = [[len(place)] for place in places]
    num_edges: list[list[int]] = [[] for _ in case.edges]
    for hop in case.hops:
        met: list[set[tuple[int, int]]] = [set() for _ in case.num_nodes]
        ends = []
        for edges, what, position, by_hop in zip(
            case.edges, hop, positions, num_edges, strict=True
        ):
            begin = [0, *itertools.accumulate(len(row) for row in edges.neighbours)]
            found = [
                ((edges.neighbours[node][number], tree), (node, tree), begin[node] + number)
                for node, tree in frontiers[edges.target]
                for number in taken(
                    edges, node, tree, None if case.times is None else case.times[tree], what
                )
            ]
            met[edges.source] |= {src for src, _, _ in found}
            position += [number for _, _, number in found]
            by_hop.append(len(found))
            ends.append(found)
        frontiers = [sorted(new - set(place)) for new, place in zip(met, places, strict=True)]
        for place, frontier, counts in zip(places, frontiers, num_vertices, strict=True):
            place.update({vertex: len(place) + i for i, vertex in enumerate(frontier)})
            counts.append(len(frontier))
        for edges, found, (src, dst) in zip(case.edges, ends, rows, strict=True):
            src += [places[edges.source][source] for source, _, _ in found]
            dst += [places[edges.target][target] for _, target, _ in found]
    vertices = [[node * num_trees + tree for node, tree in place] for place in places]
    return vertices, [list(row) for row in rows], positions, num_vertices, num_edges


class Place(NamedTuple):
    """Where a sampler runs."""

    device: torch.device
    sample_hops: Callable[..., Sample]

    def sample(self, case: Case) -> Sample:
        return self.sample_hops(*case.tensors(self.device), case.hops)


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
    lists = ([tensor.tolist() for tensor in some] for some in (vertices, edge_index, position))
    return (*lists, num_vertices, num_edges)


@everywhere
@MODEST
@given(case=cases())
def test_equals_the_model(place: Place, case: Case) -> None:
    made = place.sample(case)
    assert as_lists(made) == model(case)
    for tensor in itertools.chain(*made[:3]):
        assert tensor.dtype == torch.int64
        assert tensor.device == place.device
        assert tensor.is_contiguous()


def ring(num_nodes: int, degree: int) -> list[list[int]]:
    """Every node hears from those after it, far apart."""
    return [[(i + 7 * j) % num_nodes for j in range(1, degree + 1)] for i in range(num_nodes)]


@everywhere
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("fanout", [1, 2, 15, 16, 17, 64, 1025])
def test_fanouts_around_the_tiles(place: Place, fanout: int, replace: bool, weighted: bool) -> None:
    hops = [Hop(fanout, (1, 2**32 - 1), replace)]
    case = Case.of([*ring(40, 30), [5] * 1030], [40, 3, 17], hops)
    if weighted:
        weights = [[1 + number**3 for number, _ in enumerate(row)] for row in case.edges[0][0]]
        case = case._replace(edges=[case.edges[0]._replace(weights=weights)])
    assert as_lists(place.sample(case)) == model(case)


@everywhere
@pytest.mark.parametrize("weighted", [False, True])
def test_a_fanout_that_no_node_exceeds_is_no_work(place: Place, weighted: bool) -> None:
    """However large it is."""
    rows = ring(40, 30)
    edges = Edges(rows, weights=rows if weighted else None)
    case = Case([edges], [40], [(0, [3, 17])], [[Hop(2**40, (1, 2), False)]])
    assert as_lists(place.sample(case)) == model(case)


@everywhere
def test_one_weight_that_outweighs_all_others(place: Place) -> None:
    """Round after round, each draws the heaviest of those that are left; and searches look far
    from where it is, on either side."""
    heavy = Edges(
        [list(range(12))] + [[]] * 11, weights=[[2 ** (5 * i) for i in range(12)], *[[]] * 11]
    )
    case = Case([heavy], [12], [(0, [0])], [[Hop(11, (3, 4), False)]])
    assert as_lists(place.sample(case)) == model(case)


@everywhere
def test_frontiers_longer_than_a_block(place: Place) -> None:
    hops = [Hop(3, (5, 7), False), Hop(2, (7, 5), False)]
    case = Case.of(ring(2100, 5), list(range(700)), hops)
    assert as_lists(place.sample(case)) == model(case)


@pytest.mark.parametrize("place", KERNELS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_narrow_grid_over_the_link(place: Place, weighted: bool) -> None:
    rows = ring(600, 4)
    weights = [[1 + (i * j) % 9 for j in range(4)] for i in range(600)] if weighted else None
    seeds, hops = [(0, list(range(300)))], [[Hop(3, (5, 7), False)]] * 2
    case = Case([Edges(rows, weights=weights)], [600], seeds, hops)
    from torch_direct.kernels.sample import draw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "_PROGRAMS_OVER_LINK", 2)
        patch.setattr(draw, "_WARPS_BY_WEIGHT_OVER_LINK", 2)
        made = place.sample_hops(*case.tensors(place.device), case.hops, over_link=True)
    assert as_lists(made) == model(case)


def test_upper_words_of_ids_and_trees_reach_the_draw() -> None:
    high, low = reference.random_words(
        torch.tensor([2**40 + 3, 3, 3]), torch.tensor([0, 0, 9]), 3, (11, 13)
    )
    expected = [
        [word(n, t, i, (11, 13)) for i in range(3)] for n, t in [(2**40 + 3, 0), (3, 0), (3, 9)]
    ]
    assert torch.stack([high, low], dim=2).tolist() == [[list(w) for w in row] for row in expected]


@contextmanager
def nothing_kept() -> Iterator[Any]:
    """No batch is kept when it begins; gives what keeps them."""
    from torch_direct.kernels.sample import device
    from torch_direct.kernels.sample.kept import Kept

    with mock.patch.object(device, "_kept", Kept()) as kept:
        yield kept


@pytest.mark.parametrize("place", KERNELS)
@MODEST
@given(case=cases(), flipped=WORD)
def test_what_was_queued_serves_other_seeds_and_keys(
    place: Place, case: Case, flipped: int
) -> None:
    hops = [[hop._replace(key=(hop.key[0] ^ flipped, 5)) for hop in some] for some in case.hops]
    groups = [(kind, nodes[::-1]) for kind, nodes in case.seeds]
    relations, num_nodes, _ = case.tensors(place.device)
    with nothing_kept():
        for asked in (case, case, case._replace(seeds=groups, hops=hops), case):
            seeds = asked.tensors(place.device)[2]
            made = place.sample_hops(relations, num_nodes, seeds, asked.hops)
            assert as_lists(made) == model(asked)


@pytest.mark.parametrize("place", KERNELS)
@pytest.mark.parametrize("most_marked", [0, 2**30])
@pytest.mark.parametrize(
    ("fanout", "disjoint", "repeated"), [(3, False, 3), (3, True, 2), (ALL, False, 0)]
)
def test_what_is_queued_again(
    place: Place, fanout: int, disjoint: bool, repeated: int, most_marked: int
) -> None:
    """Batches of a shape, from the third on, but for those that the host waits for more often.

    Without trees, fewer seeds are of the same shape.
    """
    from torch_direct.kernels.sample import batch

    hops = [Hop(fanout, (5, 7), False)] * 2
    case = Case.of(ring(60, 9), list(range(20)), hops, disjoint=disjoint)
    relations, num_nodes, _ = case.tensors(place.device)
    fewer = case._replace(seeds=[(0, [4, 7])])
    marked = mock.patch.object(batch, "_MOST_MARKED", most_marked)
    repeats = mock.patch.object(Queue, "repeat", autospec=True, side_effect=Queue.repeat)
    with nothing_kept(), marked, repeats as repeat:
        for asked in (case, case, fewer, case, case):
            seeds = asked.tensors(place.device)[2]
            made = place.sample_hops(relations, num_nodes, seeds, asked.hops)
            assert as_lists(made) == model(asked)
    assert repeat.call_count == (repeated if most_marked else 0)


@pytest.mark.parametrize("place", KERNELS)
def test_a_batch_is_not_queued_again_for_another_kind(place: Place) -> None:
    """Batches that differ in one thing only, in turn; each is what it would be alone."""
    hops = [Hop(3, (5, 7), False)] * 2
    times = [[i * j % 11 for j in range(9)] for i in range(60)]
    edges = [Edges(ring(60, 9), times=[sorted(row) for row in times])]
    base = Case(edges, [60], [(0, list(range(20)))], [[hop] for hop in hops], True, [5] * 20)
    others = [
        base._replace(edges=[edges[0]._replace(neighbours=ring(60, 9)[::-1])]),
        base._replace(hops=[[hop._replace(fanout=4)] for hop in hops]),
        base._replace(hops=[[hop._replace(replace=True)] for hop in hops]),
        base._replace(hops=[[hop._replace(last=True)] for hop in hops]),
        base._replace(disjoint=False, times=None),
        base._replace(times=None),
        base._replace(seeds=[(0, list(range(10)))], times=[5] * 10),
    ]
    tensors = [case.tensors(place.device) for case in (base, *others)]
    relations_of_base = tensors[0][0]
    from torch_direct.kernels.sample import batch

    with nothing_kept(), mock.patch.object(batch, "_SEEDS_OF_A_SHAPE", 1):
        for _ in range(3):
            for case, (relations, num_nodes, seeds) in zip((base, *others), tensors, strict=True):
                graph = relations_of_base if case.edges == base.edges else relations
                for link in (False, True):
                    made = place.sample_hops(graph, num_nodes, seeds, case.hops, over_link=link)
                    assert as_lists(made) == model(case)


@pytest.mark.parametrize("place", KERNELS)
def test_what_was_queued_in_inference_mode_serves_outside(place: Place) -> None:
    case = Case.of(ring(60, 9), list(range(20)), [Hop(3, (5, 7), False)] * 2)
    parts = case.tensors(place.device)
    with nothing_kept():
        for mode in (True, True, True, False, False, False, True):
            with torch.inference_mode(mode):
                made = place.sample_hops(*parts, case.hops)
            assert as_lists(made) == model(case)


@pytest.mark.parametrize("place", KERNELS)
def test_no_more_is_kept_than_allowed(place: Place) -> None:
    from torch_direct.kernels.sample import batch, kept

    cases = [
        Case.of(ring(60, 9), list(range(size)), [Hop(3, (5, 7), False)]) for size in range(4, 9)
    ]
    tensors = [case.tensors(place.device) for case in cases]
    with nothing_kept() as batches, mock.patch.object(batch, "_SEEDS_OF_A_SHAPE", 1):

        def sample_each() -> list[int]:
            for case, parts in zip(cases, tensors, strict=True):
                for _ in range(2):
                    place.sample_hops(*parts, case.hops)
            return [kept_batch.queue.nbytes for kept_batch in batches._batches.values()]

        sizes = sample_each()
        assert len(sizes) == 5
        with mock.patch.object(kept, "_MOST_BYTES", sum(sizes[-2:])):
            assert sample_each() == sizes[-2:]
        with mock.patch.object(kept, "_MOST_BYTES", 0):
            assert sample_each() == []


def test_a_batch_is_lent_to_one_at_a_time() -> None:
    from torch_direct.kernels.sample import kept

    def batch(nbytes: int) -> Any:
        return SimpleNamespace(queue=SimpleNamespace(repeatable=True, nbytes=nbytes))

    batches, small, large = kept.Kept(), batch(1), batch(11)
    with mock.patch.object(kept, "_MOST_BYTES", 10):
        for shape, one in (("small", small), ("large", large)) * 2:
            batches.give(shape, one)
        assert batches.take("large") is None
        assert batches.take("small") is small  # what is too large drives out no other
        assert batches.take("small") is None


@pytest.mark.parametrize("place", KERNELS)
@MODEST
@given(case=cases())
def test_vertices_too_many_for_bitmaps(place: Place, case: Case) -> None:
    from torch_direct.kernels.sample import batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_MOST_MARKED", 0)
        assert as_lists(place.sample(case)) == model(case)


@pytest.mark.parametrize("place", KERNELS)
def test_hops_too_wide_for_the_worst_case(place: Place) -> None:
    case = Case.of(ring(60, 9), list(range(20)), [Hop(3, (5, 7), True)] * 2)
    from torch_direct.kernels.sample import draw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "_MOST_UNCOUNTED", 10)
        assert as_lists(place.sample(case)) == model(case)
        parts = case.tensors(place.device)
        with nothing_kept() as batches:
            for _ in range(2):
                place.sample_hops(*parts, case.hops)
            assert not batches._batches  # room for so many edges is none for others


@everywhere
@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("bad", [-1, 4, 2**62, -(2**63)])
def test_seeds_outside_the_graph(place: Place, bad: int, disjoint: bool) -> None:
    hops = [Hop(2, (0, 0), False), Hop(ALL, (0, 0), False)]
    with pytest.raises(IndexError, match=rf"seed {bad} is outside .* \[0, 4\)"):
        place.sample(Case.of(ring(4, 3), [1, bad], hops, disjoint=disjoint))


@everywhere
def test_repeated_seeds(place: Place) -> None:
    hops = [Hop(2, (0, 0), False)]
    with pytest.raises(ValueError, match="seed 2 is given more than once"):
        place.sample(Case.of(ring(4, 3), [2, 1, 2], hops))
    repeated = Case.of(ring(4, 3), [2, 1, 2], hops, disjoint=True)
    assert as_lists(place.sample(repeated)) == model(repeated)


@pytest.mark.parametrize("place", KERNELS)
def test_bad_seeds_without_bitmaps(place: Place) -> None:
    from torch_direct.kernels.sample import batch

    hops = [Hop(2, (0, 0), False)]
    with mock.patch.object(batch, "_MOST_MARKED", 0):
        with pytest.raises(IndexError, match="seed 4 is outside"):
            place.sample(Case.of(ring(4, 3), [1, 4], hops))
        with pytest.raises(ValueError, match="seed 2 is given more than once"):
            place.sample(Case.of(ring(4, 3), [2, 1, 2], hops))


@everywhere
def test_trees_take_more_edges_together_than_there_are(place: Place) -> None:
    case = Case.of(ring(6, 5), [3] * 40, [Hop(5, (0, 0), False)], disjoint=True)
    assert as_lists(place.sample(case)) == model(case)


@everywhere
def test_ids_of_32_bits_in_trees_that_need_more(place: Place) -> None:
    far = 2**30
    edges, hop = Edges([[far, 5]], source=1), Hop(5, (0, 0), False)
    ids = torch.int32, torch.int32
    case = Case([edges], [1, far + 1], [(0, [0, 0, 0])], [[hop]], disjoint=True, ids=ids)
    assert as_lists(place.sample(case)) == model(case)


@everywhere
def test_no_seeds_and_no_edges(place: Place) -> None:
    hops = [Hop(2, (0, 0), False), Hop(ALL, (0, 0), False)]
    for case in (
        Case.of(ring(4, 3), [], hops),
        Case.of(ring(4, 3), [], hops, disjoint=True),
        Case.of([[], []], [1, 0], hops),
        Case.of([[], [1]], [0], hops),
    ):
        assert as_lists(place.sample(case)) == model(case)


@everywhere
def test_too_many_in_edges_to_draw_from(place: Place) -> None:
    device = place.device
    indptr = torch.tensor([0, 2**31], device=device)
    indices, seeds = torch.zeros(8, dtype=torch.int64, device=device), torch.zeros_like(indptr[:1])
    graph, hop = [Relation(indptr, indices)], [Hop(2, (0, 0), False)]
    with pytest.raises(ValueError, match="2147483648 in-edges; expected at most 2147483647"):
        place.sample_hops(graph, [1], Seeds([(0, seeds)]), [hop])


@everywhere
def test_as_many_in_edges_as_can_be_drawn_from(place: Place) -> None:
    """By the reference everywhere, since memory for so many is not contiguous here."""
    device, degree = place.device, 2**31 - 1
    indptr, seeds = torch.tensor([0, degree], device=device), torch.tensor([0], device=device)
    graph, hop = [Relation(indptr, seeds.expand(degree))], [Hop(2, (0, 0), False)]
    made = place.sample_hops(graph, [1], Seeds([(0, seeds)]), [hop])
    assert made.num_edges == [[2]]


@everywhere
def test_strided_graphs_are_sampled_too(place: Place) -> None:
    case = Case.of(ring(9, 4), [3, 8], [Hop(2, (1, 1), False)] * 2)
    (relation,), num_nodes, seeds = case.tensors(place.device)
    strided = torch.stack([relation.indices, relation.indices - 1], dim=1)[:, 0]
    relation = relation._replace(indices=strided)
    made = place.sample_hops([relation], num_nodes, seeds, case.hops)
    assert as_lists(made) == model(case)
