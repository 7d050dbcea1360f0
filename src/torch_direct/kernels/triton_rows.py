"""Rows moved between a table and a dense tensor, in Triton: the kernel of gather and scatter."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from torch_direct.kernels.launch import launch
from torch_direct.kernels.plan import Plan
from torch_direct.kernels.rows import LINE_BYTES, RowLayout, out_of_range
from torch_direct.kernels.triton_order import address_order

_NOWHERE = tl.constexpr(9223372036854775807)
_WORDS = {1: tl.uint8, 2: tl.int16, 4: tl.int32, 8: tl.int64}
_FIXED = ["num_index", "num_rows", "row_words", "table_pitch", "dense_pitch", "table_start"]


@triton.jit
def named_rows(index, order, place, num_index, ORDERED: tl.constexpr):
    """Positions in the index that are served at these places, and the row numbers there."""
    wanted = place < num_index
    position = place
    if ORDERED:
        position = tl.load(order + place, mask=wanted, other=0).to(tl.int64)
    return position, tl.load(index + position, mask=wanted, other=0).to(tl.int64)


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


@triton.jit
def move_tiles(
    table,
    dense,
    index,
    order,
    num_index,
    num_rows,
    row_words,
    table_pitch,
    dense_pitch,
    table_start,
    TO_TABLE: tl.constexpr,
    ORDERED: tl.constexpr,
    SHIFTED: tl.constexpr,
    DENSE_ALIGNED: tl.constexpr,
    VECTOR: tl.constexpr,
    EXACT: tl.constexpr,
    LINE: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_WORDS: tl.constexpr,
    OUTERMOST: tl.constexpr,
):
    """Move the tiles of this program; the rows left out are those with vectors out of the table.

    OUTERMOST moves those alone, word by word.

    Returns:
        The smallest position of a row out of range in each row of the tile, and whether a row was
        left out there.
    """
    table_words = (num_rows - 1) * table_pitch + row_words
    lines = tl.multiple_of(table - table_start, 16) if SHIFTED else table
    first = tl.program_id(0).to(tl.int64) * TILE_ROWS
    step = tl.num_programs(0).to(tl.int64) * TILE_ROWS
    place = first + tl.arange(0, TILE_ROWS)
    bad_position = tl.full((TILE_ROWS,), _NOWHERE, tl.int64)
    left_out = tl.full((TILE_ROWS,), 0, tl.int32)
    next_position, next_given = named_rows(index, order, place, num_index, ORDERED)
    while first < num_index:
        position, given, wanted = next_position, next_given, place < num_index
        # The next row numbers travel while these rows do.
        first += step
        place += step
        next_position, next_given = named_rows(index, order, place, num_index, ORDERED)
        row = tl.where(given < 0, given + num_rows, given)
        valid = wanted & (row >= 0) & (row < num_rows)
        bad_position = tl.minimum(bad_position, tl.where(wanted & (valid == 0), position, _NOWHERE))
        start = tl.where(valid, row, 0) * table_pitch
        read, moved = valid, (valid if TO_TABLE else wanted)
        if not EXACT:
            inner = (start >= VECTOR) & (start + row_words + VECTOR <= table_words)
            apart = valid & (inner == 0)
            read = apart if OUTERMOST else valid & inner
            moved = apart if OUTERMOST else moved & (apart == 0)
            left_out |= apart.to(tl.int32)
        shift = tl.zeros((TILE_ROWS,), tl.int32)
        if SHIFTED:
            start += table_start
            shift = (start % LINE).to(tl.int32)
            start = start // LINE * LINE
        dense_start = position * dense_pitch
        if EXACT:
            start = tl.multiple_of(start, VECTOR)
            shift = tl.multiple_of(shift, VECTOR)
        if DENSE_ALIGNED:
            dense_start = tl.multiple_of(dense_start, VECTOR)
        end = shift + row_words
        tile = 0
        while tile < (row_words + LINE - 1 if SHIFTED else row_words):
            column = tile + tl.arange(0, TILE_WORDS)
            vector = column // VECTOR * VECTOR
            near = (vector[None, :] + VECTOR > shift[:, None]) & (vector[None, :] < end[:, None])
            word = column[None, :] - shift[:, None]
            inside = near if EXACT else (word >= 0) & (word < row_words)
            in_table = lines + start[:, None] + column[None, :]
            in_dense = dense + dense_start[:, None] + word
            if TO_TABLE:
                words = tl.load(in_dense, mask=moved[:, None] & inside)
                tl.store(in_table, words, mask=moved[:, None] & inside)
            else:
                fetched = inside if OUTERMOST else near
                words = tl.load(
                    in_table, mask=read[:, None] & fetched, other=0, eviction_policy="evict_first"
                )
                tl.store(
                    in_dense, words, mask=moved[:, None] & inside, eviction_policy="evict_first"
                )
            tile += TILE_WORDS
    return bad_position, left_out


@triton.jit(do_not_specialize=_FIXED)
def move_rows_kernel(
    table,
    dense,
    index,
    order,
    fault,
    num_index: tl.int64,
    num_rows: tl.int64,
    row_words: tl.int32,
    table_pitch: tl.int64,
    dense_pitch: tl.int64,
    table_start: tl.int64,
    TO_TABLE: tl.constexpr,
    ORDERED: tl.constexpr,
    SHIFTED: tl.constexpr,
    DENSE_ALIGNED: tl.constexpr,
    VECTOR: tl.constexpr,
    EXACT: tl.constexpr,
    LINE: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_WORDS: tl.constexpr,
):
    """Each program moves tiles of TILE_ROWS rows, TILE_WORDS words of each at a time.

    Tiles begin at a line's boundary in the table, so that no line is asked for twice, and all
    words of a tile are in flight together.
    """
    bad_position, left_out = move_tiles(
        table, dense, index, order, num_index, num_rows, row_words, table_pitch, dense_pitch,
        table_start, TO_TABLE, ORDERED, SHIFTED, DENSE_ALIGNED, VECTOR, EXACT, LINE, TILE_ROWS,
        TILE_WORDS, False,
    )  # fmt: skip
    if not EXACT:  # noqa: SIM102  known to the compiler, unlike the other
        if tl.max(left_out, 0) > 0:
            move_tiles(
                table, dense, index, order, num_index, num_rows, row_words, table_pitch,
                dense_pitch, table_start, TO_TABLE, ORDERED, SHIFTED, False, VECTOR, EXACT, LINE,
                TILE_ROWS, TILE_WORDS, True,
            )  # fmt: skip
    bad = tl.min(bad_position, 0)
    if bad < _NOWHERE:
        record_fault(fault, tl.load(index + bad).to(tl.int64), num_rows)


def move_rows(
    table: Tensor,
    dense: Tensor,
    index: Tensor,
    fault: Tensor | None,
    layout: RowLayout,
    plan: Plan,
    *,
    to_table: bool,
) -> None:
    """Move rows named by an index, between a table and a dense tensor.

    Args:
        table: ``[n, ...]``; rows are read, or written where ``to_table`` is True.
        dense: ``[m, ...]``, row i is that of ``index[i]``.
        index: ``[m]`` int32 or int64, contiguous; negatives count from the end.
        fault: ``[4]`` int64 that takes a row out of range; None to wait and raise at once.
        layout: of both tensors.
        plan: the order, the grid and the tile.
        to_table: False to read, where a row out of range becomes zero; True to write, where it is
            left out.

    Raises:
        IndexError: a row is out of range and ``fault`` is None.
    """
    record = torch.zeros(4, dtype=torch.int64, device=index.device) if fault is None else fault
    order = address_order(index, table.shape[0]) if plan.in_order else index
    words = _WORDS[layout.word_bytes]
    launch(
        move_rows_kernel,
        plan.programs,
        (table, dense, index, order, record),
        (
            index.shape[0],
            table.shape[0],
            layout.row_words,
            layout.table_pitch,
            layout.dense_pitch,
            layout.table_start,
        ),
        (
            to_table,
            plan.in_order,
            layout.shifted,
            layout.dense_aligned,
            layout.vector,
            layout.exact,
            LINE_BYTES // layout.word_bytes,
            plan.tile_rows,
            plan.tile_words,
        ),
        types=(words, words),
        num_warps=plan.warps,
    )
    if fault is None:
        _raise_recorded(record)


def _raise_recorded(record: Tensor) -> None:
    state, row, num_rows, _ = record.tolist()
    if state:
        raise IndexError(out_of_range(row, num_rows))
