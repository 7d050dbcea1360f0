"""The custom operators behind every read and write of rows.

They take plain or unified tensors, work inside ``torch.compile`` and, for the gather, under
autograd.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torch_direct.errors import HostMemoryError
from torch_direct.kernels.gather import gather_rows
from torch_direct.kernels.scatter import add_rows, scatter_rows
from torch_direct.memory import driver
from torch_direct.memory.pages import size_text
from torch_direct.tensor import faults

_LIBRARY = torch.library.Library("torch_direct", "DEF")
_LIBRARY.define("gather(Tensor src, Tensor index, bool is_sorted=False) -> Tensor")
_LIBRARY.define("gather_out(Tensor src, Tensor index, Tensor(a!) out, bool is_sorted=False) -> ()")
_LIBRARY.define("scatter_rows(Tensor(a!) dst, Tensor index, Tensor values) -> ()")
_LIBRARY.define("add_rows(Tensor(a!) dst, Tensor index, Tensor values) -> ()")


ROW_NUMBERS = (torch.int64, torch.int32)
"""Types of row numbers that kernels read."""


def require_gradient_fits(table: torch.Size, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse a gradient that is larger than the whole GPU.

    Raises:
        HostMemoryError: the gradient of a table of this size can never fit.
    """
    if device.type != "cuda":
        return
    needed = math.prod(table) * dtype.itemsize
    total = torch.cuda.get_device_properties(device).total_memory
    if needed > total:
        raise HostMemoryError(
            f"the gradient of a table of shape {tuple(table)} is a CUDA tensor of "
            f"{size_text(needed)}, and {device} has {size_text(total)}; expected one that fits. "
            "Read rows without a gradient (u.detach()), ask for a sparse one "
            "(torch.nn.functional.embedding(..., sparse=True)), or train a smaller table."
        )


def gather(
    src: Tensor, index: Tensor, is_sorted: bool = False, *, over_link: bool | None = None
) -> Tensor:
    """What ``torch.ops.torch_direct.gather`` runs: ``src[index]``, index on the device of src.

    ``over_link`` says whether src lies in host memory, where the caller knows.
    """
    rows = src.new_empty((index.numel(), *src.shape[1:]))
    _read_rows(src, index, rows, is_sorted, over_link)
    return rows if index.dim() == 1 else rows.view((*index.shape, *src.shape[1:]))


def gather_out(
    src: Tensor,
    index: Tensor,
    out: Tensor,
    is_sorted: bool = False,
    *,
    over_link: bool | None = None,
) -> None:
    """What ``torch.ops.torch_direct.gather_out`` runs; autograd sees that out is written."""
    if not out.is_inference():
        torch.autograd.graph.increment_version(out)
    _read_rows(src, index, out.view(index.numel(), *src.shape[1:]), is_sorted, over_link)


def _read_rows(
    src: Tensor, index: Tensor, rows: Tensor, is_sorted: bool, over_link: bool | None
) -> None:
    if over_link is None:
        over_link = lies_on_host(src)
    with _device_of(src):
        fault = _fault_record(src)
        stored, flat = _as_stored(src), _flat(index)
        gather_rows(stored, flat, rows, fault, is_sorted=is_sorted, over_link=over_link)
    if src.is_conj():
        rows.conj_physical_()
    if src.is_neg():
        rows.neg_()
    faults.raise_now_if_asked()


def _scatter_rows(dst: Tensor, index: Tensor, values: Tensor) -> None:
    stored = _as_read_by(dst, values).resolve_conj().resolve_neg()
    if overlapping(dst, (stored,)) is not None:
        stored = stored.clone()
    with _device_of(dst):
        fault, over_link = _fault_record(dst), lies_on_host(dst)
        scatter_rows(_as_stored(dst), _flat(index), stored, fault, over_link=over_link)
    faults.raise_now_if_asked()


def _add_rows(dst: Tensor, index: Tensor, values: Tensor) -> None:
    with _device_of(dst):
        add_rows(_as_stored(dst), _flat(index), _as_read_by(dst, values), _fault_record(dst))
    faults.raise_now_if_asked()


def overlapping(one: Tensor, others: Sequence[Tensor]) -> Tensor | None:
    """The first tensor that has memory in common with one, gaps between elements included."""
    begin, end = _extent(one)
    for other in others:
        other_begin, other_end = _extent(other)
        if begin < other_end and other_begin < end:
            return other
    return None


def _extent(tensor: Tensor) -> tuple[int, int]:
    begin = tensor.data_ptr()
    if tensor.is_contiguous():
        return begin, begin + tensor.numel() * tensor.element_size()
    if tensor.numel() == 0:
        return begin, begin
    last = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    return begin, begin + (last + 1) * tensor.element_size()


def lies_on_host(tensor: Tensor) -> bool:
    """Whether a tensor's memory is the host's, whatever device reads it."""
    return not tensor.is_cuda or driver.is_host_memory(tensor.data_ptr())


def _as_stored(tensor: Tensor) -> Tensor:
    """The values that lie in memory, where a tensor reads them conjugated or negated."""
    stored = tensor.conj() if tensor.is_conj() else tensor
    return torch._neg_view(stored) if stored.is_neg() else stored


def _as_read_by(tensor: Tensor, values: Tensor) -> Tensor:
    """The values to store so that a tensor, which may conjugate or negate, reads these."""
    read = values.conj() if tensor.is_conj() else values
    return read.neg() if tensor.is_neg() else read


def _flat(index: Tensor) -> Tensor:
    flat = index if index.dim() == 1 else index.reshape(-1)
    return (flat if flat.dtype in ROW_NUMBERS else flat.long()).contiguous()


_UNCHANGED = contextlib.nullcontext()


def _device_of(tensor: Tensor) -> contextlib.AbstractContextManager[None]:
    """`torch.cuda.device_of`, for nothing where that device is the current one."""
    if not tensor.is_cuda or tensor.get_device() == torch.cuda.current_device():
        return _UNCHANGED
    on_device: contextlib.AbstractContextManager[None] = torch.cuda.device_of(tensor)
    return on_device


def _fault_record(tensor: Tensor) -> Tensor | None:
    """Where kernels on this tensor's device note a row out of range; None to raise at once."""
    if not tensor.is_cuda:
        return None
    faults.raise_pending()
    return faults.record_on(tensor.device)


for _name, _implementation in {
    "gather": gather,
    "gather_out": gather_out,
    "scatter_rows": _scatter_rows,
    "add_rows": _add_rows,
}.items():
    _LIBRARY.impl(_name, _implementation, "CompositeExplicitAutograd")


@torch.library.register_fake("torch_direct::gather", lib=_LIBRARY)
def _gather_fake(src: Tensor, index: Tensor, is_sorted: bool = False) -> Tensor:
    del is_sorted
    return src.new_empty((*index.shape, *src.shape[1:]))


@torch.library.register_fake("torch_direct::gather_out", lib=_LIBRARY)
def _gather_out_fake(src: Tensor, index: Tensor, out: Tensor, is_sorted: bool = False) -> None:
    del src, index, out, is_sorted


@torch.library.register_fake("torch_direct::scatter_rows", lib=_LIBRARY)
@torch.library.register_fake("torch_direct::add_rows", lib=_LIBRARY)
def _write_rows_fake(dst: Tensor, index: Tensor, values: Tensor) -> None:
    del dst, index, values


def _save_for_gradient(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
    del output
    src, index, _ = inputs
    ctx.save_for_backward(index)
    ctx.table = src.shape


def _gather_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (index,) = ctx.saved_tensors
    require_gradient_fits(ctx.table, gradient.dtype, gradient.device)
    rows = gradient.reshape(index.numel(), *ctx.table[1:])
    table = gradient.new_zeros(ctx.table)
    torch.ops.torch_direct.add_rows(table, index, rows)
    return table, None, None


torch.library.register_autograd(
    "torch_direct::gather", _gather_gradient, setup_context=_save_for_gradient, lib=_LIBRARY
)
