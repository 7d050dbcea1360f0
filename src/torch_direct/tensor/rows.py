"""Reads and writes of rows, in all the spellings that PyTorch has: all end in one operator each.

Every handler has the signature of its operator. It is called with plain tensors in place of
unified ones, once the placement rules have said "CUDA", and returns `NATIVE` for what is not
about rows (another dimension, several index tensors): PyTorch's own kernel then runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from torch_direct.kernels.rows import out_of_range
from torch_direct.tensor import operators  # noqa: F401  registers torch.ops.torch_direct
from torch_direct.tensor.host_view import has_memory

aten = torch.ops.aten

NATIVE = object()
"""What a handler returns when the operator is not a read or write of rows after all."""

ROW_OPERATORS: dict[OpOverload, Callable[..., Any]] = {}
"""The handlers, by operator."""


def handles(operator: OpOverload) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a handler for an operator."""

    def enter(handler: Callable[..., Any]) -> Callable[..., Any]:
        ROW_OPERATORS[operator] = handler
        return handler

    return enter


@handles(aten.index.Tensor)
def _index(table: Tensor, indices: Sequence[Tensor | None]) -> Any:
    rows = _only_rows(table, indices)
    return NATIVE if rows is None else torch.ops.torch_direct.gather(table, rows)


@handles(aten.index_select.default)
def _index_select(table: Tensor, dim: int, index: Tensor) -> Any:
    if not _is_first(table, dim):
        return NATIVE
    return torch.ops.torch_direct.gather(table, index_for(table, _one_dimensional(index)))


@handles(aten.index_select.out)
def _index_select_out(table: Tensor, dim: int, index: Tensor, *, out: Tensor) -> Any:
    rows = _one_dimensional(index)
    fits = out.shape == (rows.shape[0], *table.shape[1:]) and out.is_contiguous()
    if not _is_first(table, dim) or not fits or out.dtype != table.dtype:
        return NATIVE
    torch.ops.torch_direct.gather_out(table, index_for(table, rows), out)
    return out


@handles(aten.embedding.default)
def _embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    del padding_idx, scale_grad_by_freq, sparse
    return torch.ops.torch_direct.gather(weight, index_for(weight, indices))


@handles(aten.index_put_.default)
def _index_put_(
    table: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Any:
    rows = _only_rows(table, indices)
    if rows is None:
        return NATIVE
    if values.dtype != table.dtype:
        raise RuntimeError(
            f"rows of {values.dtype} cannot be written into a tensor of {table.dtype}; expected "
            "the same dtype. Convert the values with .to(...)."
        )
    wide = _values_for(table, values).expand((*rows.shape, *table.shape[1:]))
    _write(table, rows, wide.reshape(rows.numel(), *table.shape[1:]), accumulate=accumulate)
    return table


@handles(aten._index_put_impl_.default)
def _index_put_impl_(
    table: Tensor,
    indices: Sequence[Tensor | None],
    values: Tensor,
    accumulate: bool = False,
    unsafe: bool = False,
) -> Any:
    del unsafe
    return _index_put_(table, indices, values, accumulate)


@handles(aten.index_copy_.default)
def _index_copy_(table: Tensor, dim: int, index: Tensor, source: Tensor) -> Any:
    if not _names_rows(table, dim, index, source):
        return NATIVE
    _write(table, index_for(table, index), source, accumulate=False)
    return table


@handles(aten.index_add_.default)
def _index_add_(table: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Any:
    if not _names_rows(table, dim, index, source):
        return NATIVE
    scaled = source if alpha == 1 else source * alpha
    _write(table, index_for(table, index), scaled, accumulate=True)
    return table


def index_for(table: Tensor, index: Tensor) -> Tensor:
    """Row numbers where the kernel needs them.

    Args:
        table: the tensor whose rows are named.
        index: integer tensor on any device; one on the CPU is checked before it is moved.

    Raises:
        IndexError: a row of a CPU index is out of range.
        TypeError: the index is not of an integer type.
    """
    if index.dtype.is_floating_point or index.dtype.is_complex or index.dtype == torch.bool:
        raise TypeError(
            f"row indices are {index.dtype}; expected an integer type. Convert with .long(); "
            "a bool mask goes in square brackets: u[mask]."
        )
    if index.device == table.device:
        return index
    if index.device.type == "cpu" and has_memory(index):
        check_rows(index, table.shape[0])
    return index.to(table.device)


def _values_for(table: Tensor, values: Tensor) -> Tensor:
    """Values on the table's device; a number is filled in there, since copying it would wait."""
    is_number = values.dim() == 0 and values.device.type == "cpu" and has_memory(values)
    if is_number and table.is_cuda:
        return torch.full((), values.item(), dtype=values.dtype, device=table.device)
    return values.to(table.device)


def check_rows(index: Tensor, num_rows: int) -> None:
    """Raise `IndexError` with the first row number of a CPU index that is out of range."""
    if index.numel() == 0:
        return
    wide = index.long()
    low, high = (int(bound) for bound in torch.aminmax(wide))
    if low < -num_rows or high >= num_rows:
        wrong = (wide < -num_rows) | (wide >= num_rows)
        raise IndexError(out_of_range(int(wide[wrong][0]), num_rows))


def _only_rows(table: Tensor, indices: Sequence[Tensor | None]) -> Tensor | None:
    """The index of rows, where nothing but rows is indexed."""
    first, *others = indices
    if first is None or any(index is not None for index in others) or table.dim() == 0:
        return None
    if first.dtype not in (torch.bool, torch.uint8):
        return index_for(table, first)
    if first.dim() != 1 or first.shape[0] != table.shape[0]:
        return None
    return first.nonzero().squeeze(1).to(table.device)


def _write(table: Tensor, rows: Tensor, values: Tensor, *, accumulate: bool) -> None:
    if accumulate:
        torch.ops.torch_direct.add_rows(table, rows, values)
    else:
        torch.ops.torch_direct.scatter_rows(table, rows, values)


def _is_first(table: Tensor, dim: int) -> bool:
    return table.dim() > 0 and dim in (0, -table.dim())


def _one_dimensional(index: Tensor) -> Tensor:
    if index.dim() > 1:
        raise IndexError(
            f"index_select got an index of shape {tuple(index.shape)}; expected one dimension. "
            "Flatten it, or use u[index]."
        )
    return index.reshape(-1)


def _names_rows(table: Tensor, dim: int, index: Tensor, source: Tensor) -> bool:
    """Whether a write names rows, with a source that is ready to be written."""
    return (
        _is_first(table, dim)
        and index.dim() == 1
        and source.shape == (index.shape[0], *table.shape[1:])
        and source.dtype == table.dtype
        and source.device == table.device
    )
