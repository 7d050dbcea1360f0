"""Unified tensors in files and between processes.

`pickle` and `torch.save` carry the bytes, once. `torch.multiprocessing` carries a handle to shared
or mapped memory, and the receiver gives that memory to its own GPU.
"""

from __future__ import annotations

import copyreg
import os
import weakref
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

_received: weakref.WeakValueDictionary[tuple[int, int, int], Owner] = weakref.WeakValueDictionary()
"""Shared memory that arrived from other processes, so that it is mapped once."""


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
    if not tensor.is_leaf:
        raise RuntimeError(
            "a unified tensor with a gradient history cannot be saved; expected one that was "
            "created by the user. Save u.detach()."
        )
    host = tensor._synchronized_host()
    is_parameter = isinstance(tensor, torch.nn.Parameter)
    return rebuild_from_bytes, (host, tensor.propagate, tensor.requires_grad, is_parameter)


Layout = tuple[torch.dtype, tuple[int, ...], tuple[int, ...], int]
"""dtype, shape, stride in elements, offset in elements."""


def rebuild_from_descriptor(
    duplicate: Any, offset: int, nbytes: int, layout: Layout, propagate: bool, requires_grad: bool
) -> UnifiedTensor:
    """A unified tensor over shared memory that another process allocated."""
    descriptor = duplicate.detach()
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino, offset)
    owner = _received.get(key)
    if owner is None:
        owner = HOST_MEMORY.attach(descriptor, offset, nbytes)
        _received[key] = owner
    else:
        os.close(descriptor)
    return _arrived(owner, layout, propagate, requires_grad)


def rebuild_from_file(
    source: FileSource,
    nbytes: int,
    read_only: bool,
    layout: Layout,
    propagate: bool,
    requires_grad: bool,
) -> UnifiedTensor:
    """A unified tensor over a file that another process has mapped."""
    owner = files.reopen(source, nbytes, writable=not read_only)
    return _arrived(owner, layout, propagate, requires_grad)


def _arrived(owner: Owner, layout: Layout, propagate: bool, requires_grad: bool) -> UnifiedTensor:
    """A received tensor. It starts CUDA in no process that has not used it: it is a CPU view then.

    Such a view turns to the GPU at its first operator with a CUDA operand, or by ``.to("cuda")``.
    """
    device = CPU
    if process.cuda_usable() and torch.cuda.is_initialized():
        HOST_MEMORY.register(owner)
        device = torch.device("cuda", torch.cuda.current_device())
    tensor = UnifiedTensor.over(owner, device, *layout, propagate=propagate)
    tensor.requires_grad_(requires_grad)
    return tensor


def _reduce_to_handle(tensor: UnifiedTensor) -> tuple[Any, ...]:
    owner = tensor.owner
    layout = (
        tensor.dtype,
        tuple(tensor.shape),
        tuple(tensor.stride()),
        tensor.storage_offset(),
    )
    common = (layout, tensor.propagate, tensor.requires_grad)
    if owner.source is not None:
        return rebuild_from_file, (owner.source, owner.nbytes, owner.read_only, *common)
    block = owner.lease.keeper
    if isinstance(block, pages.HostBlock) and block.descriptor is not None:
        offset = pages.offset_in_shared_memory(block)
        return rebuild_from_descriptor, (DupFd(block.descriptor), offset, owner.nbytes, *common)
    raise UnifiedMemoryError(
        f"a unified tensor of shape {tuple(tensor.shape)} lies in private memory "
        f"({owner.kind.value}), which no other process can map; expected shared or mapped memory. "
        "Allocate it with td.empty(..., shared=True), or map it from a file with td.load(path)."
    )


copyreg.pickle(UnifiedTensor, _reduce_to_bytes)
ForkingPickler.register(UnifiedTensor, _reduce_to_handle)
torch.serialization.add_safe_globals([UnifiedTensor, rebuild_from_bytes])
