"""What is decided about a gather before it runs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torch_direct.kernels.plan import Plan, plan_for
from torch_direct.kernels.rows import RowLayout, row_layout

from .conftest import MODEST

GIB = 1 << 30


def layout_of(row_bytes: int) -> RowLayout:
    table, dense = (
        torch.empty(rows, row_bytes, dtype=torch.uint8, device="meta") for rows in (7, 3)
    )
    layout = row_layout(table, dense)
    assert layout is not None
    return layout


def planned(
    row_bytes: int, rows: int, footprint: int, *, is_sorted: bool = False, over_link: bool = True
) -> Plan:
    return plan_for(
        layout_of(row_bytes),
        rows,
        footprint // row_bytes,
        is_sorted=is_sorted,
        over_link=over_link,
    )


@pytest.mark.parametrize(
    ("row_bytes", "rows", "footprint", "pays"),
    [
        (512, 1_000_000, 16 * GIB, True),
        (512, 200_000, 24 * GIB, True),
        (128, 4_000_000, 16 * GIB, True),
        (1028, 100_000, 24 * GIB, True),
        (4096, 100_000, 24 * GIB, False),
        (33660, 20_000, 24 * GIB, False),
        (128, 100_000, GIB // 4, False),
        (512, 400_000, GIB // 4, False),
        (512, 1000, 24 * GIB, False),
    ],
)
def test_rows_are_put_in_order_where_translation_is_the_wall(
    row_bytes: int, rows: int, footprint: int, pays: bool
) -> None:
    assert planned(row_bytes, rows, footprint).in_order is pays


def test_more_rows_than_the_sort_counts_are_read_as_they_come() -> None:
    assert planned(128, (1 << 31) - 1, 64 * GIB).in_order
    assert not planned(128, 1 << 31, 64 * GIB).in_order


@pytest.mark.parametrize(("row_bytes", "moved"), [(1 << 30, True), ((1 << 30) + 1, False)])
def test_rows_of_more_than_a_gibibyte_are_left_to_pytorch(row_bytes: int, moved: bool) -> None:
    table = torch.empty(2, row_bytes, dtype=torch.uint8, device="meta")
    assert (row_layout(table, table) is not None) is moved


def test_rows_are_not_sorted_twice_and_not_in_gpu_memory() -> None:
    assert planned(512, 1_000_000, 16 * GIB).in_order
    assert not planned(512, 1_000_000, 16 * GIB, is_sorted=True).in_order
    assert not planned(512, 1_000_000, 16 * GIB, over_link=False).in_order


def test_the_grid_is_narrow_over_the_link_and_wide_in_gpu_memory() -> None:
    for row_bytes in (4, 128, 512, 1028, 2052, 4096, 33660):
        assert planned(row_bytes, 1_000_000, 16 * GIB).programs <= 48
        assert planned(row_bytes, 1_000_000, 16 * GIB, over_link=False).programs > 500


@MODEST
@given(
    row_bytes=st.integers(1, 100_000),
    rows=st.integers(1, 10_000_000),
    footprint=st.integers(100_000, 1 << 40),
)
def test_every_plan_moves_every_row(row_bytes: int, rows: int, footprint: int) -> None:
    plan = planned(row_bytes, rows, footprint)
    tiles = -(-rows // plan.tile_rows)
    assert 1 <= plan.programs <= tiles
    for size in (plan.tile_rows, plan.tile_words):
        assert size & (size - 1) == 0, "Triton wants powers of two"
    assert plan.tile_rows * plan.tile_words <= 16 << 10
