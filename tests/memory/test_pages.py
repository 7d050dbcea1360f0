"""Host memory as the operating system has it."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torch_direct.errors import HostMemoryError
from torch_direct.memory import pages
from torch_direct.memory.pages import HUGE_PAGE, PAGE

GIB = 1 << 30


@given(st.integers(0, 1 << 48), st.integers(1, 1 << 40))
def test_page_span_is_the_smallest_run_of_whole_pages(address: int, nbytes: int) -> None:
    begin, end = pages.page_span(address, nbytes)
    assert begin % PAGE == end % PAGE == 0
    assert begin <= address < begin + PAGE
    assert end - PAGE < address + nbytes <= end


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("nbytes", [1, PAGE, PAGE + 1, HUGE_PAGE, HUGE_PAGE + 1, 5 << 20])
def test_allocated_memory_is_zero_aligned_and_writable(nbytes: int, shared: bool) -> None:
    block = pages.allocate(nbytes, shared=shared)
    unit = HUGE_PAGE if nbytes >= HUGE_PAGE else PAGE
    assert block.address % unit == 0
    assert block.nbytes % unit == 0
    assert nbytes <= block.nbytes < nbytes + unit
    assert ctypes.string_at(block.address, block.nbytes) == bytes(block.nbytes)
    ctypes.memset(block.address, 7, block.nbytes)
    (mapping,) = pages.mappings(block.address, block.address + block.nbytes)
    assert (mapping.writable, mapping.shared) == (True, shared)


def test_a_block_is_unmapped_with_its_last_reference() -> None:
    block = pages.allocate(HUGE_PAGE, shared=True)
    address, descriptor = block.address, block.descriptor
    assert descriptor is not None
    assert pages.mappings(address, address + 1)
    del block
    assert not any("torch-direct" in found.path for found in pages.mappings(address, address + 1))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_attached_memory_is_the_same_memory() -> None:
    block = pages.allocate(3 << 20, shared=True)
    assert block.descriptor is not None
    offset = pages.offset_in_shared_memory(block)
    again = pages.attach(os.dup(block.descriptor), offset, block.nbytes)
    assert again.address != block.address
    ctypes.memset(block.address + 12345, 9, 1)
    assert ctypes.string_at(again.address + 12345, 1) == b"\x09"
    del block
    assert ctypes.string_at(again.address + 12345, 1) == b"\x09"


@pytest.mark.parametrize("shared", [False, True])
def test_more_than_is_free_is_refused_with_the_numbers(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_DIRECT_AVAILABLE_MEMORY", str(2 * GIB))
    expected = r"3\.00 GiB.*not enough.*memory is 2\.00 GiB.*TORCH_DIRECT_AVAILABLE_MEMORY"
    with pytest.raises(HostMemoryError, match=expected):
        pages.allocate(3 * GIB, shared=shared)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("shared", [False, True])
def test_what_the_system_refuses_leaves_nothing_behind(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_DIRECT_AVAILABLE_MEMORY", str(1 << 62))
    before = open_descriptors()
    with pytest.raises(HostMemoryError, match="could not be allocated"):
        pages.allocate(1 << 60, shared=shared)
    assert open_descriptors() == before


def test_available_memory_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_DIRECT_AVAILABLE_MEMORY", raising=False)
    info = pages.memory_info()
    assert 0 < pages.available_memory() <= info["MemTotal"]
    assert info["MemTotal"] > 1 << 20
    monkeypatch.setenv("TORCH_DIRECT_AVAILABLE_MEMORY", "12345")
    assert pages.available_memory() == 12345


@pytest.mark.parametrize("text", ["8GiB", "", "-1", "1e9"])
def test_an_override_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TORCH_DIRECT_AVAILABLE_MEMORY", text)
    with pytest.raises(ValueError, match=f"TORCH_DIRECT_AVAILABLE_MEMORY is '{text}'.* bytes"):
        pages.available_memory()


def test_a_control_group_bounds_what_is_available(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCH_DIRECT_AVAILABLE_MEMORY", raising=False)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 200000\n")
    monkeypatch.setattr(
        pages, "Path", lambda path: {"/sys/fs/cgroup": tmp_path}.get(path) or Path(path)
    )
    assert pages.available_memory() == 500_000
    (tmp_path / "memory.current").write_text("1300000\n")
    assert pages.available_memory() == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert pages.available_memory() > 1_000_000


def test_the_limit_on_locked_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (8 << 20, 16 << 20))
    assert pages.locked_memory_limit() == 8 << 20
    assert "locked memory is 8.0 MiB" in pages.describe_limits()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert pages.locked_memory_limit() is None
    assert "locked memory is unlimited" in pages.describe_limits()


def test_mappings_say_what_may_be_done_and_what_is_behind(tmp_path: Path) -> None:
    path = tmp_path / "a name with spaces"
    path.write_bytes(bytes(3 * PAGE))
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 3 * PAGE, prot=mmap.PROT_READ)
    begin = pages.address_of(mapping)
    (found,) = pages.mappings(begin + PAGE, begin + 2 * PAGE)
    assert (found.begin, found.end) == (begin, begin + 3 * PAGE)
    assert (found.writable, found.shared, found.path) == (False, True, str(path))
    assert pages.mappings(0, PAGE) == []


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 bytes"), (1500, "1,500 bytes"), (3 << 19, "1.5 MiB"), (5 * GIB // 2, "2.50 GiB")],
)
def test_sizes_for_people(nbytes: int, text: str) -> None:
    assert pages.size_text(nbytes) == text
