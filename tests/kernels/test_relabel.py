"""Local ids of vertices, however they are found, against sets and dictionaries."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torch_direct.kernels.backend import interpreting
from torch_direct.kernels.counts import Counts
from torch_direct.kernels.queue import Queue
from torch_direct.kernels.relabel.edges import HopEdges

from .conftest import MODEST

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class Place(NamedTuple):
    """How vertices are relabelled, and where."""

    module: str
    name: str
    device: torch.device

    def relabelling(self, *args: object) -> Any:
        module = importlib.import_module(f"torch_direct.kernels.relabel.{self.module}")
        return getattr(module, self.name)(*args)


BITMAP, SORT = ("bitmap", "BitmapRelabelling"), ("sort", "SortRelabelling")
device, marks = (CPU, []) if interpreting() else (GPU, [pytest.mark.gpu])
PLACES = [
    pytest.param(Place(*SORT, device), id="sort", marks=marks),
    pytest.param(Place(*BITMAP, device), id="bitmap", marks=marks),
]

everywhere = pytest.mark.parametrize("place", PLACES)


def padded(values: Sequence[int], device: torch.device, room: int = 3) -> torch.Tensor:
    """Values, and behind them what no kernel may look at."""
    return torch.tensor([*values, *[2**62] * room], device=device)


def mark(relabelling: Any, arrays: list[list[int]]) -> None:
    """Set the bits of the vertices that a hop meets."""
    if relabelling.coming is None:
        return
    for vertex in {vertex for part in arrays for vertex in part}:
        bit = 1 << vertex % 32
        relabelling.coming[vertex // 32] |= bit if bit < 2**31 else bit - 2**32


def check(place: Place, universe: int, seeds: list[int], hops: list[list[list[int]]]) -> None:
    """Relabel hops, each of several arrays of sources."""
    local = {seed: place for place, seed in enumerate(seeds)}
    seeds_there = torch.tensor(seeds, dtype=torch.int64, device=place.device)
    queue = Queue(place.device, [])
    counts = Counts(2 * (len(hops) + 2), queue)
    relabelling = place.relabelling(seeds_there, universe, len(hops), counts, queue)
    num_targets = torch.arange(100, 100 + len(hops), device=place.device)
    num_met, before = [len(seeds)], 0
    for arrays in hops:
        edges = [
            HopEdges(
                torch.stack([padded(part, place.device), padded(range(len(part)), place.device)]),
                torch.tensor([len(part)], device=place.device),
                num_targets,
            )
            for part in arrays
        ]
        mark(relabelling, arrays)
        met = relabelling.meet(edges)
        new = sorted({source for part in arrays for source in part} - set(local))
        local.update({vertex: len(local) + place for place, vertex in enumerate(new)})
        assert met[: len(new)].tolist() == new
        for some, part in zip(edges, arrays, strict=True):
            expected = [[local[s] for s in part], [before + place for place in range(len(part))]]
            assert some.ends[:, : len(part)].tolist() == expected
        before += int(num_targets[len(num_met) - 1])
        num_met.append(len(new))
    assert relabelling.num_met.tolist() == num_met


@everywhere
@MODEST
@given(data=st.data())
def test_equals_sets_and_dictionaries(place: Place, data: st.DataObject) -> None:
    universe = data.draw(st.integers(1, 3000))
    vertex = st.integers(0, universe - 1)
    seeds = data.draw(st.lists(vertex, max_size=40, unique=True))
    arrays = st.lists(st.lists(vertex, max_size=60), max_size=3)
    check(place, universe, seeds, data.draw(st.lists(arrays, min_size=1, max_size=4)))


@everywhere
def test_every_bit_of_every_word(place: Place) -> None:
    every = list(range(130))
    check(place, 130, [129], [[every[:64]], [every[::-1]], [every]])
    check(place, 130, every[::-1], [[every]])


@everywhere
def test_vertices_past_32_bits(place: Place) -> None:
    far = 2**22 if interpreting() else 2**33
    check(place, far, [far - 1, 3], [[[far - 2, 3, far // 2]], [[0]]])
