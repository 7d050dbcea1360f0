"""The scatter in plain PyTorch: what the kernel must do, and the path for strided rows."""

from __future__ import annotations

from torch import Tensor

from torch_direct.kernels.rows import as_carrier, resolve_index


def scatter_rows(dst: Tensor, index: Tensor, values: Tensor, fault: Tensor | None) -> None:
    """As `torch_direct.kernels.scatter.scatter_rows`."""
    rows, valid = resolve_index(index, dst.shape[0], fault)
    carried = as_carrier(values)
    if fault is not None:
        # On a GPU this waits for the mask; only tables whose rows have gaps come here.
        rows, carried = rows[valid], carried[valid]
    if rows.numel() > 0:
        as_carrier(dst).index_copy_(0, rows, carried)


def add_rows(dst: Tensor, index: Tensor, values: Tensor, fault: Tensor | None) -> None:
    """Add rows: ``dst[index[i]] += values[i]``, repeated rows as often as they are named.

    PyTorch's own kernel adds, atomically, in no defined order on a GPU; a row out of range is
    left out by adding zero to the first.

    Args:
        dst: ``[n, ...]``, any dtype and strides.
        index: ``[m]`` int32 or int64; negatives count from the end.
        values: ``[m, ...]``, the dtype of ``dst``.
        fault: ``[4]`` int64 that takes a row out of range; None to wait and raise at once.

    Raises:
        IndexError: a row is out of range and ``fault`` is None.
    """
    rows, valid = resolve_index(index, dst.shape[0], fault)
    if dst.shape[0] == 0 or rows.numel() == 0:
        return
    if fault is not None:
        values = values.masked_fill(~valid.view(-1, *[1] * (values.dim() - 1)), 0)
    dst.index_add_(0, rows, values)
