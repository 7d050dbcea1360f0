import pytest

from torch_direct.bench.gather.cases import (
    GIB,
    POWER_LAW,
    ROW_BYTES,
    WHOLEGRAPH_FOOTPRINT,
    WHOLEGRAPH_ROW_BYTES,
    Case,
    all_cases,
    in_groups,
    quick_cases,
)

MILLION = 1_000_000


def test_there_are_no_more_than_200_and_each_is_new():
    cases = all_cases()
    assert len(set(cases)) == len(cases) <= 200
    assert {case.row_bytes for case in cases} == set(ROW_BYTES)
    assert {case.dtype for case in cases} == {"float32", "float16", "int8"}


@pytest.mark.parametrize(
    ("row_bytes", "rows", "gib"),
    [
        (512, MILLION, 16),
        (128, 4 * MILLION, 16),
        (512, 200_000, 24),
        (128, MILLION, 16),
        (128, 200_000, 24),
        *(
            (size, rows, gib)
            for size in (1024, 1028, 2052, 2408, 4096, 4100)
            for rows in (100_000, 200_000)
            for gib in (16, 24)
            if (rows, gib) != (100_000, 24)
        ),
    ],
)
def test_every_case_that_a_goal_names_is_there(row_bytes, rows, gib):
    assert Case(row_bytes, rows, gib * GIB, "uniform") in all_cases()


def test_each_reads_2_gib_and_half_of_the_table_at_most():
    for case in all_cases():
        if case.rows is not None:
            assert case.rows * case.row_bytes <= 2 * GIB
            assert 2 * case.rows <= case.table_rows
        if case.graph == POWER_LAW:
            assert 2**20 <= case.table_rows <= 2**25


def test_wholegraph_has_one_footprint_in_each_of_its_groups():
    for group in in_groups(all_cases()):
        if group.row_bytes in WHOLEGRAPH_ROW_BYTES:
            assert WHOLEGRAPH_FOOTPRINT in {case.footprint_bytes for case in group.cases}


def test_a_quick_run_has_a_dozen_cases_of_a_full_one():
    cases = quick_cases()
    assert len(cases) == 12
    assert set(cases) <= set(all_cases())
    assert max(case.footprint_bytes for case in cases) == 16 * GIB


def test_groups_hold_one_row_size_each():
    groups = in_groups(all_cases())
    assert [group.row_bytes for group in groups] == list(ROW_BYTES)
    assert sum(len(group.cases) for group in groups) == len(all_cases())
    assert all(case.row_bytes == group.row_bytes for group in groups for case in group.cases)
