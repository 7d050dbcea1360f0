"""The one place that hands out unified memory and takes it back."""

from __future__ import annotations

import collections
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_direct.errors import HostMemoryError
from torch_direct.memory import pages, process
from torch_direct.memory.owner import FileSource, Kind, Lease, Owner, block_of
from torch_direct.memory.pages import HostBlock
from torch_direct.memory.pool import BlockPool, CachedBlock
from torch_direct.memory.registry import Region, Registry, synchronize_all
from torch_direct.memory.stats import Statistics


class HostMemory:
    """All unified memory of this process.

    Memory comes back through `Owner`'s finaliser, which may run at any moment and in any thread;
    it only queues the lease. The queue is worked off by the next call here, never while the
    current stream captures a CUDA graph.
    """

    def __init__(self) -> None:
        self._retired: collections.deque[Lease] = collections.deque()
        self._owners: weakref.WeakSet[Owner] = weakref.WeakSet()
        self._statistics = Statistics()
        self._start()
        os.register_at_fork(after_in_child=self._start_in_child)

    def _start(self) -> None:
        """Begin with no registration, no free block and a lock that nobody holds."""
        self._lock = threading.RLock()
        self._registry = Registry()
        self._pool = BlockPool()

    def _start_in_child(self) -> None:
        """Begin anew in a forked child, which must not destroy its parent's CUDA events."""
        self._inherited = (self._pool, self._registry, self._retired)
        self._retired = collections.deque()
        if process.cuda_lost:
            # Private memory of the parent is not mapped here, so its addresses mean nothing.
            shared = [owner for owner in self._owners if owner.shared]
            self._owners = weakref.WeakSet(shared)
        self._start()

    def adopt(self, tensor: Tensor) -> tuple[Owner, int]:
        """The owner of a CPU tensor's own memory, registered where there is CUDA.

        Args:
            tensor: a dense CPU tensor.

        Returns:
            The owner, and the bytes from its first byte to the first of the tensor's storage.
        """
        storage = tensor.untyped_storage()
        address, nbytes = storage.data_ptr(), storage.nbytes()
        with self._lock:
            self.collect()
            self._expel_moved()
            known = self._owner_of(address, nbytes, tensor.element_size())
            if known is not None:
                self.register(known)
                return known, address - known.address
            if nbytes > 0:
                _forbid_resizing(storage)
            read_only = _is_read_only(address, nbytes)
            owner = Owner(Kind.REGISTERED, address, nbytes, storage, read_only=read_only)
            if (
                process.cuda_usable()
                and tensor.is_pinned()
                and not self._registered_elsewhere(owner)
            ):
                owner.kind = owner.lease.kind = Kind.PINNED
            else:
                self.register(owner)
            self._count(owner)
            return owner, 0

    def allocate(
        self, nbytes: int, *, device: torch.device | None = None, shared: bool = False
    ) -> Owner:
        """New memory, its contents unspecified, registered where there is CUDA.

        Args:
            nbytes: number of bytes.
            device: the GPU that is to use it, on its current stream; by default the current one.
            shared: memory that forked children and other processes can map.

        Raises:
            HostMemoryError: the machine does not have that much free memory.
        """
        kind = Kind.SHARED if shared else Kind.ALLOCATED
        if nbytes == 0:
            return self._count(Owner(kind, 0, 0, None))
        with self._lock:
            self.collect()
            self._expel_moved()
            # During a capture nobody may ask whether events have passed.
            cached = None if shared or _capturing() else self._pool.take(nbytes)
            if cached is None:
                cached = self._with_retry(
                    lambda: CachedBlock(pages.allocate(nbytes, shared=shared), None)
                )
            owner = Owner(kind, cached.block.address, nbytes, cached.block)
            owner.lease.region = cached.region
            if process.cuda_usable():
                self._with_retry(lambda: self.register(owner))
                on_gpu = device is not None and device.type == "cuda"
                owner.lease.streams.add(torch.cuda.current_stream(device if on_gpu else None))
            return self._count(owner)

    def attach(self, descriptor: int, offset: int, nbytes: int) -> Owner:
        """Shared memory of another process, found by its descriptor.

        It is registered at the first use by CUDA, so that a worker that never uses CUDA does not
        start it.
        """
        block = pages.attach(descriptor, offset, nbytes)
        return self._count(Owner(Kind.SHARED, block.address, nbytes, block))

    def map(
        self, address: int, nbytes: int, keeper: Any, source: FileSource, *, read_only: bool
    ) -> Owner:
        """Memory that a file is mapped to; `register` gives it to the GPU."""
        return self._count(
            Owner(Kind.MAPPED, address, nbytes, keeper, read_only=read_only, source=source)
        )

    def register(self, owner: Owner) -> None:
        """Give memory to the GPUs, unless they have it or there are none."""
        lease = owner.lease
        if lease.region is not None or owner.nbytes == 0 or owner.kind is Kind.PINNED:
            return
        if not process.cuda_usable():
            return
        # A block is registered whole: the pool may hand it to a larger request.
        block = lease.keeper if isinstance(lease.keeper, HostBlock) else None
        nbytes = owner.nbytes if block is None else block.nbytes
        with self._lock:
            if lease.region is None:  # still: another thread may have come first
                lease.region = self._registry.acquire(
                    owner.address, nbytes, lease.keeper, device=torch.cuda.current_device()
                )

    def collect(self) -> None:
        """Take back what was released since the last call."""
        if not self._retired or _capturing():
            return
        with self._lock:
            leaving = []
            for _ in range(len(self._retired)):
                lease = self._retired.popleft()
                self._statistics.remove(lease.kind, lease.nbytes)
                block = block_of(lease)
                if block is None:
                    leaving.append(lease)
                else:
                    self._pool.put(CachedBlock(block, lease.region, _events_on(lease.streams)))
            if any(lease.kind is Kind.PINNED for lease in leaving):
                # PyTorch takes this memory back, and knows nothing of who read it here.
                synchronize_all()
            self._release([lease.region for lease in leaving if lease.region is not None])

    def empty_cache(self) -> None:
        """Give all memory that is not in use back to the operating system."""
        with self._lock:
            self.collect()
            if _capturing():
                return
            blocks = self._pool.clear()
            self._release([cached.region for cached in blocks if cached.region is not None])

    def statistics(self) -> dict[str, int]:
        """Bytes and pieces in use by kind, the peak, and the bytes that wait for reuse."""
        with self._lock:
            self.collect()
            return self._statistics.as_dict(self._pool.nbytes)

    def owner_at(self, address: int) -> Owner | None:
        """The owner of the memory at an address, None where it is nobody's here."""
        with self._lock:
            return self._owner_of(address, 1, 1)

    def _count(self, owner: Owner) -> Owner:
        """From here on the owner's release is noticed."""
        with self._lock:
            self._statistics.add(owner.kind, owner.nbytes)
            owner.retire_to(self._retired)
            self._owners.add(owner)
        return owner

    def _owner_of(self, address: int, nbytes: int, itemsize: int) -> Owner | None:
        """The owner that has all of a range already, at an offset of whole elements."""
        for owner in self._owners:
            inside = owner.address <= address and address + nbytes <= owner.address + owner.nbytes
            if inside and nbytes > 0 and (address - owner.address) % itemsize == 0:
                return owner
        return None

    def _expel_moved(self) -> None:
        """Unregister memory that was moved away, before its addresses are used again."""
        if _capturing():
            return
        moved = [owner for owner in self._owners if owner.moved]
        regions = [owner.lease.region for owner in moved if owner.lease.region is not None]
        for owner in moved:
            owner.lease.region = None
        self._release(regions)
        self._owners.difference_update(moved)

    def _release(self, regions: list[Region]) -> None:
        if not regions:
            return
        if self._registry.would_unregister(regions):
            synchronize_all()
        for region in regions:
            self._registry.release(region, device=torch.cuda.current_device())

    def _registered_elsewhere(self, owner: Owner) -> bool:
        """Whether locked memory was registered (by anybody) and not allocated by CUDA itself.

        CUDA's own allocations stay locked as long as their tensor lives, so they can be used as
        they are; a registration can be withdrawn under us by whoever made it.
        """
        found = pages.mappings(owner.address, owner.address + owner.nbytes)
        return not all(mapping.path.startswith(_CUDA_ALLOCATIONS) for mapping in found)

    def _with_retry(self, allocate: Callable[[], Any]) -> Any:
        try:
            return allocate()
        except HostMemoryError:
            if self._pool.nbytes == 0:
                raise
            self.empty_cache()
            return allocate()


def _forbid_resizing(storage: torch.UntypedStorage) -> None:
    """Make the storage refuse ``resize_``, as PyTorch does once NumPy has a view of it."""
    torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage).numpy()


def _is_read_only(address: int, nbytes: int) -> bool:
    if nbytes == 0:
        return False
    return not all(mapping.writable for mapping in pages.mappings(address, address + nbytes))


def _capturing() -> bool:
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def _events_on(streams: set[torch.cuda.Stream]) -> list[torch.cuda.Event]:
    events = []
    for stream in streams:
        event = torch.cuda.Event()
        event.record(stream)
        events.append(event)
    return events


_CUDA_ALLOCATIONS = ("/dev/zero", "/dev/nvidia")
"""What ``/proc/self/maps`` names behind memory that the CUDA driver allocated on the host."""

HOST_MEMORY = HostMemory()
"""The unified memory of this process."""
