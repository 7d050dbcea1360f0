"""What is measured: at most 200 cases, in groups of one row size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

GIB = 1 << 30

ROW_BYTES = (4, 64, 128, 400, 512, 1024, 1028, 2052, 2408, 4096, 4100, 33660)
WHOLEGRAPH_FOOTPRINT = 16 * GIB
WHOLEGRAPH_ROW_BYTES = (128, 512, 1024, 2052, 4096)
"""WholeGraph takes a second a GiB to allocate, so not every row size is worth the wait."""
OVERLAP_ROW_BYTES = 512

REAL_GRAPHS = {"cnr2000": 325_557, "ego_twitter": 81_306}
"""Graphs that traces are sampled from, with their numbers of nodes."""
POWER_LAW = "power-law"

_THOUSAND, _MILLION = 1_000, 1_000_000
_MOST_BYTES = 2 * GIB
_WIDEST = 33660
_SPARSE_ROW_BYTES = (128, 512, 1024, 1028, 2052, 2408, 4096, 4100)
_FEW_ROWS_ROW_BYTES = (128, 512, 1024, 4096)
_HUGE_ROW_BYTES = (512, 1024)
_POWER_LAW_FOOTPRINTS = {128: 2, 512: 16, 1024: 16, 2052: 16, 4096: 16}
"""GiB by row bytes, for at most 32 Mi rows: as many nodes as a graph is quickly made of."""
_REAL_GRAPH_ROW_BYTES = (512, 1024, 2408)
_OTHER_DTYPES = {128: "int8", 512: "float16", 1024: "float16", 2052: "int8"}


@dataclass(frozen=True)
class Case:
    """One read: which rows out of how large a table."""

    row_bytes: int
    rows: int | None
    """Rows of one read; None for as many as a sampled batch has."""
    footprint_bytes: int
    """Bytes of the table, which may end in less than a row."""
    order: str
    """``uniform``: drawn at random; ``sorted``: ascending and distinct; ``trace:GRAPH``: the node
    ids of sampled batches, in their order."""
    dtype: str = "float32"

    @property
    def table_rows(self) -> int:
        """Rows of the table."""
        return self.footprint_bytes // self.row_bytes

    @property
    def graph(self) -> str | None:
        """The graph of a trace, None for other orders."""
        return self.order.removeprefix("trace:") if self.order.startswith("trace:") else None

    @property
    def fits(self) -> bool:
        """Whether it reads at most 2 GiB and half of the table."""
        return self.rows is None or (
            self.rows * self.row_bytes <= _MOST_BYTES and 2 * self.rows <= self.table_rows
        )


@dataclass(frozen=True)
class Group:
    """The cases of one row size, which share a process and its memory."""

    row_bytes: int
    cases: tuple[Case, ...]

    @property
    def footprint_bytes(self) -> int:
        """Bytes of the largest table."""
        return max(case.footprint_bytes for case in self.cases)


def all_cases() -> list[Case]:
    """Return the cases of a full run, those that the goals name among them."""
    cases = [case for row_bytes in ROW_BYTES for case in _cases_of(row_bytes)]
    return [case for case in cases if case.fits]


def quick_cases() -> list[Case]:
    """Return a dozen cases out of the full run's, for a minute's worth: 16 GiB at most."""
    quick = [
        Case(128, 100 * _THOUSAND, GIB // 4, "uniform"),
        Case(128, 200 * _THOUSAND, 16 * GIB, "uniform"),
        Case(128, _MILLION, 16 * GIB, "uniform"),
        Case(128, 4 * _MILLION, 16 * GIB, "uniform"),
        Case(128, 200 * _THOUSAND, 16 * GIB, "sorted"),
        Case(512, 100 * _THOUSAND, GIB // 4, "uniform"),
        Case(512, _THOUSAND, 16 * GIB, "uniform"),
        Case(512, 200 * _THOUSAND, 16 * GIB, "uniform"),
        Case(512, _MILLION, 16 * GIB, "uniform"),
        Case(512, None, REAL_GRAPHS["ego_twitter"] * 512, "trace:ego_twitter"),
        Case(2052, 100 * _THOUSAND, 16 * GIB, "uniform"),
        Case(2052, 200 * _THOUSAND, 16 * GIB, "uniform"),
    ]
    return [case for case in all_cases() if case in quick]


def in_groups(cases: Iterable[Case]) -> list[Group]:
    """Return the cases by row size, ascending, each group in the order given."""
    groups: dict[int, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.row_bytes, []).append(case)
    return [Group(row_bytes, tuple(groups[row_bytes])) for row_bytes in sorted(groups)]


def _cases_of(row_bytes: int) -> Iterator[Case]:
    yield from _uniform(row_bytes)
    yield from _sorted(row_bytes)
    yield from _traces(row_bytes)
    if row_bytes in _OTHER_DTYPES:
        yield Case(row_bytes, 200 * _THOUSAND, 16 * GIB, "uniform", dtype=_OTHER_DTYPES[row_bytes])


def _uniform(row_bytes: int) -> Iterator[Case]:
    dense = (100 * _THOUSAND, 200 * _THOUSAND, _MILLION, 4 * _MILLION)
    rows_of = {
        GIB // 4: (100 * _THOUSAND,),
        2 * GIB: (100 * _THOUSAND,),
        16 * GIB: dense,
        24 * GIB: dense[1:3] if row_bytes in _SPARSE_ROW_BYTES else (),
        64 * GIB: dense[1:3] if row_bytes in _HUGE_ROW_BYTES else (),
    }
    if row_bytes in _FEW_ROWS_ROW_BYTES:
        rows_of[16 * GIB] = (_THOUSAND, 10 * _THOUSAND, *dense)
    if row_bytes == _WIDEST:
        few = (_THOUSAND, 10 * _THOUSAND, 20 * _THOUSAND)
        rows_of = {GIB // 4: few[:1], 2 * GIB: few[1:2], 16 * GIB: few}
    for footprint, choices in rows_of.items():
        for rows in choices:
            yield Case(row_bytes, rows, footprint, "uniform")


def _sorted(row_bytes: int) -> Iterator[Case]:
    if row_bytes == _WIDEST:
        yield Case(row_bytes, 10 * _THOUSAND, 16 * GIB, "sorted")
        return
    yield Case(row_bytes, 200 * _THOUSAND, 16 * GIB, "sorted")
    yield Case(row_bytes, _MILLION, 16 * GIB, "sorted")
    if row_bytes in _SPARSE_ROW_BYTES:
        yield Case(row_bytes, 200 * _THOUSAND, 24 * GIB, "sorted")


def _traces(row_bytes: int) -> Iterator[Case]:
    if row_bytes in _POWER_LAW_FOOTPRINTS:
        footprint = _POWER_LAW_FOOTPRINTS[row_bytes] * GIB
        yield Case(row_bytes, None, footprint, f"trace:{POWER_LAW}")
    if row_bytes in _REAL_GRAPH_ROW_BYTES:
        for name, nodes in REAL_GRAPHS.items():
            yield Case(row_bytes, None, nodes * row_bytes, f"trace:{name}")
