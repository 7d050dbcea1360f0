"""Blocks that wait to be handed out again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from memory_fakes import FakeEvent

from torch_direct.memory.pages import HUGE_PAGE, PAGE, HostBlock
from torch_direct.memory.pool import BlockPool, CachedBlock


def block(nbytes: int, *events: FakeEvent) -> CachedBlock:
    return CachedBlock(HostBlock(0, nbytes, None, None), None, list(events))  # type: ignore[arg-type]


def pool_of(*blocks: CachedBlock) -> BlockPool:
    pool = BlockPool()
    for one in blocks:
        pool.put(one)
    return pool


def test_the_smallest_block_that_fits_is_taken() -> None:
    small, fits, large = block(1000), block(1100), block(1200)
    pool = pool_of(large, fits, small)
    assert pool.take(1050) is fits
    assert pool.take(1050) is large
    assert pool.take(1050) is None
    assert pool.nbytes == 1000


sizes = st.integers(1, 1 << 24)


@given(st.lists(sizes, max_size=8), sizes)
def test_a_block_holds_the_request_and_wastes_little(held: list[int], wanted: int) -> None:
    pool = pool_of(*(block(size) for size in held))
    unit = HUGE_PAGE if wanted >= HUGE_PAGE else PAGE
    size = -(-wanted // unit) * unit
    most = size + max(size // 4, HUGE_PAGE if size >= HUGE_PAGE else 0)
    fitting = [size for size in held if wanted <= size <= most]
    taken = pool.take(wanted)
    assert (taken.block.nbytes if taken else None) == min(fitting, default=None)
    assert pool.nbytes == sum(held) - (taken.block.nbytes if taken else 0)


def test_a_quarter_may_be_wasted_and_not_a_byte_more() -> None:
    assert pool_of(block(10 * PAGE)).take(8 * PAGE) is not None
    assert pool_of(block(10 * PAGE + 1)).take(8 * PAGE) is None


def test_a_block_waits_until_every_stream_has_passed() -> None:
    events = [FakeEvent(), FakeEvent()]
    busy = block(1000, *events)
    pool = pool_of(busy)
    assert pool.take(1000) is None
    events[0].passed = True
    assert pool.take(1000) is None
    events[1].passed = True
    assert pool.take(1000) is busy


def test_a_busy_block_is_passed_over_for_an_idle_one() -> None:
    busy, idle = block(1000, FakeEvent()), block(1100)
    pool = pool_of(busy, idle)
    assert pool.take(1000) is idle
    assert pool.take(1000) is None


def test_clearing_hands_over_busy_blocks_too() -> None:
    blocks = [block(1000, FakeEvent()), block(2000)]
    pool = pool_of(*blocks)
    assert pool.clear() == blocks
    assert pool.nbytes == 0
    assert pool.take(1000) is None
