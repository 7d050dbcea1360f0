"""What gather and scatter share: where rows lie, in words, and row numbers."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

LINE_BYTES = 128
"""What a GPU asks of host memory at once."""

_LONGEST_ROW = 1 << 30
_WARP_BYTES = 512
"""What a warp reads with one instruction, 16 bytes a thread."""

_CARRIERS = {
    1: torch.uint8,
    2: torch.int16,
    4: torch.int32,
    8: torch.int64,
    16: torch.complex128,
}
"""Types that every PyTorch copy knows, by element size: moving rows does not look at values."""


@dataclass(frozen=True, eq=False)
class RowLayout:
    """Where rows lie in a table and in the dense tensor of rows read from it or written to it.

    A word is the largest of 1, 2, 4 and 8 bytes that divides every address and size in play, 8 only
    for elements as large: an element is never written in two parts.
    """

    word_bytes: int
    row_bytes: int
    row_words: int
    table_pitch: int
    """Words from one row of the table to the next."""
    dense_pitch: int
    """Words from one row of the dense tensor to the next."""
    table_start: int
    """Words from a line's boundary to the table."""
    vector: int
    """Words that one thread reads from the table at once."""
    exact: bool
    """Whether rows begin and end between two vectors."""
    shifted: bool
    """Whether rows are read from the line's boundary before them, not from their beginning."""
    dense_aligned: bool
    """Whether rows of the dense tensor lie whole vectors apart."""


def as_carrier(tensor: Tensor) -> Tensor:
    """The same memory under a type that copies of any backend support."""
    return tensor.view(_CARRIERS[tensor.element_size()])


def row_layout(table: Tensor, dense: Tensor) -> RowLayout | None:
    """The layout of two tensors of the same dtype and the same sizes after the first.

    Returns:
        None where the elements of a row do not lie side by side, or there are none, or they are
        more than 1 GiB.
    """
    return _row_layout(
        tuple(table.shape[1:]),
        table.stride(),
        dense.stride(),
        table.element_size(),
        table.data_ptr() % LINE_BYTES,
        dense.data_ptr() % 16,
    )


@functools.lru_cache(maxsize=1024)
def _row_layout(
    inner: tuple[int, ...],
    table_strides: tuple[int, ...],
    dense_strides: tuple[int, ...],
    itemsize: int,
    table_offset: int,
    dense_offset: int,
) -> RowLayout | None:
    is_dense = _lies_side_by_side(inner, table_strides) and _lies_side_by_side(inner, dense_strides)
    row_bytes = math.prod(inner) * itemsize
    if not is_dense or not 0 < row_bytes <= _LONGEST_ROW:
        return None
    table_pitch, dense_pitch = table_strides[0] * itemsize, dense_strides[0] * itemsize
    table_alignment = math.gcd(16, row_bytes, table_pitch, table_offset)
    largest_word = min(8, max(4, itemsize))
    word_bytes = math.gcd(largest_word, table_alignment, dense_pitch, dense_offset)
    begins_lines = math.gcd(LINE_BYTES, table_pitch, table_offset) == LINE_BYTES
    shifted = not begins_lines and row_bytes > (
        _WARP_BYTES if table_alignment == 16 else LINE_BYTES
    )
    vector_bytes = 16 if shifted or table_alignment == 16 else max(4, word_bytes)
    # Layouts are compared by identity, since they are looked up for every read.
    return RowLayout(
        word_bytes,
        row_bytes,
        row_bytes // word_bytes,
        table_pitch // word_bytes,
        dense_pitch // word_bytes,
        table_offset // word_bytes,
        vector_bytes // word_bytes,
        table_alignment % vector_bytes == 0,
        shifted,
        dense_pitch % vector_bytes == 0,
    )


def _lies_side_by_side(inner: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements of each row lie side by side, in order."""
    step = 1
    for size, stride in zip(reversed(inner), reversed(strides[1:]), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def resolve_index(index: Tensor, num_rows: int, fault: Tensor | None) -> tuple[Tensor, Tensor]:
    """Row numbers with negatives counted from the end, and those out of range found.

    Args:
        index: int32 or int64, one dimension.
        num_rows: number of rows.
        fault: int64 of 4 elements that takes the first row out of range (see `record_fault`);
            None to raise at once, which reads the result on the host.

    Returns:
        int64 row numbers, 0 where out of range, and a bool mask of those in range.

    Raises:
        IndexError: a row is out of range and ``fault`` is None.
    """
    wide = index.long()
    wrapped = torch.where(wide < 0, wide + num_rows, wide)
    valid = (wrapped >= 0) & (wrapped < num_rows)
    if fault is not None:
        record_fault(fault, index, valid, num_rows)
    elif not bool(valid.all()):
        raise IndexError(out_of_range(int(index[~valid][0]), num_rows))
    return torch.where(valid, wrapped, 0), valid


def record_fault(fault: Tensor, index: Tensor, valid: Tensor, num_rows: int) -> None:
    """Note the first row out of range, unless one is noted already, without synchronising.

    The record is ``[state, row, number of rows, 0]``; state 2 says that it is complete.
    """
    if index.numel() == 0:
        return
    # Square brackets would read the position on the host.
    position = (~valid).to(torch.uint8).argmax(0, keepdim=True)
    first = index.index_select(0, position).long()
    fresh = ~valid.all() & (fault[0] == 0)
    record = torch.cat([torch.full_like(first, 2), first, torch.full_like(first, num_rows)])
    # Another stream may note a row meanwhile: without news only the last word is written.
    word = torch.arange(3, device=fault.device)
    fault.scatter_(0, torch.where(fresh, word, 3), torch.where(fresh, record, 0))


def out_of_range(row: int, num_rows: int) -> str:
    """The message for a row that does not exist."""
    expected = f"expected {-num_rows} to {num_rows - 1}" if num_rows else "there are no rows"
    return (
        f"row index {row} is out of range for {num_rows} rows; {expected}. "
        "Check the index against the number of rows before the call."
    )
