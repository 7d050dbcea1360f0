"""Writing and adding rows, on every implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given

from torch_direct.kernels.rows import row_layout

from .conftest import MODEST, Implementation
from .rows_strategy import (
    ADDABLE,
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


@MODEST
@given(case=cases(distinct=True))
def test_writes_the_rows_that_are_named(implementation: Implementation, case: Case) -> None:
    device = implementation.device
    table, rows = case.table(device), case.new_rows(device)
    implementation.scatter_rows(table, case.rows(device), rows, None)
    expected = case.values()
    for position, row in enumerate(case.index):
        as_bytes(expected)[row] = as_bytes(rows.cpu())[position]
    assert torch.equal(words(table), words(expected))


@MODEST
@given(case=cases(out_of_range=True))
def test_leaves_out_and_records_rows_out_of_range(
    implementation: Implementation, case: Case
) -> None:
    device = implementation.device
    table, record = case.table(device), implementation.record()
    # Every row that is written is the same, so that it does not matter which one came last.
    row_alike = noise((1, *case.inner), case.dtype, seed=1)
    rows = as_bytes(row_alike).expand(len(case.index), *as_bytes(row_alike).shape[1:])
    rows = (
        rows.contiguous().view(case.dtype)
        if case.dtype != torch.complex128
        else (torch.view_as_complex(rows.contiguous()))
    )
    implementation.scatter_rows(table, case.rows(device), rows.to(device), record)
    expected = case.values()
    for row in case.index:
        if row not in case.bad:
            as_bytes(expected)[row] = as_bytes(row_alike)[0]
    assert torch.equal(words(table), words(expected))
    state, row, num_rows, unused = record.tolist()
    if not case.bad:
        assert (state, row, num_rows, unused) == (0, 0, 0, 0)
    else:
        assert (state, num_rows, unused) == (2, case.num_rows, 0)
        assert row in case.bad


@MODEST
@given(case=cases(dtypes=ADDABLE))
def test_adds_a_row_as_often_as_it_is_named(implementation: Implementation, case: Case) -> None:
    device = implementation.device
    column = (-1, *[1] * len(case.inner))
    start = torch.arange(case.num_rows).remainder(3)
    values = start.view(column).expand(case.num_rows, *case.inner).to(case.dtype).contiguous()
    table = laid_out(values, case.layout, device)
    rows = torch.ones(len(case.index), *case.inner, dtype=case.dtype, device=device)
    implementation.add_rows(table, case.rows(device), rows, None)
    times = torch.zeros(case.num_rows, dtype=torch.int64)
    for row in case.index:
        times[row] += 1
    expected = (start + times).view(column).expand(values.shape).to(case.dtype)
    assert torch.equal(table.cpu(), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32], ids=str)
def test_writes_the_first_columns_of_a_wider_tensor(
    implementation: Implementation, dtype: torch.dtype
) -> None:
    device = implementation.device
    table, wide = torch.zeros(4, 4, dtype=dtype, device=device), noise((3, 7), dtype).to(device)
    implementation.scatter_rows(table, torch.tensor([0, 3, 2], device=device), wide[:, :4], None)
    assert torch.equal(words(table)[[0, 3, 2]], words(wide[:, :4]))
    assert not table[1].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(implementation: Implementation, dtype: torch.dtype) -> None:
    device = implementation.device
    table, rows = noise((6, 5), dtype), noise((3, 5), dtype, seed=1)
    target = table.to(device)
    implementation.scatter_rows(
        target, torch.tensor([5, 0, -3], device=device), rows.to(device), None
    )
    expected = words(table).clone()
    expected[[5, 0, 3]] = words(rows)
    assert torch.equal(words(target), expected)


@pytest.mark.parametrize("row_bytes", [1, 3, 128, 2052, 33660, 1 << 20, (1 << 20) + 1])
def test_rows_from_one_byte_to_more_than_a_mebibyte(
    implementation: Implementation, row_bytes: int
) -> None:
    device = implementation.device
    table, rows = noise((4, row_bytes), torch.uint8), noise((2, row_bytes), torch.uint8, seed=1)
    target = table.to(device)
    implementation.scatter_rows(target, torch.tensor([3, 1], device=device), rows.to(device), None)
    expected = torch.stack([table[0], rows[1], table[2], rows[0]])
    assert torch.equal(target.cpu(), expected)


def test_of_equal_row_numbers_one_is_written(implementation: Implementation) -> None:
    device = implementation.device
    table = torch.zeros(3, 4, dtype=torch.int64, device=device)
    rows = torch.arange(1, 101, device=device).view(100, 1).expand(100, 4).contiguous()
    index = torch.ones(100, dtype=torch.int64, device=device)
    implementation.scatter_rows(table, index, rows, None)
    first, written, last = table.tolist()
    assert first == last == [0] * 4
    assert set(written) <= set(range(1, 101))
    if device.type == "cpu":
        assert len(set(written)) == 1


def test_no_element_is_written_in_two_parts(implementation: Implementation) -> None:
    device = implementation.device
    table = torch.zeros(9, dtype=torch.int64, device=device)[1:]
    values = torch.arange(1, 20_001, device=device) * (2**32 + 1)
    layout = row_layout(table, values)
    assert layout is not None
    assert layout.word_bytes == 8, "only on a GPU do halves come from two values"
    implementation.scatter_rows(table, torch.arange(20_000, device=device) % 8, values, None)
    halves = table.cpu().view(torch.int32).view(8, 2)
    assert torch.equal(halves[:, 0], halves[:, 1])
    assert halves.all()


def test_one_row_expanded_to_all(implementation: Implementation) -> None:
    device = implementation.device
    table = torch.zeros(4, 3, device=device)
    row = torch.tensor([1.0, 2.0, 3.0], device=device).expand(2, 3)
    implementation.scatter_rows(table, torch.tensor([2, 0], device=device), row, None)
    assert table[:, 1].tolist() == [2.0, 0.0, 2.0, 0.0]


def test_rows_without_elements(implementation: Implementation) -> None:
    device = implementation.device
    table, rows = torch.empty(4, 0, device=device), torch.empty(2, 0, device=device)
    record = implementation.record()
    implementation.scatter_rows(table, torch.tensor([0, 9], device=device), rows, record)
    assert record.tolist() == [2, 9, 4, 0]


@pytest.mark.parametrize("write", ["scatter_rows", "add_rows"])
def test_a_table_without_rows(implementation: Implementation, write: str) -> None:
    device = implementation.device
    record = implementation.record()
    index, rows = torch.tensor([0, -1], device=device), torch.ones(2, 3, device=device)
    getattr(implementation, write)(torch.empty(0, 3, device=device), index, rows, record)
    assert record.tolist()[0] == 2
    assert record.tolist()[2] == 0


@pytest.mark.parametrize("write", ["scatter_rows", "add_rows"])
@pytest.mark.parametrize("num_rows", [0, 3])
def test_an_empty_index(implementation: Implementation, write: str, num_rows: int) -> None:
    device = implementation.device
    table, record = torch.ones(num_rows, 2, device=device), implementation.record()
    index = torch.empty(0, dtype=torch.int64, device=device)
    getattr(implementation, write)(table, index, torch.empty(0, 2, device=device), record)
    assert bool((table == 1).all())
    assert record.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("write", ["scatter_rows", "add_rows"])
def test_good_rows_are_written_beside_bad_ones(implementation: Implementation, write: str) -> None:
    device = implementation.device
    table, record = torch.zeros(3, 2, device=device), implementation.record()
    index = torch.tensor([2, 3, 0, -4], dtype=torch.int32, device=device)
    rows = torch.tensor([[1.0], [9.0], [2.0], [9.0]], device=device).expand(4, 2).contiguous()
    getattr(implementation, write)(table, index, rows, record)
    assert table[:, 0].tolist() == [2.0, 0.0, 1.0]
    assert record.tolist() == [2, 3, 3, 0]


def test_rows_are_added_without_waiting(implementation: Implementation) -> None:
    device, record = implementation.device, implementation.record()
    table, rows = torch.zeros(3, 2, device=device), torch.ones(2, 2, device=device)
    index = torch.tensor([1, 5], device=device)
    with NoHostReads():
        implementation.add_rows(table, index, rows, record)
    assert table.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert record.tolist() == [2, 5, 3, 0]


def test_bad_rows_that_are_not_a_number_are_not_added(implementation: Implementation) -> None:
    device = implementation.device
    table, record = torch.zeros(3, 2, device=device), implementation.record()
    rows = torch.full((2, 2), torch.nan, device=device)
    implementation.add_rows(table, torch.tensor([3, -4], device=device), rows, record)
    assert not table.any()


@pytest.mark.parametrize("write", ["scatter_rows", "add_rows"])
def test_without_a_record_the_error_names_the_row(
    implementation: Implementation, write: str
) -> None:
    device = implementation.device
    table, rows = torch.zeros(3, 2, device=device), torch.ones(2, 2, device=device)
    index = torch.tensor([1, 5], device=device)
    with pytest.raises(IndexError, match="row index 5 is out of range for 3 rows"):
        getattr(implementation, write)(table, index, rows, None)


def test_more_than_2_to_the_31_elements(implementation: Implementation) -> None:
    device = implementation.device
    num_rows, width = (1 << 31) // 1024 + 5, 1024
    table = untouched_zeros(num_rows, width, device=device)
    rows = torch.full((2, width), 7, dtype=torch.int8, device=device)
    index = torch.tensor([-1, 1], dtype=torch.int32, device=device)
    implementation.scatter_rows(table, index, rows, None)
    assert bool((table[-1] == 7).all())
    assert bool((table[1] == 7).all())
    assert not table[:4:2].any()
    assert not table[-2].any()


@pytest.fixture
def kernel_calls(
    implementation: Implementation, monkeypatch: pytest.MonkeyPatch
) -> list[torch.Tensor]:
    """The rows that the kernel is given to write, call by call."""
    if not implementation.compiled:
        pytest.skip("the reference is no kernel")
    from torch_direct.kernels import triton_rows

    calls = []
    kernel = triton_rows.move_rows

    def move_rows(table: torch.Tensor, dense: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        calls.append(dense)
        kernel(table, dense, *args, **kwargs)

    monkeypatch.setattr(triton_rows, "move_rows", move_rows)
    return calls


def test_dense_rows_are_written_by_the_kernel(
    implementation: Implementation, kernel_calls: list[torch.Tensor]
) -> None:
    device = implementation.device
    for layout, reached in [("dense", 1), ("padded", 2), ("transposed", 2)]:
        table = laid_out(noise((3, 4, 2), torch.float32), layout, device)
        rows = noise((2, 4, 2), torch.float32, seed=1).to(device)
        implementation.scatter_rows(table, torch.tensor([2, 0], device=device), rows, None)
        assert torch.equal(words(table)[[2, 0]], words(rows))
        assert len(kernel_calls) == reached


VALUES: dict[str, Any] = {
    "a number": lambda rows: rows[0, 0, 0].expand(2, 4, 2),
    "one row": lambda rows: rows[0].expand(2, 4, 2),
    "one column": lambda rows: rows[:1, :, :1].expand(2, 4, 2),
    "a number for each row": lambda rows: rows[:, :1, :1].expand(2, 4, 2),
    "every other column": lambda rows: rows.repeat(1, 1, 2)[..., ::2],
    "transposed": lambda rows: rows.view(2, 2, 4).transpose(1, 2),
    "half of wider rows": lambda rows: rows.repeat(1, 2, 1)[:, :4],
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.complex128], ids=str)
@pytest.mark.parametrize("lay_out", VALUES.values(), ids=VALUES)
def test_values_of_any_strides_are_written_by_the_kernel(
    implementation: Implementation,
    kernel_calls: list[torch.Tensor],
    lay_out: Any,
    dtype: torch.dtype,
) -> None:
    device, record = implementation.device, implementation.record()
    table = noise((3, 4, 2), dtype).to(device)
    expected = words(table).clone()
    values = lay_out(noise((2, 4, 2), dtype, seed=1).to(device))
    implementation.scatter_rows(table, torch.tensor([2, 0], device=device), values, record)
    expected[[2, 0]] = words(values)
    assert torch.equal(words(table), expected)
    (given,) = kernel_calls
    assert (given.stride(0) == 0) == (values.stride(0) == 0), "one row serves all where it can"
