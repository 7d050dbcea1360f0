"""How rows are moved: in which order, on how large a grid, in what tiles.

The numbers were measured on an H100 on PCIe Gen5 x16; `docs/design/gather.md` shows them.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from torch_direct.kernels.rows import LINE_BYTES, RowLayout

_LINES_IN_FLIGHT = 3072
"""Lines asked for at once that fill the link, in twice the time that one takes to come."""
_PROGRAMS_IN_GPU_MEMORY = 2048
_SHORT_BYTES = 1 << 20
"""Less than this comes soonest where every multiprocessor asks for a little."""

_LINK = 51e9
"""Bytes a second that multiprocessors read over the link."""
_LEAST_BYTES = 72
"""What the link carries in the time of the shortest request."""
_PAGE_BYTES = 64 << 10
"""What one translation of a host address covers, whatever page backs it."""
_REACH_BYTES = 768 << 20
"""Host memory whose translations a GPU keeps."""
_WALKS = 29e6
"""Translations a second, in random order."""
_ORDERED_WALKS = 42e6
"""Translations a second, in address order."""
_WORTH = 0.95
"""A sort has to save a twentieth: the rows of a sampled batch are distinct already."""
_SORT_SECONDS = 55e-6
"""Until the last row is in order, from the call: half of it is the host's, in four launches."""
_SORT_SECONDS_PER_ROW = 0.07e-9


class Shape(NamedTuple):
    """How much a program moves at once: all of it is in flight, in registers."""

    tile_bytes: int
    row_bytes: int
    """The longest part of a row in one tile."""
    warps: int


_NARROW = Shape(16 << 10, 8 << 10, 4)
_SHORT = Shape(2 << 10, 4 << 10, 1)


class Plan(NamedTuple):
    """How to move the rows of one call."""

    in_order: bool
    """Whether to serve rows in address order, which takes a sort."""
    programs: int
    tile_rows: int
    tile_words: int
    warps: int


def plan_for(
    layout: RowLayout, num_index: int, num_rows: int, *, is_sorted: bool, over_link: bool
) -> Plan:
    """Decide how to move rows.

    Args:
        layout: of the table and the dense tensor.
        num_index: rows that are named.
        num_rows: rows of the table.
        is_sorted: whether row numbers ascend already.
        over_link: whether the table lies in host memory, rather than in GPU memory.

    Returns:
        The order, the grid and the tile. A grid as narrow as fills the link leaves the
        multiprocessors to other work.
    """
    short = num_index * layout.row_bytes <= _SHORT_BYTES
    shape = _SHORT if short else _NARROW
    rows, words, lines = _tile(layout, shape)
    programs = -(-num_index // rows)
    if not short:
        widest = -(-_LINES_IN_FLIGHT // lines) if over_link else _PROGRAMS_IN_GPU_MEMORY
        programs = min(programs, widest)
    in_order = over_link and not is_sorted and order_pays(num_index, num_rows, layout)
    return Plan(in_order, programs, rows, words, shape.warps)


def order_pays(num_index: int, num_rows: int, layout: RowLayout) -> bool:
    """Whether rows come sooner in address order, the sort included.

    Rows come as fast as the link carries them, or as their addresses are translated. In address
    order a row that is named twice travels once, a translation serves all rows of its page, and
    is itself found sooner.

    Args:
        num_index: rows that are named.
        num_rows: rows of the table.
        layout: of the table.
    """
    row_seconds = max(layout.row_bytes, _LEAST_BYTES) / _LINK
    sort = _SORT_SECONDS + num_index * _SORT_SECONDS_PER_ROW
    if num_index * (row_seconds + 1 / _WALKS) < sort:
        return False
    footprint = num_rows * layout.table_pitch * layout.word_bytes
    if footprint == 0:
        return False
    walks = num_index * max(0.0, 1 - _REACH_BYTES / footprint)
    as_given = _together(num_index * row_seconds, walks / _WALKS)
    rows, pages = _distinct(num_index, num_rows), _distinct(num_index, footprint / _PAGE_BYTES)
    in_order = _together(rows * row_seconds, pages / _ORDERED_WALKS)
    return in_order + sort < _WORTH * as_given


def _together(link: float, walks: float) -> float:
    """Seconds for both: the longer of them, and a little more where they are alike."""
    return math.sqrt(math.hypot(link * link, walks * walks))


def _distinct(draws: int, kinds: float) -> float:
    """How many kinds are expected among draws with equal chances."""
    return -kinds * math.expm1(-draws / kinds)


@functools.lru_cache(maxsize=1024)
def _tile(layout: RowLayout, shape: Shape) -> tuple[int, int, int]:
    """Rows and words of a tile, whole rows where they fit, and the lines that it touches."""
    word = layout.word_bytes
    slack = LINE_BYTES // word - 1 if layout.shifted else 0
    words = min(_power_of_two(layout.row_words + slack), shape.row_bytes // word)
    rows = min(max(1, shape.tile_bytes // word // words), 1024)
    return rows, words, rows * math.ceil(min(layout.row_words, words) * word / LINE_BYTES)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
