"""Row numbers put into address order, as finely as reading needs: a counting sort in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from torch_direct.kernels.launch import blocks, launch
from torch_direct.kernels.triton_scan import add_up, finishes_last

_BUCKET_BITS = 14
"""16384 buckets: one or two MiB of a large table each, whose rows are all in flight together."""
_BLOCK = 1024
_MOST_PROGRAMS = 1024
_SCAN = 4096


@triton.jit
def bucket_of(index, place, wanted, num_rows, shift):
    """The bucket of the row at a place of the index, the last one where it is out of range."""
    given = tl.load(index + place, mask=wanted, other=0).to(tl.int64)
    row = tl.where(given < 0, given + num_rows, given)
    valid = (row >= 0) & (row < num_rows)
    return tl.where(valid, row, num_rows - 1) >> shift


@triton.jit(do_not_specialize=["num_index", "num_rows", "num_buckets", "shift"])
def count_kernel(
    index,
    ends,
    num_index: tl.int64,
    num_rows: tl.int64,
    num_buckets: tl.int64,
    shift: tl.int64,
    BLOCK: tl.constexpr,
    SCAN: tl.constexpr,
):
    """Count the rows of every bucket, from which the last program to finish makes their ends.

    The element behind the last bucket counts the programs that have finished.
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    while first < num_index:
        wanted = place < num_index
        bucket = bucket_of(index, place, wanted, num_rows, shift)
        tl.atomic_add(ends + bucket, tl.full((BLOCK,), 1, tl.int32), mask=wanted)
        first += step
        place += step
    if finishes_last(ends + num_buckets):
        add_up(ends, num_buckets, SCAN)


@triton.jit(do_not_specialize=["num_index", "num_rows", "shift"])
def place_kernel(
    index,
    ends,
    order,
    num_index: tl.int64,
    num_rows: tl.int64,
    shift: tl.int64,
    BLOCK: tl.constexpr,
):
    """Write every position of the index to the last free place of its bucket."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    while first < num_index:
        wanted = place < num_index
        bucket = bucket_of(index, place, wanted, num_rows, shift)
        end = tl.atomic_add(ends + bucket, tl.full((BLOCK,), -1, tl.int32), mask=wanted)
        tl.store(order + end - 1, place.to(tl.int32), mask=wanted)
        first += step
        place += step


def address_order(index: Tensor, num_rows: int) -> Tensor:
    """The positions of an index, roughly in ascending order of row numbers.

    Rows of one bucket come in any order, another one each time.

    Args:
        index: ``[m]`` int32 or int64, contiguous, m below 2**31; negatives count from the end, and
            those out of range may come anywhere.
        num_rows: rows of the table.

    Returns:
        int32 ``[m]``, a permutation.
    """
    num_rows = max(1, num_rows)
    shift = max(0, (num_rows - 1).bit_length() - _BUCKET_BITS)
    buckets = (num_rows - 1 >> shift) + 1
    ends = torch.zeros(buckets + 1, dtype=torch.int32, device=index.device)
    order = torch.empty(index.shape, dtype=torch.int32, device=index.device)
    num_index = index.numel()
    programs = min(blocks(num_index, _BLOCK), _MOST_PROGRAMS)
    counted = (num_index, num_rows, buckets, shift)
    launch(count_kernel, programs, (index, ends), counted, (_BLOCK, _SCAN))
    launch(place_kernel, programs, (index, ends, order), (num_index, num_rows, shift), (_BLOCK,))
    return order
