"""Device functions and launch arithmetic that the gather and the scatter share in Triton."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import triton
import triton.language as tl
from torch import Tensor

from torch_direct.kernels.rows import RowLayout, out_of_range

_MOST_TILE_WORDS = 256
_TILE_ELEMENTS = 1024
_WARPS = 4


@triton.jit
def row_numbers(index, position, wanted, num_rows, fault):
    """Row numbers at positions of an index, 0 where out of range; the first offender is noted."""
    given = tl.load(index + position, mask=wanted, other=0).to(tl.int64)
    row = tl.where(given < 0, given + num_rows, given)
    valid = wanted & (row >= 0) & (row < num_rows)
    bad = wanted & (valid == 0)
    if tl.max(bad.to(tl.int32), 0) > 0:
        first = tl.min(tl.where(bad, position, 9223372036854775807), 0)
        offender = tl.sum(tl.where(position == first, given, 0), 0)
        record_fault(fault, offender, num_rows)
    return tl.where(valid, row, 0), valid


@triton.jit
def record_fault(fault, row, num_rows):
    """Write ``[2, row, number of rows]`` unless a record is there; one program wins."""
    empty = tl.full((), 0, tl.int64)
    writing = tl.full((), 1, tl.int64)
    complete = tl.full((), 2, tl.int64)
    if tl.atomic_cas(fault, empty, writing) == 0:
        tl.store(fault + 1, row)
        tl.store(fault + 2, tl.full((), 0, tl.int64) + num_rows)
        tl.atomic_xchg(fault, complete, sem="release", scope="sys")


def tile_of(layout: RowLayout) -> tuple[int, int, int]:
    """Rows and words of the tile that a program moves at once, and its number of warps."""
    words = min(triton.next_power_of_2(layout.words), _MOST_TILE_WORDS)
    return max(1, _TILE_ELEMENTS // words), words, _WARPS


def as_words(tensor: Tensor, layout: RowLayout) -> triton.runtime.jit.TensorWrapper:
    """The tensor's address, typed as words for the launcher."""
    return triton.reinterpret(tensor, tl.dtype(str(layout.word).removeprefix("torch.")))


@contextmanager
def fault_record(fault: Tensor | None, index: Tensor) -> Iterator[Tensor]:
    """The record a kernel writes to; one of our own, raised at the end, where none is given."""
    if fault is not None:
        yield fault
        return
    record = torch.zeros(4, dtype=torch.int64, device=index.device)
    yield record
    state, row, num_rows, _ = record.tolist()
    if state:
        raise IndexError(out_of_range(row, num_rows))
