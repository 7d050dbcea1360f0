"""Reads of rows that skip the dispatcher: the same rows, and skipped only where nobody looks on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import torch_direct as td
from torch_direct.errors import MovedMemoryError
from torch_direct.memory import process
from torch_direct.tensor import operators, unified
from torch_direct.tensor.direct import direct_source


class SeesOperators(TorchDispatchMode):
    """Runs every operator as it is, and notes it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func._schema.name)
        return func(*args, **(kwargs or {}))


class SeesFunctions(TorchFunctionMode):
    """Runs every function as it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def table() -> Tensor:
    return torch.arange(24.0).view(6, 4)


def unified_table() -> Tensor:
    return td.unified(table())


def row_numbers(u: Tensor, *rows: int) -> Tensor:
    return torch.tensor(rows or (5, 0, 0, -2), device=u.device)


TABLES: dict[str, Callable[[], Tensor]] = {
    "whole": unified_table,
    "slice": lambda: unified_table()[1:5],
    "columns": lambda: unified_table()[:, 1:3],
    "strided": lambda: td.unified(torch.arange(36.0).view(6, 6)).t(),
    "one dimension": lambda: td.unified(torch.arange(6)),
    "three dimensions": lambda: unified_table().view(6, 2, 2),
    "no columns": lambda: td.unified(torch.empty(6, 0)),
    "float16": lambda: td.unified(table().half()),
    "bool": lambda: td.unified(table() > 7),
    "conjugated": lambda: td.unified(torch.complex(table(), table() + 1)).conj(),
    "negated": lambda: td.unified(torch.complex(table(), table() + 1)).conj().imag,
    "stays in host memory": lambda: td.unified(table(), propagate=False),
    "read-only": lambda: unified_table().as_read_only(),
    "parameter": lambda: torch.nn.Parameter(unified_table(), requires_grad=False),
}

INDICES: dict[str, Callable[[Tensor], Tensor]] = {
    "int64": lambda u: row_numbers(u, 3, 0, 0, -2),
    "int32": lambda u: row_numbers(u, 3, 0, 0, -2).int(),
    "with gaps": lambda u: row_numbers(u, 3, 9, 0, 9, 1)[::2],
    "two dimensions": lambda u: row_numbers(u, 3, 0, 1, -2).view(2, 2).t(),
    "empty": lambda u: row_numbers(u)[:0],
}

READS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "u[i]": lambda u, i: u[i],
    "gather": td.gather,
    "gather, out": lambda u, i: td.gather(
        u, i, out=torch.empty((*i.shape, *u.shape[1:]), dtype=u.dtype, device=u.device)
    ),
    "gather, sorted": lambda u, i: td.gather(u, i, sorted=True),
}

DISPATCHED = {"aten::index", "torch_direct::gather", "torch_direct::gather_out"}
"""What a mode sees of a read."""


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_both_ways_read_the_same_rows(make: Any, index: Any, read: Any) -> None:
    u = make()
    rows = index(u)
    assert direct_source(u, rows) is not None
    direct = read(u, rows)
    with SeesOperators() as mode:
        dispatched = read(u, rows)
    assert not DISPATCHED.isdisjoint(mode.seen)
    expected = u.host.clone()[rows.cpu()]
    assert direct.is_contiguous()
    for result in (direct, dispatched):
        assert type(result) is Tensor
        assert result.device == u.device
        assert not result.requires_grad
        assert not result.is_conj()
        assert torch.equal(result.cpu(), expected)


def test_the_usual_read_is_not_dispatched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(func: Any, *others: Any) -> Any:
        pytest.fail(f"{func} was dispatched")

    parameter = torch.nn.Parameter(unified_table())
    monkeypatch.setattr(unified, "dispatch", refuse)
    i = row_numbers(parameter)
    for grad_mode in (torch.no_grad, torch.inference_mode):
        with grad_mode():
            for read in READS.values():
                read(parameter, i)


@contextlib.contextmanager
def moved(u: Tensor) -> Iterator[None]:
    keeper = u.owner.lease.keeper
    u.owner.lease.keeper = torch.empty(1).untyped_storage()
    try:
        yield
    finally:
        u.owner.lease.keeper = keeper


@contextlib.contextmanager
def in_a_forked_child(u: Tensor) -> Iterator[None]:
    process.cuda_lost = True
    try:
        yield
    finally:
        process.cuda_lost = False


@pytest.mark.parametrize(
    "around",
    [
        lambda u: SeesOperators(),
        lambda u: SeesFunctions(),
        lambda u: torch.device("cpu"),
        lambda u: forward_ad.dual_level(),
        moved,
        in_a_forked_child,
    ],
    ids=["dispatch mode", "function mode", "default device", "tangents", "moved", "forked"],
)
def test_the_dispatcher_is_skipped_only_where_nobody_looks_on(around: Any) -> None:
    u = unified_table()
    i = row_numbers(u)
    assert direct_source(u, i) is not None
    with around(u):
        assert direct_source(u, i) is None
    assert direct_source(u, i) is not None


@pytest.mark.parametrize(
    "index",
    [
        *(3, [0, 1], slice(2), None, (torch.tensor([0]),), torch.tensor(3), torch.tensor([1.0])),
        *(torch.tensor([True] * 6), torch.tensor([1], dtype=torch.uint8)),
        *(torch.tensor([0], device="meta"), torch.nn.Parameter(torch.tensor([0]), False)),
    ],
    ids=str,
)
def test_only_row_numbers_skip_the_dispatcher(index: Any) -> None:
    u = unified_table()
    if type(index) is Tensor and not index.is_meta:
        index = index.to(u.device)
    assert direct_source(u, index) is None


def test_only_unified_tables_with_rows_skip_the_dispatcher() -> None:
    u = unified_table()
    i = row_numbers(u, 0)
    assert direct_source(u.cpu(), i) is None
    assert direct_source(u[0, 0], i) is None
    assert direct_source(u.detach().requires_grad_(), i) is None


@pytest.mark.gpu
def test_an_index_elsewhere_is_dispatched() -> None:
    u = unified_table()
    i = torch.tensor([5, 0])
    assert direct_source(u, i) is None
    assert torch.equal(u[i].cpu(), table()[i])


@pytest.mark.parametrize("read", ["u[i]", "gather"])
def test_transforms_and_tracers_see_the_read(read: str) -> None:
    u = unified_table()
    i = row_numbers(u, 5, 0)
    rows = torch.func.vmap(lambda j: u[j])(i.view(2, 1))
    assert torch.equal(rows.cpu(), table()[[5, 0]].view(2, 1, 4))
    traced = torch.jit.trace(lambda j: READS[read](u, j) * 1, (i,), check_trace=False)
    assert torch.equal(traced(i.flip(0)).cpu(), table()[[0, 5]])


def test_tangents_and_functional_gradients_of_a_read() -> None:
    u = unified_table()
    i = row_numbers(u, 5, 0)
    tangent = table().to(u.device) * 2
    _, rows = torch.func.jvp(lambda w: w[i], (u,), (tangent,))
    assert torch.equal(rows.cpu(), table()[[5, 0]] * 2)
    gradient = torch.func.grad(lambda w: w[i].sum())(u)
    assert gradient.sum().item() == 8


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_moved_memory_is_not_read(read: Any) -> None:
    u = unified_table()
    with moved(u), pytest.raises(MovedMemoryError, match="moved"):
        read(u, row_numbers(u))


RESTRIDES: dict[str, Callable[[Tensor], object]] = {
    "t_": lambda x: x.t_(),
    "transpose_": lambda x: x.transpose_(0, 1),
    "unsqueeze_": lambda x: x.unsqueeze_(1),
    "squeeze_": lambda x: x.unsqueeze_(2).squeeze_(),
    "as_strided_": lambda x: x.as_strided_((4, 3), (2, 5), 1),
    "data": lambda x: setattr(x, "data", x.data[2:].clone() + 1),
}


@pytest.mark.parametrize("change", RESTRIDES.values(), ids=RESTRIDES)
@pytest.mark.parametrize("compiled", [False, True])
def test_another_layout_in_place_is_read_as_such(change: Any, compiled: bool) -> None:
    torch._dynamo.reset()
    x, u = table(), unified_table()
    read: Any = lambda w, i: w[i]  # noqa: E731
    if compiled:
        read = torch.compile(read, backend="aot_eager", fullgraph=True)
    before = row_numbers(u, 3, 1, 1)
    assert torch.equal(read(u, before).cpu(), x[[3, 1, 1]])
    change(x)
    change(u)
    assert u.shape == x.shape
    assert torch.equal(read(u, before).cpu(), x[[3, 1, 1]])
    assert torch.equal(td.gather(u, before).cpu(), x[[3, 1, 1]])


def test_a_write_into_a_given_tensor_is_noticed_by_autograd() -> None:
    u = unified_table()
    out = torch.ones(2, 4, device=u.device)
    weight = torch.ones(2, 4, device=u.device, requires_grad=True)
    loss = (weight * out).sum()
    td.gather(u, row_numbers(u, 0, 1), out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_rows_written_from_the_table_itself() -> None:
    x = torch.arange(3000 * 4, dtype=torch.int32).view(3000, 4)
    u, expected = td.unified(x.clone()), x.clone()
    expected[1:] = x[:-1]
    u[torch.arange(1, 3000, device=u.device)] = u[:-1]
    assert torch.equal(u.cpu(), expected)


def test_a_given_tensor_that_is_the_index() -> None:
    u = td.unified(torch.arange(5))
    index = row_numbers(u, 3, 1, 0)
    with pytest.raises(ValueError, match="shares its memory"):
        td.gather(u, index, out=index)


def test_a_given_tensor_that_is_the_last_element_of_a_strided_table(device: torch.device) -> None:
    x = torch.arange(9, device=device)
    with pytest.raises(ValueError, match="shares its memory"):
        td.gather(x[::2], torch.tensor([0], device=device), out=x[8:])


def test_a_given_tensor_made_for_inference() -> None:
    u, x = unified_table(), table()
    with torch.inference_mode():
        out = torch.empty(2, 4, device=u.device)
        td.gather(u, row_numbers(u, 3, 1), out=out)
    assert torch.equal(out.cpu(), x[[3, 1]])


@pytest.mark.gpu
def test_whether_a_table_is_read_over_the_link() -> None:
    u = unified_table()
    assert operators.lies_on_host(u)
    assert operators.lies_on_host(u[1:].alias)
    assert operators.lies_on_host(u.host)
    assert not operators.lies_on_host(u.clone())


def test_the_operator_itself_refuses_a_tensor_that_the_rows_do_not_fit_in() -> None:
    u = unified_table()
    with pytest.raises(RuntimeError, match="invalid for input of size 4"):
        torch.ops.torch_direct.gather_out(
            u.alias, row_numbers(u), torch.empty(1, 4, device=u.device)
        )


class TestSorted:
    @pytest.fixture
    def words(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """What the kernel is told, call by call."""
        told: list[bool] = []
        kernel = operators.gather_rows

        def listen(*args: Any, is_sorted: bool, over_link: bool) -> None:
            told.append(is_sorted)
            kernel(*args, is_sorted=is_sorted, over_link=over_link)

        monkeypatch.setattr(operators, "gather_rows", listen)
        return told

    @pytest.mark.parametrize("given", [False, True])
    def test_the_word_reaches_the_kernel(self, words: list[bool], given: bool) -> None:
        u = unified_table()
        i = row_numbers(u, 0, 2, 5)
        out = torch.empty(3, 4, device=u.device)
        w = torch.nn.Parameter(u)
        compiled = torch.compile(
            lambda u, i: td.gather(u, i, sorted=given), backend="aot_eager", fullgraph=True
        )
        for rows in (
            td.gather(u, i, sorted=given),
            td.gather(u, i, out=out, sorted=given),
            td.gather(u, torch.tensor([0, 2, 5]), sorted=given),
            td.gather(u.cpu(), i.cpu(), sorted=given),
            td.gather(w, i, sorted=given),
            compiled(u, i),
        ):
            assert torch.equal(rows.detach().cpu(), table()[[0, 2, 5]])
        assert words == [given] * 6

    def test_other_reads_give_no_word(self, words: list[bool]) -> None:
        u = unified_table()
        i = row_numbers(u, 0, 2, 5)
        u[i], u[[0, 2]], torch.index_select(u, 0, i), td.gather(u, i)
        assert words == [False] * 4

    @pytest.mark.parametrize("rows", [(5, 0, 0, -2), (-1, -6), (3, 3, 3), (0, 5), ()])
    def test_a_wrong_word_costs_no_row(self, device: torch.device, rows: tuple[int, ...]) -> None:
        u = unified_table()
        i = torch.tensor(rows, dtype=torch.int64, device=device)
        expected = table()[i.cpu()]
        assert torch.equal(td.gather(u, i, sorted=True).cpu(), expected)
        assert torch.equal(td.gather(u, i.view(-1, 1), sorted=True).cpu(), expected[:, None])

    @pytest.mark.parametrize("rows", [(0, 2, 5), (5, 0, 0)])
    def test_gradients(self, device: torch.device, rows: tuple[int, ...]) -> None:
        w = torch.nn.Parameter(unified_table())
        i = torch.tensor(rows, device=device)
        (td.gather(w, i, sorted=True) ** 2).sum().backward()
        plain = table().requires_grad_()
        (plain[list(rows)] ** 2).sum().backward()
        assert w.grad is not None
        assert torch.equal(w.grad.cpu(), plain.grad)

    @pytest.mark.parametrize("row", [6, -7])
    def test_a_row_out_of_range(self, device: torch.device, row: int) -> None:
        u = unified_table()

        def read() -> None:
            td.gather(u, torch.tensor([0, row], device=device), sorted=True)
            td.check()

        with pytest.raises(IndexError, match=f"{row} is out of range for 6 rows"):
            read()
