"""Host memory as the operating system has it: pages, mappings, limits."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torch_direct.errors import HostMemoryError

PAGE = mmap.PAGESIZE
HUGE_PAGE = 2 << 20

_MAP_NORESERVE = 0x4000
_MADV_DONTFORK, _MADV_DOFORK, _MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 10, 11, 14, 23
_POPULATE_SLICE = 256 << 20
_OVERRIDE = "TORCH_DIRECT_AVAILABLE_MEMORY"


@dataclass(frozen=True)
class Mapping:
    """One mapping of this process's address space, as ``/proc/self/maps`` lists it."""

    begin: int
    """First byte."""
    end: int
    """One past the last byte."""
    writable: bool
    """Whether this process may write to it."""
    shared: bool
    """Whether writes are seen by other processes that map the same pages."""
    path: str
    """The file behind it, or an empty string for anonymous memory."""


@dataclass(frozen=True)
class HostBlock:
    """A piece of mapped host memory; it is unmapped when the last reference goes."""

    address: int
    """First byte."""
    nbytes: int
    """Number of bytes, whole pages."""
    descriptor: int | None
    """Descriptor of the shared memory behind it, None for private memory."""
    mapping: Any
    """The object that keeps the memory mapped."""


def page_span(address: int, nbytes: int) -> tuple[int, int]:
    """The whole pages that hold a range of bytes, as (first byte, one past the last)."""
    return address // PAGE * PAGE, -(-(address + nbytes) // PAGE) * PAGE


def mappings(begin: int, end: int) -> list[Mapping]:
    """The mappings of this process that overlap ``[begin, end)``, in address order."""
    found = []
    with Path("/proc/self/maps").open() as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            low, high = (int(bound, 16) for bound in fields[0].split("-"))
            if low < end and begin < high:
                path = fields[5].strip() if len(fields) > 5 else ""
                found.append(Mapping(low, high, fields[1][1] == "w", fields[1][3] == "s", path))
    return found


def allocate(nbytes: int, *, shared: bool) -> HostBlock:
    """Map zeroed host memory, in huge pages where the system allows, every page touched.

    Args:
        nbytes: number of bytes, rounded up to whole pages (huge pages from 2 MiB on).
        shared: shared memory that children and other processes can map, else private memory.

    Raises:
        HostMemoryError: the machine does not have that much free memory.
    """
    unit = _unit_for(nbytes)
    size = allocated_size(nbytes)
    require_available(size)
    slack = unit if unit == HUGE_PAGE else 0
    descriptor = None
    try:
        if shared:
            descriptor = os.memfd_create("torch-direct", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size + slack)
            mapping = mmap.mmap(descriptor, size + slack)
        else:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
            mapping = mmap.mmap(-1, size + slack, flags=flags)
    except OSError as error:
        if descriptor is not None:
            os.close(descriptor)
        raise HostMemoryError(_shortage(size, str(error))) from error
    start = address_of(mapping)
    address = -(-start // unit) * unit
    _advise(address, size, _MADV_HUGEPAGE)
    _populate(address, size)
    if descriptor is None:
        return HostBlock(address, size, None, mapping)
    return HostBlock(address, size, descriptor, _SharedMapping(mapping, descriptor))


def allocated_size(nbytes: int) -> int:
    """Bytes that `allocate` takes for a request: whole pages, huge ones from 2 MiB on."""
    unit = _unit_for(nbytes)
    return -(-nbytes // unit) * unit


def _unit_for(nbytes: int) -> int:
    return HUGE_PAGE if nbytes >= HUGE_PAGE else PAGE


def attach(descriptor: int, offset: int, nbytes: int) -> HostBlock:
    """Map shared memory that `allocate` made, in this or another process.

    Args:
        descriptor: its file descriptor, which the block closes in the end.
        offset: bytes from the start of the shared memory to the block.
        nbytes: number of bytes of the block.
    """
    mapping = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
    return HostBlock(
        address_of(mapping) + offset, nbytes, descriptor, _SharedMapping(mapping, descriptor)
    )


def offset_in_shared_memory(block: HostBlock) -> int:
    """Bytes from the start of the shared memory behind a block to the block itself."""
    return block.address - address_of(block.mapping.mapping)


class _SharedMapping:
    """A mapping and the descriptor of the memory behind it, closed together."""

    def __init__(self, mapping: mmap.mmap, descriptor: int) -> None:
        self.mapping = mapping
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


def address_of(mapping: mmap.mmap) -> int:
    """The address of the first byte of a mapping."""
    return int(np.frombuffer(mapping, dtype=np.uint8).ctypes.data)


def keep_from_children(begin: int, end: int) -> None:
    """Leave a private range out of forked children, which would otherwise copy it."""
    _advise(begin, end - begin, _MADV_DONTFORK)


def give_to_children(begin: int, end: int) -> None:
    """Undo `keep_from_children`."""
    _advise(begin, end - begin, _MADV_DOFORK)


def require_available(nbytes: int, purpose: str = "") -> None:
    """Raise `HostMemoryError`, which begins with `purpose`, where fewer bytes are free."""
    if nbytes > available_memory():
        shortage = _shortage(nbytes, "not enough memory is free")
        raise HostMemoryError(f"{purpose}: {shortage}" if purpose else shortage)


def available_memory() -> int:
    """Bytes of host memory that can be had without swapping.

    The environment variable ``TORCH_DIRECT_AVAILABLE_MEMORY`` (bytes) takes the place of the
    system's answer, for virtual machines that grow as their memory is used.

    Raises:
        ValueError: the variable does not hold a number of bytes.
    """
    override = os.environ.get(_OVERRIDE)
    if override is not None:
        if not override.strip().isdecimal():
            raise ValueError(
                f"{_OVERRIDE} is {override!r}; expected a whole number of bytes, as in "
                f"{_OVERRIDE}=8589934592 for 8 GiB. Correct it, or unset it."
            )
        return int(override)
    system = memory_info()["MemAvailable"]
    limit = _control_group_limit()
    return system if limit is None else min(system, limit)


def memory_info() -> dict[str, int]:
    """``/proc/meminfo``, in bytes."""
    info = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        amount = value.split()
        info[name] = int(amount[0]) * (1024 if len(amount) > 1 else 1)
    return info


def locked_memory_limit() -> int | None:
    """The most bytes this process may lock (``ulimit -l``), None for no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def describe_limits() -> str:
    """Free memory and the limit on locked memory, in words, for error messages."""
    limit = locked_memory_limit()
    locked = "unlimited" if limit is None else size_text(limit)
    free = size_text(available_memory())
    return f"free host memory is {free}, the limit on locked memory is {locked}"


def size_text(nbytes: int) -> str:
    """A number of bytes for people, in the unit that suits it."""
    if nbytes < 2**20:
        return f"{nbytes:,} bytes"
    return f"{nbytes / 2**20:,.1f} MiB" if nbytes < 2**30 else f"{nbytes / 2**30:,.2f} GiB"


def _shortage(nbytes: int, why: str) -> str:
    return (
        f"{size_text(nbytes)} of host memory could not be allocated: {why}; {describe_limits()}. "
        "Free memory or ask for less; where the system's figure is too low (a virtual machine that "
        f"grows), set {_OVERRIDE} to the bytes that it can really give."
    )


def _control_group_limit() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        statistics = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    reclaimable = int(statistics.get("inactive_file", 0))
    return max(int(limit) - used + reclaimable, 0)


def _populate(address: int, nbytes: int) -> None:
    """Touch every page, with all cores: one core alone is the slowest part of an allocation."""
    starts = range(address, address + nbytes, _POPULATE_SLICE)
    sizes = [min(_POPULATE_SLICE, address + nbytes - start) for start in starts]
    if len(sizes) == 1:
        _populate_slice(address, nbytes)
        return
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        for _ in threads.map(_populate_slice, starts, sizes):
            pass


def _populate_slice(address: int, nbytes: int) -> None:
    if _advise(address, nbytes, _MADV_POPULATE_WRITE):
        return
    # Kernels before 5.14 do not know the advice; fresh anonymous memory is zero anyway.
    ctypes.memset(address, 0, nbytes)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _advise(address: int, nbytes: int, advice: int) -> bool:
    """Whether the kernel took the advice; all of it but the populating is only a hint."""
    status = _libc().madvise(ctypes.c_void_p(address), ctypes.c_size_t(nbytes), advice)
    return bool(status == 0)
