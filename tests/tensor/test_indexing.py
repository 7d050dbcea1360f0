"""Rows read and written in every spelling, and row numbers out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import torch_direct as td
from torch_direct.tensor import faults

SPELLINGS: dict[str, Any] = {
    "int": 2,
    "negative int": -1,
    "numpy int": np.int64(1),
    "slice": slice(1, 4),
    "slice with a step": slice(None, None, 2),
    "ellipsis": ...,
    "None": None,
    "None and ellipsis": (None, ..., 0),
    "ints": (3, 2),
    "int64": torch.tensor([4, 0, 0, -1]),
    "int32": torch.tensor([4, 0, 0, -5], dtype=torch.int32),
    "no rows": torch.tensor([], dtype=torch.int64),
    "2-D index": torch.tensor([[0, 1, 2], [4, -1, 0]]),
    "0-D index": torch.tensor(3),
    "list": [1, 0, 1],
    "empty list": [],
    "range": range(0, 5, 2),
    "empty range": range(0),
    "numpy array": np.array([3, 1]),
    "numpy int32": np.array([3, 1, -2], dtype=np.int32),
    "empty numpy array": np.array([], dtype=np.int64),
    "2-D numpy array": np.array([[3, 1], [0, 0]]),
    "mask": torch.tensor([True, False, True, True, False]),
    "empty mask": torch.zeros(5, dtype=torch.bool),
    "bool list": [True, False, False, False, True],
    "numpy mask": np.array([False, True, True, False, False]),
    "2-D mask": torch.arange(15).view(5, 3) % 2 == 0,
    "True": True,
    "index and slice": (torch.tensor([4, 1]), slice(0, 2)),
    "slice and index": (slice(1, 3), torch.tensor([2, 0, 0])),
    "list and slice": ([4, 1], slice(None, None, 2)),
    "list and int": ([4, 1], 2),
    "range and int": (range(2), 0),
    "two indices": (torch.tensor([0, 4]), torch.tensor([1, 2])),
    "index, ellipsis": (torch.tensor([0, 4]), ...),
    "None, index": (None, torch.tensor([0, 4])),
    "mask and slice": (torch.tensor([True, False, True, True, False]), slice(1, 3)),
}


def table() -> torch.Tensor:
    return torch.arange(15.0).view(5, 3)


def to_device(index: Any, device: torch.device) -> Any:
    if isinstance(index, tuple):
        return tuple(to_device(part, device) for part in index)
    return index.to(device) if isinstance(index, torch.Tensor) else index


@pytest.mark.parametrize("index", SPELLINGS.values(), ids=SPELLINGS)
def test_reading(device: torch.device, index: Any) -> None:
    x = table()
    u = td.unified(x)
    result = u[to_device(index, device)]
    expected = x[index]
    assert result.shape == expected.shape
    assert torch.equal(result.cpu(), expected)
    if torch.cuda.is_available():
        assert result.is_cuda
    shares = expected.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert td.is_unified(result) is shares


@pytest.mark.parametrize("index", SPELLINGS.values(), ids=SPELLINGS)
def test_writing(device: torch.device, index: Any) -> None:
    x, y = table(), table()
    u = td.unified(y)
    there = to_device(index, device)
    rows = torch.ones(x[index].shape)
    for on_plain, on_unified in (
        (-1.0, -1.0),
        (rows * -2, (rows * -2).to(u.device)),
        (rows * -3, rows * -3 if device.type == "cpu" else (rows * -3).to(device)),
    ):
        x[index] = on_plain
        u[there] = on_unified
        assert torch.equal(u.cpu(), x)
        assert torch.equal(y, x)


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_functions_that_read_rows(device: torch.device, index_dtype: torch.dtype) -> None:
    x = table()
    u = td.unified(x)
    index = torch.tensor([4, 0, 0, 2], dtype=index_dtype)
    there = index.to(device)
    square = index.view(2, 2)
    for result, expected in (
        (torch.index_select(u, 0, there), x[index]),
        (u.index_select(-2, there), x[index]),
        (u.index_select(1, torch.tensor([2, 0], device=device)), x[:, [2, 0]]),
        (F.embedding(square.to(device), u), x[square]),
        (td.gather(u, there), x[index]),
        (td.gather(u, square.to(device)), x[square]),
        (td.gather(u, there[:0]), x[:0]),
        (td.gather(u, there[0]), x[4]),
        (td.gather(u[:, 1:], there), x[index, 1:]),
        (td.gather(u[1], torch.tensor([2, -1], device=device)), x[1, [2, -1]]),
    ):
        assert type(result) is torch.Tensor
        assert result.is_cuda == u.is_cuda
        assert torch.equal(result.cpu(), expected)


@pytest.mark.parametrize("index_dtype", [torch.uint8, torch.int8, torch.int16])
def test_gather_takes_every_integer_type(device: torch.device, index_dtype: torch.dtype) -> None:
    x = table()
    index = torch.tensor([4, 0, 2], dtype=index_dtype, device=device)
    assert torch.equal(td.gather(td.unified(x), index).cpu(), x[[4, 0, 2]])


@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning")
def test_bytes_in_square_brackets_are_a_mask_as_in_torch(device: torch.device) -> None:
    x = table()
    mask = torch.tensor([1, 0, 0, 1, 0], dtype=torch.uint8)
    assert torch.equal(td.unified(x)[mask.to(device)].cpu(), x[mask])


def test_gather_takes_plain_tensors(device: torch.device) -> None:
    x = table().to(device)
    assert torch.equal(td.gather(x, torch.tensor([4, -5])), x[[4, 0]])


def test_gather_into_a_given_tensor(device: torch.device) -> None:
    x = table()
    u = td.unified(x)
    wide = torch.zeros(6, 3, device=u.device)
    out = wide[2:5]
    result = td.gather(u, torch.tensor([4, 0, -2], device=device), out=out)
    assert result is out
    assert torch.equal(wide.cpu()[2:5], x[[4, 0, 3]])
    assert not wide[:2].any()
    assert not wide[5:].any()
    kept = td.zeros(2, 3)
    assert td.gather(u, torch.tensor([1, 2], device=device), out=kept) is kept
    assert torch.equal(kept.cpu(), x[1:3])


def test_gather_refuses_a_tensor_that_the_rows_do_not_fit_in() -> None:
    u = td.unified(table())
    index = torch.tensor([0, 1])
    for out, said in (
        (torch.empty(1, 3, device=u.device), r"shape \(1, 3\).*shape \(2, 3\)"),
        (torch.empty(2, 3, dtype=torch.float64, device=u.device), r"float64.*float32"),
        (torch.empty(2, 6, device=u.device)[:, ::2], "contiguous"),
    ):
        with pytest.raises(ValueError, match=said):
            td.gather(u, index, out=out)
    with pytest.raises(ValueError, match="grad"):
        td.gather(u.detach().requires_grad_(), index, out=torch.empty(2, 3, device=u.device))
    with pytest.raises(ValueError, match="no dimension"):
        td.gather(u[0, 0], index)


@pytest.mark.parametrize("index", [torch.tensor([1.0]), torch.tensor([True, False]), [0, 1], 3])
def test_gather_refuses_what_is_no_integer_tensor(index: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        td.gather(td.unified(table()), index)


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta:UserWarning")
@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize.*")
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "quantised"),
        (lambda x: x.to_sparse(), "sparse_coo"),
        (lambda x: x.to_sparse_csr(), "sparse_csr"),
        (lambda x: torch.nested.nested_tensor([x, x]), "nested"),
        (lambda x: x.tolist(), "list"),
    ],
    ids=["quantised", "coo", "csr", "nested", "list"],
)
def test_gather_refuses_what_is_not_dense(make: Any, named: str) -> None:
    index = torch.tensor([4, 0])
    with pytest.raises(TypeError, match=f"{named}.* as its table"):
        td.gather(make(table()), index)
    if named != "nested":
        for u in (table(), td.unified(table())):
            with pytest.raises((TypeError, ValueError), match=f"{named}|qint8"):
                td.gather(u, index, out=make(table()[:2]))


def test_functions_that_write_rows(device: torch.device) -> None:
    x, y = table(), table()
    u = td.unified(y)
    index, twice = torch.tensor([3, 0]), torch.tensor([1, 1, 4])
    rows, three = -torch.arange(6.0).view(2, 3), torch.ones(3, 3)
    for write in (
        lambda t, on: t.index_copy_(0, index.to(on), rows.to(t.device)),
        lambda t, on: t.index_add_(0, twice.to(on), three.to(t.device)),
        lambda t, on: t.index_add_(0, index.to(on), rows.to(t.device), alpha=2),
        lambda t, on: t.index_put_((twice.to(on),), three.to(t.device), accumulate=True),
        lambda t, on: t.index_put_((index.to(on),), torch.tensor(7.0, device=t.device)),
        lambda t, on: t.index_fill_(0, twice.to(on)[:1], 8.0),
        lambda t, on: t.index_copy_(1, index.to(on)[1:], torch.ones(5, 1, device=t.device)),
        lambda t, on: t.__setitem__(twice.to(on), t[twice.to(on)] + 1),
    ):
        write(x, torch.device("cpu"))
        write(u, device)
        # After each, since a later write may hide what an earlier one did.
        assert torch.equal(u.cpu(), x)
        assert torch.equal(y, x)


def test_writes_of_another_dtype_are_refused_as_by_torch() -> None:
    u = td.unified(table())
    with pytest.raises(RuntimeError, match="dtype"):
        u[torch.tensor([0])] = torch.ones(1, 3, dtype=torch.float64, device=u.device)


BAD: dict[str, Any] = {
    "u[i]": lambda u, i: u[i],
    "u[i, slice]": lambda u, i: u[i, 1:],
    "index_select": lambda u, i: torch.index_select(u, 0, i),
    "embedding": lambda u, i: F.embedding(i, u),
    "gather": lambda u, i: td.gather(u, i),
    "gather out": lambda u, i: td.gather(u, i, out=torch.empty(2, 3, device=u.device)),
    "u[i] =": lambda u, i: u.__setitem__(i, 5.0),
    "index_add_": lambda u, i: u.index_add_(0, i, torch.ones(2, 3, device=u.device)),
    "index_copy_": lambda u, i: u.index_copy_(0, i, torch.ones(2, 3, device=u.device)),
    "index_put_": lambda u, i: u.index_put_(
        (i,), torch.ones(2, 3, device=u.device), accumulate=True
    ),
}


@pytest.mark.parametrize("row", [5, -6, 1 << 40])
@pytest.mark.parametrize("use", BAD.values(), ids=BAD)
def test_a_cpu_index_out_of_range_raises_at_the_call(use: Any, row: int) -> None:
    u = td.unified(table())
    with pytest.raises(IndexError, match=rf"{row} .*5"):
        use(u, torch.tensor([0, row]))
    assert torch.equal(u.cpu(), table())
    assert u.sum().item() == 105
    td.check()


@pytest.mark.parametrize(
    "index",
    [[0, 7], [7, 0], range(6, 9), np.array([1, 7]), ([0, 7], slice(1, 2)), (np.array([7]), ...)],
    ids=["list", "first", "range", "numpy", "list, slice", "numpy, ellipsis"],
)
def test_a_list_out_of_range_raises_at_the_call(index: Any) -> None:
    u = td.unified(table())
    with pytest.raises(IndexError, match=r"7|6"):
        u[index]
    with pytest.raises(IndexError, match=r"7|6"):
        u[index] = 1.0
    assert torch.equal(u.cpu(), table())


def test_the_error_names_the_row_that_is_wrong() -> None:
    u = td.unified(torch.zeros(150, 2))
    with pytest.raises(IndexError, match=r"\b200\b"):
        td.gather(u, torch.tensor([5, 200], dtype=torch.uint8))


@pytest.mark.parametrize("row", [5, -6])
def test_an_int_out_of_range(row: int) -> None:
    with pytest.raises(IndexError, match=str(row)):
        td.unified(table())[row]


@pytest.mark.gpu
class TestIndicesOnTheGpu:
    @pytest.mark.parametrize("use", BAD.values(), ids=BAD)
    def test_out_of_range_is_raised_by_check(self, use: Any) -> None:
        u = td.unified(table())
        use(u, torch.tensor([0, 7], device="cuda"))
        with pytest.raises(IndexError, match="row index 7 is out of range for 5 rows"):
            td.check()
        td.check()
        torch.cuda.synchronize()
        assert torch.equal(u[torch.tensor([4], device="cuda")].cpu(), u.cpu()[4:])

    def test_out_of_range_is_raised_by_the_next_call(self) -> None:
        u = td.unified(table())
        rows = u[torch.tensor([3, -9], device="cuda")]
        torch.cuda.synchronize()
        with pytest.raises(IndexError, match="row index -9 "):
            u[torch.tensor([0], device="cuda")]
        assert rows.tolist() == [[9.0, 10.0, 11.0], [0.0, 0.0, 0.0]]
        assert u[torch.tensor([0], device="cuda")].tolist() == [[0.0, 1.0, 2.0]]

    @pytest.mark.parametrize("use", BAD.values(), ids=BAD)
    def test_out_of_range_is_raised_at_once_on_request(
        self, use: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(faults, "sync_check", lambda: True)
        with pytest.raises(IndexError, match="row index 7 "):
            use(td.unified(table()), torch.tensor([0, 7], device="cuda"))
        assert torch.ones(3, device="cuda").sum().item() == 3

    def test_the_first_of_several_is_kept(self) -> None:
        u = td.unified(table())
        u[torch.tensor([7], device="cuda")]
        torch.cuda.synchronize()
        with pytest.raises(IndexError, match="row index 7 "):
            u[torch.tensor([8], device="cuda")]
        td.check()

    def test_tables_with_gaps_between_elements(self) -> None:
        x = table()
        u = td.unified(x.t())
        index = torch.tensor([2, 9, 0], device="cuda")
        assert u[index].cpu().tolist() == [x[:, 2].tolist(), [0.0] * 5, x[:, 0].tolist()]
        with pytest.raises(IndexError, match="row index 9 is out of range for 3 rows"):
            td.check()


def test_rows_without_elements(device: torch.device) -> None:
    u = td.unified(torch.empty(5, 0))
    index = torch.tensor([4, 0], device=device)
    assert u[index].shape == td.gather(u, index).shape == (2, 0)
    u[index] = 1.0


def test_a_table_without_rows(device: torch.device) -> None:
    u = td.unified(torch.empty(0, 3))
    none = torch.empty(0, dtype=torch.int64, device=device)
    assert u[none].shape == td.gather(u, none).shape == (0, 3)
    with pytest.raises(IndexError):
        u[[0]]


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.int8, torch.uint16, torch.bfloat16, torch.float8_e5m2, torch.complex64],
    ids=str,
)
def test_reading_and_writing_in_other_dtypes(device: torch.device, dtype: torch.dtype) -> None:
    x = (table() % 2).to(dtype)
    u = td.unified(x.clone())
    index = torch.tensor([4, 0, -2])
    bits = torch.uint8
    for rows in (u[index.to(device)], td.gather(u, index.to(device))):
        assert torch.equal(rows.cpu().view(bits), x.view(bits)[index])
    u[index.to(device)] = u[:3].clone()
    expected = x.view(bits).clone()
    expected[index] = x.view(bits)[:3]
    assert torch.equal(u.cpu().view(bits), expected)
