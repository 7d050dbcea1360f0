"""The gather in Triton."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from torch_direct.kernels.rows import RowLayout
from torch_direct.kernels.triton_rows import as_words, fault_record, row_numbers, tile_of


@triton.jit
def gather_rows_kernel(
    src,
    index,
    out,
    fault,
    num_index,
    num_rows,
    row_words,
    src_stride,
    out_stride,
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
        inside = column < row_words
        source = src + row[:, None] * src_stride + column[None, :]
        words = tl.load(source, mask=valid[:, None] & inside[None, :], other=0)
        target = out + position[:, None] * out_stride + column[None, :]
        tl.store(target, words, mask=wanted[:, None] & inside[None, :])
        start += TILE_WORDS


def gather_rows(
    src: Tensor, index: Tensor, out: Tensor, fault: Tensor | None, layout: RowLayout
) -> None:
    """As `torch_direct.kernels.gather.gather_rows`, for rows whose elements lie side by side."""
    tile_rows, tile_words, warps = tile_of(layout)
    src_stride, out_stride = layout.strides
    with fault_record(fault, index) as record:
        gather_rows_kernel[(triton.cdiv(index.shape[0], tile_rows),)](
            as_words(src, layout),
            index,
            as_words(out, layout),
            record,
            index.shape[0],
            src.shape[0],
            layout.words,
            src_stride,
            out_stride,
            TILE_ROWS=tile_rows,
            TILE_WORDS=tile_words,
            num_warps=warps,
        )
