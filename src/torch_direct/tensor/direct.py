"""Reads of rows that skip PyTorch's dispatcher, whose way costs the host more than a small read."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torch_direct.memory import process
from torch_direct.tensor.host_view import HostView
from torch_direct.tensor.operators import ROW_NUMBERS


def direct_source(table: Tensor, index: object) -> Tensor | None:
    """The plain tensor to read where ``table[index]`` is `operators.gather` and nothing besides.

    That is the usual case: a unified table, row numbers of the kernel's own types on its device,
    and no gradient, mode, tracer or transform. In every other case it is None, and the way through
    the dispatcher ends in the same gather or in the error that says what is wrong.
    """
    if torch.compiler.is_compiling() or type(index) is not Tensor:
        return None
    if not isinstance(table, HostView) or _is_watched():
        return None
    if table.traced or table.owner.moved or process.cuda_lost:
        return None
    if table.requires_grad and torch.is_grad_enabled():
        return None
    source = table.alias
    names_rows = (
        index.dtype in ROW_NUMBERS
        and index.dim() > 0
        and source.dim() > 0
        and index.device == source.device
    )
    return source if names_rows else None


def _is_watched() -> bool:
    """Whether a mode, a tracer or a transform of this thread wants to see operators."""
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._get_tracing_state() is not None
        or is_transformed()
    )


def is_transformed() -> bool:
    """Whether a derivative is taken forward, or ``torch.func`` is at work; not to be compiled."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    )
