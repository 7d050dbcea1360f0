"""Who owns a piece of host memory, and the tensors that look at it."""

from __future__ import annotations

import collections
import enum
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from torch_direct.errors import CudaError, ForkedProcessError, MovedMemoryError
from torch_direct.memory import process
from torch_direct.memory.pages import HostBlock, size_text
from torch_direct.memory.registry import Region


class Kind(enum.Enum):
    """How a piece of host memory was got."""

    REGISTERED = "registered"
    """A tensor's own memory, registered in place."""
    ALLOCATED = "allocated"
    """Private memory that this package allocated."""
    SHARED = "shared"
    """Shared memory that this package allocated."""
    MAPPED = "mapped"
    """A file, mapped."""
    PINNED = "pinned"
    """Memory that PyTorch had page-locked already."""


@dataclass(eq=False)
class Lease:
    """What has to be given back when the last tensor over a piece of memory is gone."""

    kind: Kind
    """How the memory was got."""
    nbytes: int
    """Number of bytes."""
    keeper: Any
    """What keeps the memory mapped: a storage, a `HostBlock`, a mapping."""
    region: Region | None = None
    """Its registration with CUDA, None while there is none."""
    streams: set[torch.cuda.Stream] = field(default_factory=set)
    """The streams whose work must have passed before the memory is used again."""


@dataclass(frozen=True)
class FileSource:
    """The file behind a mapping, so that another process can map it too."""

    path: str
    """Absolute path."""
    offset: int
    """Bytes from the start of the file."""
    inode: tuple[int, int]
    """Device and inode number, which tell whether the path still names the same file."""
    copied: bool
    """Whether a copy in named shared memory stands for the file."""


class Owner:
    """One piece of host memory. Every tensor over it holds it through the tensor's storage.

    It hangs on the storage's deleter, not on the Python tensor: plain views of the storage may
    outlive the unified tensor that they came from.
    """

    def __init__(
        self,
        kind: Kind,
        address: int,
        nbytes: int,
        keeper: Any,
        *,
        read_only: bool = False,
        source: FileSource | None = None,
    ) -> None:
        """Take over memory.

        Args:
            kind: how it was got.
            address: first byte.
            nbytes: number of bytes, 0 for none.
            keeper: object that keeps it mapped.
            read_only: whether writing to it would fault.
            source: the file behind it.
        """
        self.kind = kind
        self.address = address
        self.nbytes = nbytes
        self.read_only = read_only
        self.source = source
        self.lease = Lease(kind, nbytes, keeper)
        self._retired: collections.deque[Lease] | None = None
        self._made_in_child = process.cuda_lost
        self._storages: dict[torch.device, weakref.ref[torch.UntypedStorage]] = {}

    def __del__(self) -> None:
        if self._retired is not None:
            self._retired.append(self.lease)

    def retire_to(self, queue: collections.deque[Lease]) -> None:
        """Name the queue that takes the lease back when the last tensor is gone."""
        self._retired = queue

    @property
    def shared(self) -> bool:
        """Whether forked children and other processes can read the same bytes."""
        return self.kind in (Kind.SHARED, Kind.MAPPED)

    @property
    def moved(self) -> bool:
        """Whether an operation on the source tensor has moved its memory away."""
        keeper = self.lease.keeper
        return isinstance(keeper, torch.UntypedStorage) and keeper.data_ptr() != self.address

    def check(self) -> None:
        """Raise unless this process still has the memory.

        Raises:
            MovedMemoryError: an operation on the source tensor moved its memory.
            ForkedProcessError: the memory is private and this is a forked child.
        """
        if self.moved:
            raise MovedMemoryError(
                f"the {size_text(self.nbytes)} at {self.address:#x} that a unified tensor reads "
                "were moved by an operation on the tensor they came from (share_memory_, "
                "resize_ or sending it to another process); expected them to stay. Allocate "
                "what processes share with td.empty(..., shared=True)."
            )
        if process.cuda_lost and not self.shared and not self._made_in_child:
            raise ForkedProcessError(
                f"a forked child touched {size_text(self.nbytes)} of private unified memory, which "
                "children do not get (forking would copy it). Expected shared memory: allocate "
                "what workers read with td.empty(..., shared=True), map it from a file with "
                "td.load(path), or start the workers with the spawn method."
            )

    def tensor_on(
        self,
        device: torch.device,
        dtype: torch.dtype,
        shape: Sequence[int],
        stride: Sequence[int],
        offset: int,
    ) -> Tensor:
        """A plain tensor over the memory as a device sees it.

        Args:
            device: the CPU or a CUDA device with its index.
            dtype: element type.
            shape: sizes.
            stride: strides, in elements.
            offset: elements from the first byte of the memory.
        """
        with _disable_current_modes():
            empty = torch.empty(0, dtype=dtype, device=device)
            return empty.set_(self._storage_on(device), offset, tuple(shape), tuple(stride))

    def separate_tensor_on(self, device: torch.device, like: Tensor) -> Tensor:
        """As `tensor_on`, laid out as another tensor and over a storage that nobody else has."""
        with _disable_current_modes():
            storage = self._bytes_on(device).untyped_storage()
            empty = torch.empty(0, dtype=like.dtype, device=device)
            return empty.set_(storage, like.storage_offset(), like.shape, like.stride())

    def _storage_on(self, device: torch.device) -> torch.UntypedStorage:
        if device.type == "cpu" and isinstance(self.lease.keeper, torch.UntypedStorage):
            return self.lease.keeper
        known = self._storages.get(device)
        storage = known() if known is not None else None
        if storage is None:
            storage = self._bytes_on(device).untyped_storage()
            self._storages[device] = weakref.ref(storage)
        return storage

    def _bytes_on(self, device: torch.device) -> Tensor:
        if self.nbytes == 0:
            return torch.empty(0, dtype=torch.uint8, device=device)
        if device.type == "cpu":
            return torch.from_numpy(np.asarray(_HostBytes(self)))
        seen = torch.as_tensor(_DeviceBytes(self), device=device)
        if seen.data_ptr() != self.address:
            raise CudaError(
                f"PyTorch copied the {size_text(self.nbytes)} at {self.address:#x} instead of "
                f"letting {device} read them where they are; expected the same address. Use the "
                "device that was current when the memory was registered."
            )
        return seen


class _HostBytes:
    """Memory in the form that NumPy reads; the array keeps it, and it keeps the owner."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.__array_interface__ = _interface(owner)


class _DeviceBytes:
    """Memory in the form that CUDA libraries read; the tensor's storage keeps it."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.__cuda_array_interface__ = {**_interface(owner), "strides": None}


def _interface(owner: Owner) -> dict[str, Any]:
    # Readers of either interface refuse or warn of read-only memory; the tensor type guards it.
    return {
        "shape": (owner.nbytes,),
        "typestr": "|u1",
        "data": (owner.address, False),
        "version": 3,
    }


def block_of(lease: Lease) -> HostBlock | None:
    """The block behind a lease that the pool can hand out again."""
    keeper = lease.keeper
    if lease.kind is Kind.ALLOCATED and isinstance(keeper, HostBlock):
        return keeper
    return None
