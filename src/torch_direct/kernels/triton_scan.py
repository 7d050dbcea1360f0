"""Running sums over what all programs of a kernel counted, made by the last of them to finish."""

from __future__ import annotations

import triton
import triton.language as tl

SCAN = 1024
"""How many counts to add up at once: more would take the registers of all programs of a kernel, for
the one that does it."""


@triton.jit
def finishes_last(finished):
    """Whether all other programs have come to this point; what they wrote is there.

    `finished` points at a zero, which is then the number of programs.
    """
    tl.debug_barrier()
    return tl.atomic_add(finished, 1) == tl.num_programs(0) - 1


@triton.jit
def add_up(counts, size, BLOCK: tl.constexpr):
    """Add to every count those before it, BLOCK at a time; returns their sum."""
    total = tl.full((), 0, counts.dtype.element_ty)
    first = tl.full((), 0, tl.int64)
    # Not a `for`: Triton's interpreter cannot make a range of a number that it holds as an array.
    while first < size:
        place = first + tl.arange(0, BLOCK)
        # Counted elsewhere: what this multiprocessor has of it in its cache may be old.
        count = tl.load(counts + place, mask=place < size, other=0, cache_modifier=".cg")
        tl.store(counts + place, total + tl.cumsum(count, 0), mask=place < size)
        total += tl.sum(count, 0)
        first += BLOCK
    return total
