"""What gather and scatter share: rows as runs of machine words, and row numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_CARRIERS = {
    1: torch.uint8,
    2: torch.int16,
    4: torch.int32,
    8: torch.int64,
    16: torch.complex128,
}
"""Types that every PyTorch copy knows, by element size: moving rows does not look at values."""


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of a tensor lie, in words that divide every address and size in play."""

    word: torch.dtype
    """Integer type of 1, 2, 4 or 8 bytes."""
    words: int
    """Words in a row."""
    strides: tuple[int, ...]
    """Words from one row to the next, for each tensor."""


def as_carrier(tensor: Tensor) -> Tensor:
    """The same memory under a type that copies of any backend support."""
    return tensor.view(_CARRIERS[tensor.element_size()])


def common_layout(*tensors: Tensor) -> RowLayout | None:
    """The widest words in which the rows of all tensors can be moved.

    Args:
        tensors: of the same dtype, one dimension or more, the same sizes after the first.

    Returns:
        None where the elements of a row do not lie side by side, or there are none.
    """
    if tensors[0].numel() == 0 and 0 in tensors[0].shape[1:]:
        return None
    if not all(_is_dense(tensor) for tensor in tensors):
        return None
    itemsize = tensors[0].element_size()
    row_bytes = math.prod(tensors[0].shape[1:]) * itemsize
    pitches = [tensor.stride(0) * itemsize for tensor in tensors]
    width = math.gcd(8, row_bytes, *pitches, *(tensor.data_ptr() for tensor in tensors))
    return RowLayout(
        _CARRIERS[width], row_bytes // width, tuple(pitch // width for pitch in pitches)
    )


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements of each row lie side by side, in order."""
    step = 1
    for size, stride in zip(reversed(tensor.shape[1:]), reversed(tensor.stride()[1:]), strict=True):
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
    first = index[(~valid).to(torch.uint8).argmax()].long()
    fresh = ~valid.all() & (fault[0] == 0)
    record = torch.stack([torch.full_like(first, 2), first, torch.full_like(first, num_rows)])
    fault[:3] = torch.where(fresh, record, fault[:3])


def out_of_range(row: int, num_rows: int) -> str:
    """The message for a row that does not exist."""
    expected = f"expected {-num_rows} to {num_rows - 1}" if num_rows else "there are no rows"
    return (
        f"row index {row} is out of range for {num_rows} rows; {expected}. "
        "Check the index against the number of rows before the call."
    )
