"""What memory of this process is registered with CUDA: one reference-counted map of intervals.

CUDA locks whole pages, counts for itself how often each is locked, and remembers exact bytes. Exact
bytes are therefore what is registered: a copy that starts inside a registration and ends outside of
it is refused ("invalid argument"), so a registration rounded up to whole pages would break the
copies of whatever else lies on its last page (seen on an H100, CUDA 13.0).

CUDA registers no byte twice, and copies across no border of two registrations, so intervals that
overlap are merged into one.
"""

from __future__ import annotations

import bisect
import collections
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from torch_direct.errors import AlreadyRegisteredError, CudaError, HostMemoryError
from torch_direct.memory import driver, pages

_DONTFORK_THRESHOLD = 32 << 20
"""Smaller allocations may lie in malloc's heap, where a forked child would reuse their pages."""


@dataclass(eq=False)
class Region:
    """An interval of registered bytes, shared by everybody who asked for a part of it."""

    begin: int
    """First byte."""
    end: int
    """One past the last byte."""
    read_only: bool
    """Whether the GPU may only read it."""
    users: int = 1
    """How many `Registry.acquire` calls are not yet matched by a release."""
    hidden: tuple[int, int] | None = None
    """The part that forked children do not get."""
    keepers: list[object] = field(default_factory=list)
    """What keeps the memory mapped while it is registered."""
    merged_into: Region | None = None
    """The region that took this one over."""


class Registry:
    """The registered intervals of this process, disjoint and sorted. Callers hold the lock."""

    def __init__(self) -> None:
        self._regions: list[Region] = []

    def acquire(self, address: int, nbytes: int, keeper: object, *, device: int) -> Region:
        """Register a range of bytes, or share a registration that holds it.

        Args:
            address: first byte.
            nbytes: number of bytes, 1 or more.
            keeper: object that keeps the memory mapped; held until it is unregistered.
            device: index of the device whose context registers.

        Raises:
            AlreadyRegisteredError: somebody else registered some of the bytes.
            HostMemoryError: the memory could not be locked.
            CudaError: any other refusal of the driver.
        """
        begin, end = address, address + nbytes
        overlapping = self._overlapping(begin, end)
        if len(overlapping) == 1 and overlapping[0].begin <= begin and end <= overlapping[0].end:
            region = overlapping[0]
            region.users += 1
            region.keepers.append(keeper)
            return region
        if overlapping:
            return self._merge(overlapping, begin, end, keeper, device)
        region = _register(begin, end, device)
        region.keepers.append(keeper)
        self._insert(region)
        return region

    def release(self, region: Region, *, device: int) -> None:
        """Undo one `acquire`. The devices that read the memory must have been synchronised."""
        region = _survivor(region)
        region.users -= 1
        if region.users == 0:
            self._regions.remove(region)
            _unregister(region, device)
            region.keepers.clear()

    def would_unregister(self, regions: list[Region]) -> bool:
        """Whether releasing these together unregisters any memory."""
        leaving = collections.Counter(_survivor(region) for region in regions)
        return any(region.users == count for region, count in leaving.items())

    def _overlapping(self, begin: int, end: int) -> list[Region]:
        first = bisect.bisect_right(self._regions, begin, key=lambda region: region.end)
        last = bisect.bisect_left(self._regions, end, key=lambda region: region.begin)
        return self._regions[first:last]

    def _insert(self, region: Region) -> None:
        bisect.insort(self._regions, region, key=lambda other: other.begin)

    def _merge(
        self, old: list[Region], begin: int, end: int, keeper: object, device: int
    ) -> Region:
        synchronize_all()
        for region in old:
            _unregister(region, device)
        try:
            merged = _register(min(begin, old[0].begin), max(end, old[-1].end), device)
        except Exception:
            for region in old:
                again = _register(region.begin, region.end, device)
                region.hidden = again.hidden
            raise
        merged.users += sum(region.users for region in old)
        merged.keepers = [keeper, *(kept for region in old for kept in region.keepers)]
        for region in old:
            self._regions.remove(region)
            region.merged_into = merged
            region.keepers = []
        self._insert(merged)
        return merged


def _survivor(region: Region) -> Region:
    """The region that stands for one that may have been merged."""
    while region.merged_into is not None:
        region = region.merged_into
    return region


def synchronize_all() -> None:
    """Wait until every GPU of this process is idle, so that none reads what goes away."""
    for index in range(torch.cuda.device_count()):
        torch.cuda.synchronize(index)


def _register(begin: int, end: int, device: int) -> Region:
    found = pages.mappings(begin, end)
    read_only = not all(mapping.writable for mapping in found)
    _refuse_private_file(found, begin, end)
    status = driver.register(begin, end - begin, read_only=read_only, device=device)
    if status != driver.SUCCESS:
        raise _refusal(status, begin, end, found)
    region = Region(begin, end, read_only)
    if not any(mapping.shared for mapping in found) and end - begin >= _DONTFORK_THRESHOLD:
        # The outermost pages may also hold the allocator's own data, which children need.
        first, last = pages.page_span(begin, end - begin)
        region.hidden = (first + pages.PAGE, last - pages.PAGE)
        pages.keep_from_children(*region.hidden)
    return region


def _unregister(region: Region, device: int) -> None:
    driver.unregister(region.begin, device=device)
    if region.hidden is not None:
        pages.give_to_children(*region.hidden)
        region.hidden = None


def _refuse_private_file(found: Iterable[pages.Mapping], begin: int, end: int) -> None:
    """Locking a private read-only mapping of a file copies it page by page, or never returns."""
    for mapping in found:
        if mapping.path.startswith("/") and not mapping.shared and not mapping.writable:
            raise CudaError(
                f"{pages.size_text(end - begin)} at {begin:#x} is a private read-only mapping of "
                f"{mapping.path}; expected memory of this process or a shared mapping. Map a .npy "
                "file with td.load(path), or map the file shared."
            )


def _refusal(status: int, begin: int, end: int, found: list[pages.Mapping]) -> Exception:
    name = driver.status_name(status)
    where = f"{pages.size_text(end - begin)} at {begin:#x}"
    if status == driver.ALREADY_REGISTERED:
        return AlreadyRegisteredError(
            f"{where} is already registered with CUDA, at least in part, by somebody else ({name})."
            " Expected memory that is not registered yet: unregister it there, or pass a tensor "
            "with memory of its own (x.clone())."
        )
    if status == driver.OUT_OF_MEMORY:
        return HostMemoryError(
            f"{where} could not be locked for the GPU ({name}): {pages.describe_limits()}. Free "
            "memory, or raise the limit (`ulimit -l unlimited`, or memlock in "
            "/etc/security/limits.conf; for Docker `--ulimit memlock=-1`)."
        )
    kinds = ", ".join(
        f"{'shared' if mapping.shared else 'private'} "
        f"{'writable' if mapping.writable else 'read-only'} {mapping.path or 'memory'}"
        for mapping in found
    )
    return CudaError(
        f"{where} could not be registered with CUDA ({name}): it is {kinds or 'not mapped'}; "
        f"{pages.describe_limits()}. `torch-direct doctor` says what this machine can register."
    )
