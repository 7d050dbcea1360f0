"""How rows are moved: in which order, on how large a grid, in what tiles.

The numbers were measured on an H100 on PCIe Gen5 x16; `docs/design/gather.md` shows them.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from torch_direct.kernels.rows import LINE_BYTES, RowLayout

_FLIGHT_SECONDS = 9.6e-6
_ORDERED_FLIGHT_SECONDS = 6.4e-6
"""So much of what is to come is asked for ahead: by Little's law the time that a line takes under
load, and as long again because a program writes its rows before it asks for others. More gains
nothing, and holds up what other work asks of the same caches."""
_FEWEST_PROGRAMS = 8
"""A multiprocessor alone has no more than 25 million addresses a second translated."""
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
"""A sort has to save a twentieth."""
_SORT_SECONDS = 55e-6
"""Until the last row is in order, from the call: half of it is the host's, in four launches."""
_SORT_SECONDS_PER_ROW = 0.07e-9
_MOST_SORTED = 1 << 31
"""The sort counts in 32 bits."""


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
    if not over_link:
        return Plan(False, min(programs, _PROGRAMS_IN_GPU_MEMORY), rows, words, shape.warps)
    if short and num_index < _SORT_SECONDS * _WALKS:
        return Plan(False, programs, rows, words, shape.warps)
    seconds = seconds_of(num_index, num_rows, layout)
    in_order = not is_sorted and seconds.order_pays and num_index < _MOST_SORTED
    if not short:
        ordered = in_order or is_sorted
        lines_ahead = seconds.lines_ahead(num_index * _lines_of(layout), ordered=ordered)
        programs = min(programs, max(_FEWEST_PROGRAMS, math.ceil(lines_ahead / lines)))
    return Plan(in_order, programs, rows, words, shape.warps)


class Seconds(NamedTuple):
    """What a read over the link is estimated to take, were each of these alone."""

    link: float
    """For the link to carry the rows."""
    walks: float
    """To translate their addresses, in the order given."""
    walks_in_order: float
    """To translate them in address order."""
    sort: float
    """To put them in address order."""

    @property
    def order_pays(self) -> bool:
        """Whether the rows come sooner in address order, the sort included."""
        in_order = _together(self.link, self.walks_in_order) + self.sort
        return in_order < _WORTH * _together(self.link, self.walks)

    def lines_ahead(self, lines: int, *, ordered: bool) -> float:
        """How many of the lines to ask for at once."""
        walks = self.walks_in_order if ordered else self.walks
        ahead = _ORDERED_FLIGHT_SECONDS if ordered or walks == 0 else _FLIGHT_SECONDS
        return lines / max(self.link, walks) * ahead


def seconds_of(num_index: int, num_rows: int, layout: RowLayout) -> Seconds:
    """Estimate a read of different rows, drawn evenly from a table in host memory.

    In address order a translation serves all rows of its page, and is itself found sooner.

    Args:
        num_index: rows that are named.
        num_rows: rows of the table.
        layout: of the table.
    """
    link = num_index * max(layout.row_bytes, _LEAST_BYTES) / _LINK
    sort = _SORT_SECONDS + num_index * _SORT_SECONDS_PER_ROW
    footprint = num_rows * layout.table_pitch * layout.word_bytes
    if footprint <= _REACH_BYTES:
        return Seconds(link, 0.0, 0.0, sort)
    pages = footprint / _PAGE_BYTES
    touched = -pages * math.expm1(-num_index / pages)
    walks = num_index * (1 - _REACH_BYTES / footprint) / _WALKS
    return Seconds(link, walks, min(walks, touched / _ORDERED_WALKS), sort)


def _together(link: float, walks: float) -> float:
    """Seconds for both: the longer of them, and a little more where they are alike."""
    return math.sqrt(math.hypot(link * link, walks * walks))


@functools.lru_cache(maxsize=1024)
def _tile(layout: RowLayout, shape: Shape) -> tuple[int, int, int]:
    """Rows and words of a tile, whole rows where they fit, and the lines that it touches."""
    word = layout.word_bytes
    slack = LINE_BYTES // word - 1 if layout.shifted else 0
    span = layout.row_words + slack
    words = min(_power_of_two(span), shape.row_bytes // word)
    rows = min(max(1, shape.tile_bytes // word // words), 1024)
    parts = -(-span // words)
    return rows, words, rows * math.ceil(_lines_of(layout) / parts)


def _lines_of(layout: RowLayout) -> int:
    return -(-layout.row_bytes // LINE_BYTES)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
