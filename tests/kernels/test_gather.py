"""Reading rows, on every implementation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from .conftest import MODEST, Implementation
from .rows_strategy import (
    DTYPES,
    Case,
    NoHostReads,
    as_bytes,
    cases,
    laid_out,
    noise,
    untouched_zeros,
    words,
)

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")


def expected_rows(case: Case) -> torch.Tensor:
    """The rows one by one, zero where there is none."""
    table = case.values()
    rows = torch.zeros((len(case.index), *case.inner), dtype=case.dtype)
    for position, row in enumerate(case.index):
        if row not in case.bad:
            as_bytes(rows)[position] = as_bytes(table)[row]
    return rows


@MODEST
@given(case=cases())
def test_reads_the_rows_that_are_named(implementation: Implementation, case: Case) -> None:
    device = implementation.device
    out = case.new_rows(device)
    implementation.gather_rows(case.table(device), case.rows(device), out, None)
    assert torch.equal(words(out), words(expected_rows(case)))


@MODEST
@given(case=cases(out_of_range=True))
def test_zeroes_and_records_rows_out_of_range(implementation: Implementation, case: Case) -> None:
    device = implementation.device
    out, record = case.new_rows(device), implementation.record()
    implementation.gather_rows(case.table(device), case.rows(device), out, record)
    assert torch.equal(words(out), words(expected_rows(case)))
    state, row, num_rows, unused = record.tolist()
    if not case.bad:
        assert (state, row, num_rows, unused) == (0, 0, 0, 0)
    else:
        assert (state, num_rows, unused) == (2, case.num_rows, 0)
        assert row in case.bad


@MODEST
@given(case=cases())
def test_writes_into_rows_of_a_wider_tensor(implementation: Implementation, case: Case) -> None:
    device = implementation.device
    wide = torch.zeros(len(case.index), 2, *case.inner, dtype=case.dtype, device=device)
    implementation.gather_rows(case.table(device), case.rows(device), wide[:, 1], None)
    assert torch.equal(words(wide[:, 1]), words(expected_rows(case)))
    assert not words(wide[:, 0]).any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32], ids=str)
def test_reads_into_the_first_columns_of_a_wider_tensor(
    implementation: Implementation, dtype: torch.dtype
) -> None:
    device = implementation.device
    table, wide = noise((4, 4), dtype), torch.zeros(3, 7, dtype=dtype, device=device)
    index = torch.tensor([0, 3, 2], device=device)
    implementation.gather_rows(table.to(device), index, wide[:, :4], None)
    assert torch.equal(words(wide[:, :4]), words(table)[[0, 3, 2]])
    assert not wide[:, 4:].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(implementation: Implementation, dtype: torch.dtype) -> None:
    device = implementation.device
    table = noise((6, 5), dtype)
    index = torch.tensor([5, 0, 0, -1, -6, 2], device=device)
    out = torch.zeros(6, 5, dtype=dtype, device=device)
    implementation.gather_rows(table.to(device), index, out, None)
    assert torch.equal(words(out), words(table)[[5, 0, 0, 5, 0, 2]])


@pytest.mark.parametrize("row_bytes", [1, 3, 128, 2052, 2408, 33660, 1 << 20, (1 << 20) + 1])
def test_rows_from_one_byte_to_more_than_a_mebibyte(
    implementation: Implementation, row_bytes: int
) -> None:
    device = implementation.device
    table = noise((4, row_bytes), torch.uint8)
    index = torch.tensor([3, 1, -4], dtype=torch.int32, device=device)
    out = torch.empty(3, row_bytes, dtype=torch.uint8, device=device)
    implementation.gather_rows(table.to(device), index, out, None)
    assert torch.equal(out.cpu(), table[[3, 1, 0]])


def test_more_rows_than_one_program_moves(implementation: Implementation) -> None:
    device = implementation.device
    table = noise((1000, 3), torch.int32)
    index = torch.arange(5000) * 7919 % 2000 - 1000
    out = torch.empty(5000, 3, dtype=torch.int32, device=device)
    implementation.gather_rows(table.to(device), index.to(device), out, None)
    assert torch.equal(out.cpu(), table[index])


def test_a_misaligned_start_and_an_odd_row_pitch(implementation: Implementation) -> None:
    device = implementation.device
    memory = noise((1024,), torch.uint8)
    table = memory.to(device)[3:].as_strided((9, 16), (101, 1))
    out = torch.empty(3, 16, dtype=torch.uint8, device=device)
    implementation.gather_rows(table, torch.tensor([8, 0, -2], device=device), out, None)
    expected = [memory[3 + 101 * row :][:16] for row in (8, 0, 7)]
    assert torch.equal(out.cpu(), torch.stack(expected))


def test_one_row_expanded_to_many(implementation: Implementation) -> None:
    device = implementation.device
    table = torch.arange(5.0, device=device).expand(1000, 5)
    out = torch.empty(2, 5, device=device)
    implementation.gather_rows(table, torch.tensor([999, -1000], device=device), out, None)
    assert out.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]] * 2


@pytest.mark.parametrize("inner", [(0,), (0, 3), (3, 0)])
def test_rows_without_elements(implementation: Implementation, inner: tuple[int, ...]) -> None:
    device = implementation.device
    table = torch.empty(4, *inner, device=device)
    out, record = torch.empty(3, *inner, device=device), implementation.record()
    implementation.gather_rows(table, torch.tensor([3, 0, 9], device=device), out, record)
    assert record.tolist() == [2, 9, 4, 0]


@pytest.mark.parametrize("num_rows", [0, 3])
def test_an_empty_index(implementation: Implementation, num_rows: int) -> None:
    device = implementation.device
    index = torch.empty(0, dtype=torch.int64, device=device)
    record = implementation.record()
    out = torch.empty(0, 2, device=device)
    implementation.gather_rows(torch.ones(num_rows, 2, device=device), index, out, record)
    assert record.tolist() == [0, 0, 0, 0]


def test_a_table_without_rows(implementation: Implementation) -> None:
    device = implementation.device
    out, record = torch.ones(2, 3, device=device), implementation.record()
    index = torch.tensor([0, -1], device=device)
    implementation.gather_rows(torch.empty(0, 3, device=device), index, out, record)
    assert out.tolist() == [[0.0] * 3] * 2
    assert record.tolist()[0] == 2
    assert record.tolist()[2] == 0


def test_the_record_of_an_earlier_call_is_kept(implementation: Implementation) -> None:
    device = implementation.device
    table, out = torch.ones(3, 2, device=device), torch.empty(2, 2, device=device)
    record = implementation.record()
    implementation.gather_rows(table, torch.tensor([1, 7], device=device), out, record)
    implementation.gather_rows(table, torch.tensor([-9, 1], device=device), out, record)
    assert record.tolist() == [2, 7, 3, 0]
    assert out.tolist() == [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("row", [3, -4, 2**40, -(2**40), 2**63 - 1, -(2**63)])
def test_without_a_record_the_error_names_the_row(implementation: Implementation, row: int) -> None:
    device = implementation.device
    table, out = torch.ones(3, 2, device=device), torch.empty(2, 2, device=device)
    index = torch.tensor([1, row], device=device)
    with pytest.raises(IndexError, match=rf"row index {row} is out of range for 3 rows"):
        implementation.gather_rows(table, index, out, None)


@pytest.mark.parametrize("row", [2**31 - 1, -(2**31)])
def test_the_extremes_of_a_narrow_index(implementation: Implementation, row: int) -> None:
    device = implementation.device
    table, out = torch.ones(3, 2, device=device), torch.ones(1, 2, device=device)
    record = implementation.record()
    index = torch.tensor([row], dtype=torch.int32, device=device)
    implementation.gather_rows(table, index, out, record)
    assert record.tolist() == [2, row, 3, 0]
    assert not out.any()


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_more_than_2_to_the_31_elements(
    implementation: Implementation, index_dtype: torch.dtype
) -> None:
    device = implementation.device
    num_rows, width = (1 << 31) // 1024 + 5, 1024
    table = untouched_zeros(num_rows, width, device=device)
    table[-1] = 7
    index = torch.tensor([num_rows - 1, 0, -1], dtype=index_dtype, device=device)
    out = torch.empty(3, width, dtype=torch.int8, device=device)
    implementation.gather_rows(table, index, out, None)
    assert [set(row.unique().tolist()) for row in out.cpu()] == [{7}, {0}, {7}]


def test_a_narrow_index_into_more_than_2_to_the_31_rows(implementation: Implementation) -> None:
    device = implementation.device
    num_rows = (1 << 31) + 10
    table = untouched_zeros(num_rows, device=device)
    table[-1], table[5] = 7, 5
    index = torch.tensor([-1, 5], dtype=torch.int32, device=device)
    out, record = torch.empty(2, dtype=torch.int8, device=device), implementation.record()
    implementation.gather_rows(table, index, out, record)
    assert record.tolist() == [0, 0, 0, 0]
    assert out.tolist() == [7, 5]


def test_rows_with_gaps_are_read_without_waiting(implementation: Implementation) -> None:
    device, record = implementation.device, implementation.record()
    table = laid_out(noise((3, 4, 2), torch.float32), "transposed", device)
    index, out = torch.tensor([2, 7], device=device), torch.empty(2, 4, 2, device=device)
    with NoHostReads():
        implementation.gather_rows(table, index, out, record)
    assert torch.equal(words(out)[0], words(table)[2])
    assert record.tolist() == [2, 7, 3, 0]


def test_dense_rows_are_read_by_the_kernel(
    implementation: Implementation, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not implementation.compiled:
        pytest.skip("the reference is no kernel")
    from torch_direct.kernels import triton_rows

    calls = []
    kernel = triton_rows.move_rows
    monkeypatch.setattr(
        triton_rows, "move_rows", lambda *args, **kwargs: calls.append(kernel(*args, **kwargs))
    )
    device = implementation.device
    index = torch.tensor([2, 0], device=device)
    for layout, reached in [("dense", 1), ("padded", 2), ("shifted", 3), ("transposed", 3)]:
        table = laid_out(noise((3, 4, 2), torch.float32), layout, device)
        out = torch.empty(2, 4, 2, device=device)
        implementation.gather_rows(table, index, out, None)
        assert torch.equal(words(out), words(table)[[2, 0]])
        assert len(calls) == reached
