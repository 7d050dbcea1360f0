"""What only a GPU can show: streams, the driver's own books, graph capture."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import torch_direct as td
from torch_direct.errors import AlreadyRegisteredError

pytestmark = pytest.mark.gpu

MIB_OF_FLOATS = 1 << 18
SHORT, LONG = 5_000_000, 1_000_000_000
"""Clock cycles that a stream is kept busy: some milliseconds, half a second."""


@pytest.fixture(autouse=True)
def _empty_pool() -> None:
    torch.cuda.synchronize()
    td.empty_cache()


@contextmanager
def busy(stream: torch.cuda.Stream, cycles: int) -> Iterator[None]:
    """Queue work on a stream behind something slow."""
    with torch.cuda.stream(stream):
        torch.cuda._sleep(cycles)
        yield


def test_no_block_is_overwritten_while_another_stream_reads_it() -> None:
    streams = [torch.cuda.Stream() for _ in range(4)]
    random.seed(0)
    results: list[tuple[float, Tensor]] = []
    reused = set()
    for value in range(200):
        size = MIB_OF_FLOATS + random.randrange(1000)
        table = td.full((size,), float(value))
        reused.add(table.data_ptr())
        readers = random.sample(streams, 2)
        for stream in readers:
            with busy(stream, SHORT):
                results.append((float(value), table[:: size // 1000].clone()))
            table.record_stream(stream)
        del table
        td.full((size,), -1.0)
        if value % 20 == 0:
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    assert len(reused) < 200, "no block was ever reused, so nothing was tried"
    assert all(bool((seen == value).all()) for value, seen in results)


@pytest.mark.parametrize("recorded", [True, False], ids=["another stream", "its own stream"])
def test_a_block_waits_for_the_stream_that_reads_it(recorded: bool) -> None:
    stream = torch.cuda.Stream() if recorded else torch.cuda.current_stream()
    table, spare = td.full((MIB_OF_FLOATS,), 1.0), td.full((MIB_OF_FLOATS,), 1.0)
    address, idle = table.data_ptr(), spare.data_ptr()
    del spare
    td.memory_stats()
    torch.cuda.synchronize()
    with busy(stream, LONG):
        seen = table.clone()
    table.record_stream(stream)
    del table
    early = td.full((MIB_OF_FLOATS,), 2.0)
    assert not stream.query(), "the kernel was too fast to show anything"
    assert early.data_ptr() == idle
    torch.cuda.synchronize()
    assert td.full((MIB_OF_FLOATS,), 3.0).data_ptr() == address
    assert bool((seen == 1).all())


def test_a_block_that_no_stream_reads_is_reused_at_once() -> None:
    address = td.full((MIB_OF_FLOATS,), 1.0).data_ptr()
    torch.cuda.synchronize()
    assert td.full((MIB_OF_FLOATS,), 2.0).data_ptr() == address


def test_in_place_registration_waits_for_every_stream() -> None:
    stream = torch.cuda.Stream()
    source = torch.ones(MIB_OF_FLOATS)
    before = td.memory_stats()["registered.count"]
    table = td.unified(source)
    with busy(stream, LONG):
        seen = table.clone()
    del table
    assert td.memory_stats()["registered.count"] == before
    assert stream.query()
    source.fill_(2)
    assert bool((seen == 1).all())


def test_registering_twice_shares_and_outlives_either() -> None:
    source = torch.arange(1000.0)
    first, second = td.unified(source), td.unified(source)
    assert first.owner is second.owner
    del first
    td.empty_cache()
    assert torch.equal((second + 1).cpu(), source + 1)


def test_memory_that_somebody_else_registered_is_left_alone() -> None:
    source = torch.ones(MIB_OF_FLOATS)
    runtime = torch.cuda.cudart()
    assert int(runtime.cudaHostRegister(source.data_ptr(), source.nbytes, 0)) == 0
    try:
        with pytest.raises(AlreadyRegisteredError, match=r"x\.clone\(\)"):
            td.unified(source)
        assert torch.ones(3, device="cuda").sum().item() == 3
        assert bool((source.cuda() == 1).all())
    finally:
        assert int(runtime.cudaHostUnregister(source.data_ptr())) == 0
    assert td.unified(source).sum().item() == MIB_OF_FLOATS


def test_pinned_memory_is_used_as_it_is() -> None:
    before = td.memory_stats()["pinned.count"]
    source = torch.arange(1000.0).pin_memory()
    table = td.unified(source)
    assert table.data_ptr() == source.data_ptr()
    assert td.memory_stats()["pinned.count"] == before + 1
    assert torch.equal((table * 2).cpu(), source * 2)
    del table
    assert td.memory_stats()["pinned.count"] == before
    assert source.is_pinned()


@pytest.mark.parametrize("seed", range(5))
def test_ranges_that_overlap_or_touch_can_all_be_copied(seed: int) -> None:
    random.seed(seed)
    base = np.random.default_rng(seed).integers(0, 255, 20_000, dtype=np.uint8)
    held: list[tuple[Tensor, Tensor]] = []
    cuts = sorted(random.sample(range(len(base)), 12))
    touching = list(pairwise(cuts))
    overlapping = [(begin, begin + random.randrange(1, 8000)) for begin in random.sample(cuts, 6)]
    for begin, end in random.sample(touching + overlapping, len(touching) + len(overlapping)):
        plain = torch.from_numpy(base[begin:end])
        held.append((plain, td.unified(plain)))
        assert_all_copy(held)
    random.shuffle(held)
    while held:
        held.pop()
        td.memory_stats()
        assert_all_copy(held)


def assert_all_copy(held: list[tuple[Tensor, Tensor]]) -> None:
    for plain, table in held:
        assert torch.equal(plain.cuda().cpu(), plain)
        assert torch.equal(table.clone().cpu(), plain)
        assert torch.equal(torch.empty_like(table).copy_(plain).cpu(), plain)


def test_a_thousand_small_tensors_on_shared_pages() -> None:
    before = td.memory_stats()["registered.count"]
    random.seed(0)
    sources = [torch.full((random.randrange(1, 200),), i) for i in range(1000)]
    tables = [td.unified(source) for source in sources]
    order = random.sample(range(1000), 1000)
    for done, position in enumerate(order):
        assert int(tables[position].sum()) == position * len(sources[position])
        tables[position] = sources[position]
        if done % 100 == 0:
            still = next(p for p in reversed(order) if td.is_unified(tables[p]))
            assert torch.equal(tables[still].clone().cpu(), sources[still])
    assert td.memory_stats()["registered.count"] == before
    assert all(torch.equal(source.cuda().cpu(), source) for source in sources[:50])


def test_release_during_graph_capture_waits_for_its_end() -> None:
    tables = [td.unified(torch.ones(1000)), td.empty(1000)]
    counter = torch.zeros(3, device="cuda")
    before = td.memory_stats()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        counter.add_(1)
        tables.clear()
        during = td.memory_stats()
        td.empty_cache()
    for kind in ("registered", "allocated"):
        assert during[f"{kind}.count"] == before[f"{kind}.count"]
    after = td.memory_stats()
    assert after["registered.count"] == before["registered.count"] - 1
    assert after["allocated.count"] == before["allocated.count"] - 1
    graph.replay()
    assert counter.tolist() == [1.0] * 3


def test_a_unified_tensor_is_read_by_a_captured_graph() -> None:
    table = td.full((1000,), 1.0)
    out = torch.empty(1000, device="cuda")
    torch.add(table, 1, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.add(table, 1, out=out)
    table.host.fill_(5)
    graph.replay()
    assert out.tolist() == [6.0] * 1000
