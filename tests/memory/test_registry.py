"""The map of registered memory, against a model that only remembers what was asked for."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_fakes import FakeDriver, fake_cuda

from torch_direct.errors import AlreadyRegisteredError, CudaError, HostMemoryError
from torch_direct.memory import driver, pages
from torch_direct.memory.registry import Region, Registry

PAGE = pages.PAGE
BASE = 1 << 40
"""Where the imagined memory begins; nothing is mapped there."""

ranges = st.tuples(st.integers(0, 60), st.integers(1, 20))


class Keeper:
    """What keeps memory mapped."""


def acquire(registry: Registry, begin: int, nbytes: int, keeper: object = None) -> Region:
    with patch.object(pages, "mappings", lambda begin, end: []):
        return registry.acquire(BASE + begin, nbytes, keeper, device=0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("acquire"), ranges),
            st.tuples(st.just("refused"), ranges),
            st.tuples(st.just("release"), st.integers(0, 100)),
        ),
        max_size=30,
    )
)
def test_every_range_in_use_lies_in_one_registration(steps: list[tuple[str, object]]) -> None:
    with fake_cuda() as fake:
        registry = Registry()
        live: list[tuple[int, int, Region]] = []
        for step, what in steps:
            if step == "release":
                if live:
                    _, _, region = live.pop(what % len(live))  # type: ignore[operator]
                    registry.release(region, device=0)
            elif step == "acquire":
                begin, nbytes = what  # type: ignore[misc]
                live.append((begin, nbytes, acquire(registry, begin, nbytes)))
            else:
                refuse(registry, fake, *what)  # type: ignore[misc]
            assert all(fake.covers(BASE + begin, nbytes) for begin, nbytes, _ in live)
        for _, _, region in live:
            registry.release(region, device=0)
        assert fake.held == {}


def refuse(registry: Registry, fake: FakeDriver, begin: int, nbytes: int) -> None:
    """Ask for memory that cannot be locked: either they were there, or nothing changes."""
    before = dict(fake.held)
    fake.answers = [driver.OUT_OF_MEMORY]
    try:
        region = acquire(registry, begin, nbytes)
    except HostMemoryError:
        pass
    else:
        registry.release(region, device=0)
    fake.answers = []
    assert fake.held == before


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(ranges, min_size=1, max_size=12))
def test_only_bytes_that_were_asked_for_are_registered(asked: list[tuple[int, int]]) -> None:
    with fake_cuda() as fake:
        registry = Registry()
        for begin, nbytes in asked:
            acquire(registry, begin, nbytes)
        wanted = {byte for begin, nbytes in asked for byte in range(begin, begin + nbytes)}
        held = {byte - BASE for low, size in fake.held.items() for byte in range(low, low + size)}
        assert held == wanted


def test_neighbours_are_registered_apart(fake: FakeDriver) -> None:
    registry = Registry()
    first = acquire(registry, 10, 20)
    second = acquire(registry, 30, 20)
    assert fake.held == {BASE + 10: 20, BASE + 30: 20}
    registry.release(first, device=0)
    assert fake.held == {BASE + 30: 20}
    registry.release(second, device=0)
    assert fake.held == {}


def test_a_part_shares_the_registration_of_the_whole(fake: FakeDriver) -> None:
    registry = Registry()
    whole = acquire(registry, 0, 100)
    part = acquire(registry, 10, 20)
    assert part is whole
    registry.release(whole, device=0)
    assert fake.held == {BASE: 100}
    registry.release(part, device=0)
    assert fake.held == {}


def test_a_range_across_two_joins_them(fake: FakeDriver) -> None:
    registry = Registry()
    regions = [acquire(registry, 0, PAGE), acquire(registry, 2 * PAGE, PAGE)]
    regions.append(acquire(registry, PAGE // 2, 2 * PAGE))
    assert fake.held == {BASE: 3 * PAGE}
    assert fake.calls.index("synchronize") < fake.calls.index("unregister")
    for region in regions:
        assert fake.held == {BASE: 3 * PAGE}
        registry.release(region, device=0)
    assert fake.held == {}


@pytest.mark.parametrize("status", [driver.OUT_OF_MEMORY, driver.ALREADY_REGISTERED, 999])
def test_a_merge_that_fails_restores_what_was_there(fake: FakeDriver, status: int) -> None:
    registry = Registry()
    first, second = acquire(registry, 0, PAGE), acquire(registry, 2 * PAGE, PAGE)
    before = dict(fake.held)
    fake.answers = [status]
    with pytest.raises((HostMemoryError, AlreadyRegisteredError, CudaError)):
        acquire(registry, 0, 3 * PAGE)
    assert fake.held == before
    acquire(registry, 0, 3 * PAGE)
    assert fake.held == {BASE: 3 * PAGE}
    assert first.merged_into is second.merged_into is not None


def test_keepers_are_held_until_the_memory_is_given_back(fake: FakeDriver) -> None:
    registry = Registry()
    keepers = [Keeper(), Keeper(), Keeper()]
    first = acquire(registry, 0, PAGE, keepers[0])
    second = acquire(registry, PAGE, PAGE, keepers[1])
    third = acquire(registry, 0, 2 * PAGE, keepers[2])
    assert third.keepers == [keepers[2], keepers[0], keepers[1]]
    registry.release(first, device=0)
    registry.release(second, device=0)
    assert set(third.keepers) == set(keepers)
    assert registry.would_unregister([first])
    registry.release(third, device=0)
    assert third.keepers == []


def test_errors_say_what_was_refused_and_the_remedy(fake: FakeDriver) -> None:
    registry = Registry()
    fake.answers = [driver.ALREADY_REGISTERED, driver.OUT_OF_MEMORY, 1]
    with pytest.raises(AlreadyRegisteredError, match=r"8 bytes at 0x1.*x\.clone\(\)"):
        acquire(registry, 0, 8)
    with pytest.raises(HostMemoryError, match=r"free host memory is [\d.,]+ .*limit.*ulimit -l"):
        acquire(registry, 0, 8)
    with pytest.raises(CudaError, match=r"CUDA_ERROR_1\b.*not mapped.*torch-direct doctor"):
        acquire(registry, 0, 8)
    assert fake.held == {}


def test_the_limit_on_locked_memory_is_named(
    fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "locked_memory_limit", lambda: 64 << 10)
    monkeypatch.setenv("TORCH_DIRECT_AVAILABLE_MEMORY", str(3 << 30))
    fake.answers = [driver.OUT_OF_MEMORY]
    with pytest.raises(HostMemoryError, match=r"memory is 3\.00 GiB.*locked memory is 65,536 byt"):
        acquire(Registry(), 0, 8)


def is_left_out_of_children(address: int) -> bool:
    """Whether the kernel lists the page with the flag "dc" (do not copy on fork)."""
    with Path("/proc/self/smaps").open() as lines:
        inside = False
        for line in lines:
            bounds = line.split(maxsplit=1)[0].split("-")
            if len(bounds) == 2:
                inside = int(bounds[0], 16) <= address < int(bounds[1], 16)
            elif inside and line.startswith("VmFlags:"):
                return "dc" in line.split()
    raise LookupError(hex(address))


def test_large_private_pages_are_left_out_of_children_while_registered(fake: FakeDriver) -> None:
    tensor = torch.zeros(64 << 20, dtype=torch.uint8)
    middle = tensor.data_ptr() + (32 << 20)
    registry = Registry()
    region = registry.acquire(tensor.data_ptr(), tensor.nbytes, tensor, device=0)
    assert is_left_out_of_children(middle)
    assert not is_left_out_of_children(region.begin)
    registry.release(region, device=0)
    assert not is_left_out_of_children(middle)


def test_pages_are_given_to_children_after_a_merge_that_failed(fake: FakeDriver) -> None:
    tensor = torch.zeros(64 << 20, dtype=torch.uint8)
    middle = tensor.data_ptr() + (16 << 20)
    registry = Registry()
    region = registry.acquire(tensor.data_ptr(), 32 << 20, tensor, device=0)
    fake.answers = [driver.OUT_OF_MEMORY]
    with pytest.raises(HostMemoryError):
        registry.acquire(tensor.data_ptr(), tensor.nbytes, tensor, device=0)
    assert is_left_out_of_children(middle)
    registry.release(region, device=0)
    assert not is_left_out_of_children(middle)


def test_shared_pages_go_to_children(fake: FakeDriver) -> None:
    block = pages.allocate(64 << 20, shared=True)
    registry = Registry()
    region = registry.acquire(block.address, block.nbytes, block, device=0)
    assert region.hidden is None
    assert not is_left_out_of_children(block.address + (32 << 20))


def test_a_private_read_only_mapping_of_a_file_is_refused(tmp_path: Path, fake: FakeDriver) -> None:
    path = tmp_path / "rows"
    path.write_bytes(bytes(PAGE))
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    address = pages.address_of(mapping)
    with pytest.raises(CudaError, match=rf"private read-only mapping of {path}.*td\.load"):
        Registry().acquire(address, 8, mapping, device=0)
    assert fake.held == {}


def test_read_only_memory_is_registered_read_only(tmp_path: Path, fake: FakeDriver) -> None:
    path = tmp_path / "rows"
    path.write_bytes(bytes(PAGE))
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), PAGE, prot=mmap.PROT_READ)
    address = pages.address_of(mapping)
    assert Registry().acquire(address, 8, mapping, device=0).read_only
    writable = ctypes.create_string_buffer(8)
    address = ctypes.addressof(writable)
    assert not Registry().acquire(address, 8, writable, device=0).read_only


def test_memory_that_is_read_only_in_part_is_registered_read_only(fake: FakeDriver) -> None:
    mapping = mmap.mmap(-1, 2 * PAGE)
    address = pages.address_of(mapping)
    protect = ctypes.CDLL(None).mprotect
    assert protect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), mmap.PROT_READ) == 0
    assert Registry().acquire(address, 2 * PAGE, mapping, device=0).read_only


def test_a_private_writable_mapping_of_a_file_is_registered(
    tmp_path: Path, fake: FakeDriver
) -> None:
    path = tmp_path / "rows"
    path.write_bytes(bytes(PAGE))
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), PAGE, access=mmap.ACCESS_COPY)
    address = pages.address_of(mapping)
    Registry().acquire(address, PAGE, mapping, device=0)
    assert fake.held == {address: PAGE}
