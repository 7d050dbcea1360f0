"""`torch_direct.gather`: rows of a tensor, by number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torch_direct.tensor import operators
from torch_direct.tensor.direct import direct_source, is_transformed
from torch_direct.tensor.rows import index_for

_DENSE = torch.strided


def gather(
    u: Tensor,
    index: Tensor,
    out: Tensor | None = None,
    *,
    sorted: bool = False,  # noqa: A002  the word of torch.unique and torch.topk
) -> Tensor:
    """Rows of a tensor: ``u[index]``, as one call that a compiler keeps whole.

    Args:
        u: ``[n, ...]`` of any dtype and strides; unified, CUDA or CPU.
        index: integer tensor of any shape on any device; negatives count from the end. One on the
            CPU is checked at the call and moved to the device of ``u``.
        out: ``index.shape + u.shape[1:]``, contiguous, the dtype of ``u``, on its device; a new
            tensor by default.
        sorted: the caller's word that row numbers ascend and none comes twice (in row-major
            order, for several dimensions). Rows are then read and written in the order in which
            they are named, which saves a sort. Where it is not so, the result is the same and
            takes longer.

    Returns:
        ``out``, or a new tensor on the device that reads ``u``. Differentiable with respect to
        ``u`` where ``out`` is None: backward, forward and by ``torch.func``. What runs a backward
        pass over a batch of gradients (``jacobian(vectorize=True)``), or compiles ``torch.func``,
        wants ``u[index]`` instead.

    Raises:
        IndexError: a row number is out of range. For an index on a GPU the error comes at the
            next call that reads or writes rows, or at `torch_direct.check`; the row itself
            becomes zero. ``TORCH_DIRECT_SYNC_CHECK=1`` raises at once. Where a derivative is
            taken forward or by ``torch.func``, PyTorch's own check ends the use of the GPU.
        TypeError: the index is not of an integer type, or an argument is no dense tensor.
        ValueError: ``u`` is a scalar, or ``out`` has another shape, dtype or device, has gaps, is
            to be differentiated, or shares its memory with ``u`` or the index (which compiled code
            does not look for).
    """
    source = direct_source(u, index)
    if source is not None and out is None:
        return operators.gather(source, index, sorted, over_link=True)
    if source is not None and type(out) is Tensor and out.layout is _DENSE:
        _require_room(source, index, out)
        operators.gather_out(source, index, out, sorted, over_link=True)
        return out
    _require_rows(u, index)
    rows = index_for(u, index)
    if out is None:
        if _wants_derivative():
            return u[rows.long()]
        result: Tensor = torch.ops.torch_direct.gather(u, rows, sorted)
        return result
    _require_dense("out", out)
    _require_room(u, rows, out)
    if _has_tangent(u) or _has_tangent(out):
        raise _gradient_refusal()
    torch.ops.torch_direct.gather_out(u, rows, out, sorted)
    return out


def _wants_derivative() -> bool:
    """Whether one is taken forward or by ``torch.func``, which custom operators do not serve."""
    if torch.compiler.is_compiling():
        # The stack is not seen there, and what it answers would be taken for true.
        return forward_ad._current_level >= 0
    return is_transformed()


def _has_tangent(tensor: Tensor) -> bool:
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def _require_rows(u: Tensor, index: Tensor) -> None:
    _require_dense("table", u)
    _require_dense("index", index)
    if u.dim() == 0:
        raise ValueError(
            "td.gather got a tensor of no dimension, which has no rows; expected one dimension or "
            "more. Use u itself."
        )


def _require_dense(name: str, value: Any) -> None:
    expected = "a dense integer tensor" if name == "index" else "a dense tensor"
    if not isinstance(value, Tensor):
        raise TypeError(
            f"td.gather got a {type(value).__name__} as its {name}; expected {expected}. "
            "Convert it with torch.as_tensor, or use u[index]."
        )
    if value.layout is not _DENSE or value.is_quantized or value.is_nested:
        kind = "quantised" if value.is_quantized else "nested" if value.is_nested else value.layout
        raise TypeError(
            f"td.gather got a {kind} tensor as its {name}; expected {expected}. Convert it with "
            ".to_dense(), .int_repr() or .to_padded_tensor()."
        )


def _require_room(u: Tensor, index: Tensor, out: Tensor) -> None:
    shape = (*index.shape, *u.shape[1:])
    if out.shape != shape or out.dtype != u.dtype or out.device != u.device:
        raise ValueError(
            f"out is {out.dtype} of shape {tuple(out.shape)} on {out.device}; expected {u.dtype} "
            f"of shape {tuple(shape)} on {u.device}. Leave out away to get a new tensor."
        )
    # A compiler's stand-ins have no addresses, and no bits that it could look at.
    traced = torch.compiler.is_compiling()
    read = None if traced else operators.overlapping(out, (u, index))
    if read is not None:
        raise ValueError(
            f"out shares its memory with the tensor of shape {tuple(read.shape)} that is read; "
            "expected other memory. Leave out away to get a new tensor."
        )
    if not out.is_contiguous() or (not traced and (out.is_conj() or out.is_neg())):
        raise ValueError(
            f"out of shape {tuple(out.shape)} has strides {out.stride()}; expected a contiguous "
            "tensor. Pass a slice of whole rows, or leave out away."
        )
    if torch.is_grad_enabled() and (u.requires_grad or out.requires_grad):
        raise _gradient_refusal()


def _gradient_refusal() -> ValueError:
    return ValueError(
        "td.gather with out= cannot be differentiated, and an argument requires a gradient; "
        "expected none. Leave out away, or call it under torch.no_grad()."
    )
