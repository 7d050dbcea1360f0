"""Unified tensors in files and between processes.

`pickle` and `torch.save` carry the bytes, once. `torch.multiprocessing` carries a handle to shared
or mapped memory, and the receiver gives that memory to its own GPU.
"""

from __future__ import annotations

import copyreg
import os
import weakref
from dataclasses import dataclass
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any

import torch
from torch import Tensor

from torch_direct.errors import UnifiedMemoryError
from torch_direct.memory import files, pages, process
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.memory.owner import FileSource, Owner
from torch_direct.tensor.create import unified
from torch_direct.tensor.host_view import CPU
from torch_direct.tensor.unified import UnifiedTensor

_received: weakref.WeakValueDictionary[Any, Owner] = weakref.WeakValueDictionary()
"""Memory that arrived from other processes, so that it is mapped once."""


def rebuild_from_bytes(
    host: Tensor, propagate: bool, requires_grad: bool, is_parameter: bool
) -> Tensor:
    """A unified tensor out of loaded bytes; what ``torch.load`` calls.

    Args:
        host: the loaded tensor. Where ``map_location`` put it elsewhere, it stays there.
        propagate: as saved.
        requires_grad: as saved.
        is_parameter: whether a `torch.nn.Parameter` was saved.
    """
    result = unified(host, propagate=propagate) if host.device.type == "cpu" else host
    if is_parameter:
        return torch.nn.Parameter(result, requires_grad)
    return result.requires_grad_(requires_grad)


def _reduce_to_bytes(tensor: UnifiedTensor) -> tuple[Any, ...]:
    tensor.require_leaf("saving")
    host = tensor._synchronized_host()
    is_parameter = isinstance(tensor, torch.nn.Parameter)
    return rebuild_from_bytes, (host, tensor.propagate, tensor.requires_grad, is_parameter)


@dataclass(frozen=True)
class SentView:
    """How a tensor looks at memory, apart from whose memory it is: what travels with a handle."""

    dtype: torch.dtype
    """Element type."""
    shape: tuple[int, ...]
    """Sizes."""
    stride: tuple[int, ...]
    """Strides, in elements."""
    offset: int
    """Elements from the first byte of the memory."""
    is_conj: bool
    """Whether values are read conjugated."""
    is_neg: bool
    """Whether values are read negated."""
    propagate: bool
    """As `UnifiedTensor.propagate`."""
    read_only: bool
    """Whether writes are refused."""
    requires_grad: bool
    """As of the tensor."""
    is_parameter: bool
    """Whether it is a `torch.nn.Parameter`."""

    @staticmethod
    def of(tensor: UnifiedTensor) -> SentView:
        """How a tensor looks at its memory."""
        return SentView(
            dtype=tensor.dtype,
            shape=tuple(tensor.shape),
            stride=tuple(tensor.stride()),
            offset=int(tensor.storage_offset()),
            is_conj=tensor.is_conj(),
            is_neg=tensor.is_neg(),
            propagate=tensor.propagate,
            read_only=tensor._read_only,
            requires_grad=tensor.requires_grad,
            is_parameter=isinstance(tensor, torch.nn.Parameter),
        )

    def over(self, owner: Owner) -> Tensor:
        """The same look at memory that has arrived here.

        It starts CUDA in no process that has not used it: there the result is a CPU view, which
        turns to the GPU at its first operator with a CUDA operand, or by ``.to("cuda")``.
        """
        device = CPU
        if process.cuda_usable() and torch.cuda.is_initialized():
            HOST_MEMORY.register(owner)
            device = torch.device("cuda", torch.cuda.current_device())
        layout = (self.dtype, self.shape, self.stride, self.offset)
        view = UnifiedTensor.over(owner, device, *layout, propagate=self.propagate)
        view = view.with_bits(conj=self.is_conj, neg=self.is_neg)
        if self.read_only:
            view = view.as_read_only()
        if self.is_parameter:
            return torch.nn.Parameter(view, self.requires_grad)
        return view.requires_grad_(self.requires_grad)


def rebuild_from_handle(owner: Owner, view: SentView) -> Tensor:
    """A unified tensor over memory that came from another process."""
    return view.over(owner)


def memory_of_descriptor(duplicate: Any, offset: int, nbytes: int) -> Owner:
    """Shared memory that another process allocated."""
    descriptor = duplicate.detach()
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino, offset)
    owner = _received.get(key)
    if owner is None:
        owner = HOST_MEMORY.attach(descriptor, offset, nbytes)
        _received[key] = owner
    else:
        os.close(descriptor)
    return owner


def memory_of_file(source: FileSource, nbytes: int, writable: bool) -> Owner:
    """A file that another process has mapped."""
    key = (source, nbytes, writable)
    owner = _received.get(key)
    if owner is None:
        owner = files.reopen(source, nbytes, writable=writable)
        _received[key] = owner
    return owner


def _reduce_to_handle(tensor: UnifiedTensor) -> tuple[Any, ...]:
    tensor.require_leaf("sending to another process")
    owner = tensor.owner
    if not _can_be_mapped(owner):
        raise UnifiedMemoryError(
            f"a unified tensor of shape {tuple(tensor.shape)} lies in private memory "
            f"({owner.kind.value}), which no other process can map; expected shared or mapped "
            "memory. Allocate it with td.empty(..., shared=True), or map it from a file with "
            "td.load(path)."
        )
    return rebuild_from_handle, (owner, SentView.of(tensor))


def _reduce_memory(owner: Owner) -> tuple[Any, ...]:
    """The handle apart from the views, so that a pickle of several views carries it once."""
    if owner.source is not None:
        return memory_of_file, (owner.source, owner.nbytes, not owner.read_only)
    block = owner.lease.keeper
    offset = pages.offset_in_shared_memory(block)
    return memory_of_descriptor, (DupFd(block.descriptor), offset, owner.nbytes)


def _can_be_mapped(owner: Owner) -> bool:
    """Whether another process can map the memory."""
    block = owner.lease.keeper
    is_shared = isinstance(block, pages.HostBlock) and block.descriptor is not None
    return is_shared or owner.source is not None


copyreg.pickle(UnifiedTensor, _reduce_to_bytes)
ForkingPickler.register(UnifiedTensor, _reduce_to_handle)
ForkingPickler.register(Owner, _reduce_memory)
torch.serialization.add_safe_globals([UnifiedTensor, rebuild_from_bytes])
