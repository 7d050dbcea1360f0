"""The scatter in Triton."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from torch_direct.kernels.rows import RowLayout
from torch_direct.kernels.triton_rows import as_words, fault_record, row_numbers, tile_of


@triton.jit
def scatter_rows_kernel(
    dst,
    index,
    values,
    fault,
    num_index,
    num_rows,
    row_words,
    dst_stride,
    values_stride,
    TILE_ROWS: tl.constexpr,
    TILE_WORDS: tl.constexpr,
):
    """Each program moves TILE_ROWS rows, TILE_WORDS words of each at a time."""
    position = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    wanted = position < num_index
    row, valid = row_numbers(index, position, wanted, num_rows, fault)
    start = 0
    while start < row_words:
        column = start + tl.arange(0, TILE_WORDS)
        inside = valid[:, None] & (column < row_words)[None, :]
        source = values + position[:, None] * values_stride + column[None, :]
        words = tl.load(source, mask=inside, other=0)
        tl.store(dst + row[:, None] * dst_stride + column[None, :], words, mask=inside)
        start += TILE_WORDS


def scatter_rows(
    dst: Tensor, index: Tensor, values: Tensor, fault: Tensor | None, layout: RowLayout
) -> None:
    """As `torch_direct.kernels.scatter.scatter_rows`, for elements that lie side by side."""
    tile_rows, tile_words, warps = tile_of(layout)
    dst_stride, values_stride = layout.strides
    with fault_record(fault, index) as record:
        scatter_rows_kernel[(triton.cdiv(index.shape[0], tile_rows),)](
            as_words(dst, layout),
            index,
            as_words(values, layout),
            record,
            index.shape[0],
            dst.shape[0],
            layout.words,
            dst_stride,
            values_stride,
            TILE_ROWS=tile_rows,
            TILE_WORDS=tile_words,
            num_warps=warps,
        )
