"""The custom operators behind every read and write of rows.

They take plain or unified tensors, work inside ``torch.compile`` and, for the gather, under
autograd.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from torch_direct.errors import HostMemoryError
from torch_direct.kernels.gather import gather_rows
from torch_direct.kernels.scatter import add_rows, scatter_rows
from torch_direct.memory.pages import size_text
from torch_direct.tensor import faults

_LIBRARY = torch.library.Library("torch_direct", "DEF")
_LIBRARY.define("gather(Tensor src, Tensor index) -> Tensor")
_LIBRARY.define("gather_out(Tensor src, Tensor index, Tensor(a!) out) -> ()")
_LIBRARY.define("scatter_rows(Tensor(a!) dst, Tensor index, Tensor values) -> ()")
_LIBRARY.define("add_rows(Tensor(a!) dst, Tensor index, Tensor values) -> ()")


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


def _gather(src: Tensor, index: Tensor) -> Tensor:
    out = torch.empty((*index.shape, *src.shape[1:]), dtype=src.dtype, device=src.device)
    _gather_out(src, index, out)
    return out


def _gather_out(src: Tensor, index: Tensor, out: Tensor) -> None:
    rows = out.view(index.numel(), *src.shape[1:])
    with torch.cuda.device_of(src):
        gather_rows(_as_stored(src), _flat(index), rows, _fault_record(src))
    if src.is_conj():
        rows.conj_physical_()
    if src.is_neg():
        rows.neg_()
    faults.raise_now_if_asked()


def _scatter_rows(dst: Tensor, index: Tensor, values: Tensor) -> None:
    stored = _as_read_by(dst, values).resolve_conj().resolve_neg()
    with torch.cuda.device_of(dst):
        scatter_rows(_as_stored(dst), _flat(index), stored, _fault_record(dst))
    faults.raise_now_if_asked()


def _add_rows(dst: Tensor, index: Tensor, values: Tensor) -> None:
    with torch.cuda.device_of(dst):
        add_rows(_as_stored(dst), _flat(index), _as_read_by(dst, values), _fault_record(dst))
    faults.raise_now_if_asked()


def _as_stored(tensor: Tensor) -> Tensor:
    """The values that lie in memory, where a tensor reads them conjugated or negated."""
    stored = tensor.conj() if tensor.is_conj() else tensor
    return torch._neg_view(stored) if stored.is_neg() else stored


def _as_read_by(tensor: Tensor, values: Tensor) -> Tensor:
    """The values to store so that a tensor, which may conjugate or negate, reads these."""
    read = values.conj() if tensor.is_conj() else values
    return read.neg() if tensor.is_neg() else read


def _flat(index: Tensor) -> Tensor:
    flat = index.reshape(-1).contiguous()
    return flat if flat.dtype in (torch.int32, torch.int64) else flat.long()


def _fault_record(tensor: Tensor) -> Tensor | None:
    """Where kernels on this tensor's device note a row out of range; None to raise at once."""
    if not tensor.is_cuda:
        return None
    if not torch.cuda.is_current_stream_capturing():
        faults.raise_pending()
    return faults.record_on(tensor.device)


for _name, _implementation in {
    "gather": _gather,
    "gather_out": _gather_out,
    "scatter_rows": _scatter_rows,
    "add_rows": _add_rows,
}.items():
    _LIBRARY.impl(_name, _implementation, "CompositeExplicitAutograd")


@torch.library.register_fake("torch_direct::gather", lib=_LIBRARY)
def _gather_fake(src: Tensor, index: Tensor) -> Tensor:
    return src.new_empty((*index.shape, *src.shape[1:]))


@torch.library.register_fake("torch_direct::gather_out", lib=_LIBRARY)
def _gather_out_fake(src: Tensor, index: Tensor, out: Tensor) -> None:
    del src, index, out


@torch.library.register_fake("torch_direct::scatter_rows", lib=_LIBRARY)
@torch.library.register_fake("torch_direct::add_rows", lib=_LIBRARY)
def _write_rows_fake(dst: Tensor, index: Tensor, values: Tensor) -> None:
    del dst, index, values


def _save_for_gradient(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    del output
    src, index = inputs
    ctx.save_for_backward(index)
    ctx.table = src.shape


def _gather_gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (index,) = ctx.saved_tensors
    require_gradient_fits(ctx.table, gradient.dtype, gradient.device)
    rows = gradient.reshape(index.numel(), *ctx.table[1:])
    table = gradient.new_zeros(ctx.table)
    torch.ops.torch_direct.add_rows(table, index, rows)
    return table, None


torch.library.register_autograd(
    "torch_direct::gather", _gather_gradient, setup_context=_save_for_gradient, lib=_LIBRARY
)
