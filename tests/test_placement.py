"""Every row of the placement table: that it is chosen, and that it is carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import torch_direct as td
from torch_direct.errors import ForkedProcessError, PlacementError, ReadOnlyError
from torch_direct.memory import process
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.placement import (
    INDEX_ARGUMENTS,
    RULES,
    Compute,
    Facts,
    Result,
    Rule,
    Writes,
    rule_for,
    signature_of,
)
from torch_direct.tensor.dispatch import out_variant

aten = torch.ops.aten

HAS_CUDA = torch.cuda.is_available()
READER = torch.device("cuda", 0) if HAS_CUDA else torch.device("cpu")
FRESH = "cuda" if HAS_CUDA else "cpu"
"""Where a new result lives that follows the reading device."""

ALONE = Facts(
    cuda=True,
    asks_device=False,
    is_view=False,
    writes=Writes.NOTHING,
    has_cuda=False,
    has_cpu=False,
    has_index=False,
    propagate=True,
)
"""One unified operand, and nothing else to look at."""

EVERYTHING = replace(
    ALONE, asks_device=True, is_view=True, has_cuda=True, has_cpu=True, has_index=True
)

CASES: list[tuple[str, Facts]] = [
    ("anything, where CUDA is missing", replace(ALONE, cuda=False)),
    ("anything, where CUDA is missing", replace(EVERYTHING, cuda=False)),
    ("anything, where CUDA is missing", replace(ALONE, cuda=False, writes=Writes.UNIFIED)),
    ("an explicit device", replace(ALONE, asks_device=True)),
    ("an explicit device", replace(EVERYTHING, writes=Writes.OTHER, propagate=False)),
    ("a view of a unified tensor", replace(ALONE, is_view=True)),
    ("a view of a unified tensor", replace(EVERYTHING, asks_device=False, propagate=False)),
    ("in-place or out= into a tensor that is not", replace(ALONE, writes=Writes.OTHER)),
    (
        "in-place or out= into a tensor that is not",
        replace(EVERYTHING, asks_device=False, is_view=False, writes=Writes.OTHER),
    ),
    ("unified, CUDA and a CPU tensor", replace(ALONE, has_cuda=True, has_cpu=True)),
    (
        "unified, CUDA and a CPU tensor",
        replace(EVERYTHING, asks_device=False, is_view=False, writes=Writes.UNIFIED),
    ),
    (
        "unified and a CPU tensor of one dimension or more, in-place",
        replace(ALONE, has_cpu=True, writes=Writes.UNIFIED, has_index=True, propagate=False),
    ),
    ("unified and a CPU tensor of one dimension or more", replace(ALONE, has_cpu=True)),
    (
        "unified and a CPU tensor of one dimension or more",
        replace(ALONE, has_cpu=True, has_index=True, propagate=False),
    ),
    ("in-place or out= into unified", replace(ALONE, writes=Writes.UNIFIED)),
    (
        "in-place or out= into unified",
        replace(ALONE, writes=Writes.UNIFIED, has_cuda=True, has_index=True, propagate=False),
    ),
    ("unified and CUDA", replace(ALONE, has_cuda=True)),
    ("unified and CUDA", replace(ALONE, has_cuda=True, has_index=True, propagate=False)),
    ("unified with indices", replace(ALONE, has_index=True)),
    ("unified with indices", replace(ALONE, has_index=True, propagate=False)),
    (
        "unified only, or with scalars and 0-dim CPU tensors; results may stay",
        replace(ALONE, propagate=False),
    ),
    ("unified only, or with scalars and 0-dim CPU tensors", ALONE),
]
"""The first words of a row, and the facts of a call that it must decide."""


def row(words: str) -> Rule:
    """The row whose description is the words, or else the only one that begins with them."""
    exact = [rule for rule in RULES if rule.operands == words]
    (found,) = exact or [rule for rule in RULES if rule.operands.startswith(words)]
    return found


@pytest.mark.parametrize(("words", "facts"), CASES)
def test_facts_choose_their_row(words: str, facts: Facts) -> None:
    assert rule_for(facts) is row(words)


def test_every_row_has_a_case() -> None:
    assert {row(words).operands for words, _ in CASES} == {rule.operands for rule in RULES}


def test_cases_state_every_fact() -> None:
    for _, facts in CASES:
        assert all(getattr(facts, field.name) is not None for field in fields(facts))


def test_a_new_result_never_contradicts_where_it_is_computed() -> None:
    for rule in RULES:
        assert (rule.compute is Compute.REFUSE) == (rule.result is Result.NONE)
        assert (rule.compute is Compute.NOWHERE) == (rule.result is Result.VIEW)
        assert rule.when.writes is None or rule.result is Result.TARGET
    assert RULES[-1].when == Facts()


def test_an_operator_in_place_has_the_index_arguments_of_the_one_that_is_not() -> None:
    for name, indices in INDEX_ARGUMENTS.items():
        if hasattr(aten, f"{name.removeprefix('aten::')}_"):
            assert INDEX_ARGUMENTS.get(f"{name}_") == indices


@pytest.mark.parametrize(
    ("operator", "written", "is_view"),
    [
        (aten.add.Tensor, set(), False),
        (aten.add_.Tensor, {"self"}, False),
        (aten.add.out, {"out"}, False),
        (aten.view.default, set(), True),
        (aten.t_.default, {"self"}, False),
    ],
    ids=str,
)
def test_what_is_written_is_no_view(operator: Any, written: set[str], is_view: bool) -> None:
    signature = signature_of(operator)
    assert (signature.written, signature.is_view) == (written, is_view)


def x() -> Tensor:
    """Small whole numbers, so that every device computes the same."""
    return torch.arange(24, dtype=torch.float32).view(4, 6)


def u(*, propagate: bool = True) -> td.UnifiedTensor:
    return td.unified(x(), propagate=propagate)


def complex_x() -> Tensor:
    return torch.complex(x(), -x())


def kind(tensor: Tensor) -> str:
    return "unified" if td.is_unified(tensor) else tensor.device.type


def assert_values(result: Any, expected: Any) -> None:
    for got, wanted in zip(tree_leaves(result), tree_leaves(expected), strict=True):
        torch.testing.assert_close(got.cpu(), wanted.cpu(), rtol=0, atol=0)


VIEWS: dict[str, Callable[[Tensor], Any]] = {
    "slice": lambda t: t[1:3, ::2],
    "select": lambda t: t[2],
    "newaxis": lambda t: t[None, ..., None],
    "transpose": lambda t: t.t(),
    "permute": lambda t: t.permute(1, 0),
    "view": lambda t: t.view(2, 12),
    "reshape": lambda t: t.reshape(-1),
    "flatten": lambda t: t.flatten(),
    "view as bytes": lambda t: t.view(torch.uint8),
    "expand": lambda t: t[:, :1].expand(4, 5),
    "diagonal": lambda t: t.diagonal(),
    "squeeze": lambda t: t[:1].squeeze(0),
    "unsqueeze": lambda t: t.unsqueeze(1),
    "narrow": lambda t: t.narrow(0, 1, 2),
    "unfold": lambda t: t.unfold(1, 2, 2),
    "as_strided": lambda t: t.as_strided((3,), (7,), 1),
    "detach": lambda t: t.detach(),
    "split": lambda t: t.split(2),
    "unbind": lambda t: t.unbind(),
    "chunk": lambda t: t.chunk(2, dim=1),
    "tensor_split": lambda t: t.tensor_split(3),
    "iteration": lambda t: list(t),
    "_unsafe_view": lambda t: aten._unsafe_view(t, [6, 4]),
    "unsafe_split": lambda t: t.unsafe_split(2),
    "unsafe_chunk": lambda t: t.unsafe_chunk(2),
    "unsafe_split_with_sizes": lambda t: t.unsafe_split_with_sizes([1, 3]),
    "_reshape_alias": lambda t: aten._reshape_alias(t, [6, 4], [4, 1]),
}


@pytest.mark.parametrize("propagate", [True, False])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_are_unified_and_share_memory(view: Callable[..., Any], propagate: bool) -> None:
    whole = u(propagate=propagate)
    result = view(whole)
    assert_values(result, view(x()))
    for leaf in tree_leaves(result):
        assert kind(leaf) == "unified"
        assert leaf.device == READER
        assert leaf.propagate is propagate
        assert leaf.untyped_storage().data_ptr() == whole.data_ptr()
        assert leaf.host.data_ptr() == leaf.data_ptr()
        assert leaf.host.stride() == leaf.stride()
    with torch.no_grad():
        tree_leaves(result)[0].zero_()
    td.check()
    expected = x()
    tree_leaves(view(expected))[0].zero_()
    assert torch.equal(whole.host, expected)


@pytest.mark.parametrize(
    "view",
    [torch.real, torch.imag, torch.view_as_real, torch.conj, torch.t],
    ids=lambda f: f.__name__,
)
def test_views_of_complex_numbers(view: Callable[[Tensor], Tensor]) -> None:
    whole = td.unified(complex_x())
    result = view(whole)
    assert kind(result) == "unified"
    assert result.data_ptr() - result.storage_offset() * result.element_size() == whole.data_ptr()
    assert_values(result, view(complex_x()))
    assert torch.equal(result.host, view(complex_x()))


def cpu(*shape: int) -> Tensor:
    return torch.full(shape, 3.0)


def reader(*shape: int) -> Tensor:
    """A plain tensor on the device that reads unified memory."""
    return torch.full(shape, 2.0, device=READER)


def reader_on_cpu(*shape: int) -> Tensor:
    """What `reader` makes, for the same computation on the CPU."""
    return torch.full(shape, 2.0)


NEW_RESULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "alone": (lambda t, far: t.relu(), FRESH),
    "a scalar": (lambda t, far: t + 1, FRESH),
    "a scalar first": (lambda t, far: 1 - t, FRESH),
    "a 0-dim CPU tensor": (lambda t, far: t * torch.tensor(2.0), FRESH),
    "a 0-dim CPU tensor first": (lambda t, far: torch.tensor(2.0) * t, FRESH),
    "unified twice": (lambda t, far: t @ t.t(), FRESH),
    "several results": (lambda t, far: t.sort(dim=1, descending=True), FRESH),
    "a list of unified": (lambda t, far: torch.cat([t, t]), FRESH),
    "a boolean result": (lambda t, far: t > 3, FRESH),
    "a clone": (lambda t, far: t.clone(), FRESH),
    "another type": (lambda t, far: t.double(), FRESH),
    "a reduction": (lambda t, far: t.sum(0), FRESH),
    "a data-dependent size": (lambda t, far: t.nonzero(), FRESH),
    "on the reading device": (lambda t, far: t + far(6), FRESH),
    "on the reading device, first": (lambda t, far: far(4, 6) - t, FRESH),
    "a list with the reading device": (lambda t, far: torch.cat([far(1, 6), t]), FRESH),
    "and a scalar": (lambda t, far: torch.add(t, far(6), alpha=2), FRESH),
    "a CPU tensor": (lambda t, far: t + cpu(6), "cpu"),
    "a CPU tensor first": (lambda t, far: cpu(4, 6) - t, "cpu"),
    "a list with a CPU tensor": (lambda t, far: torch.cat([t, cpu(1, 6)]), "cpu"),
    "a CPU tensor of one element": (lambda t, far: t + cpu(1), "cpu"),
}


@pytest.mark.parametrize(("operator", "where"), NEW_RESULTS.values(), ids=NEW_RESULTS)
def test_new_results(operator: Callable[..., Any], where: str) -> None:
    whole = u()
    result = operator(whole, reader)
    assert {kind(leaf) for leaf in tree_leaves(result)} == {where}
    assert all(leaf.data_ptr() != whole.data_ptr() for leaf in tree_leaves(result))
    assert torch.equal(whole.host, x())
    assert_values(result, operator(x(), reader_on_cpu))


def indices() -> list[Any]:
    rows = torch.tensor([3, 0, 3])
    return [rows, rows.int(), rows.to(READER), td.unified(rows), rows.tolist()]


@pytest.mark.parametrize("position", range(5), ids=["CPU", "int32", "reader", "unified", "list"])
@pytest.mark.parametrize("propagate", [True, False])
def test_rows_come_to_the_reading_device_wherever_the_index_is(
    position: int, propagate: bool
) -> None:
    result = u(propagate=propagate)[indices()[position]]
    assert kind(result) == FRESH
    assert_values(result, x()[[3, 0, 3]])


WITH_INDEX: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "index_select": lambda t, i: torch.index_select(t, 0, i),
    "index_select of columns": lambda t, i: torch.index_select(t, 1, i),
    "embedding": lambda t, i: torch.nn.functional.embedding(i, t),
    "columns": lambda t, i: t[:, i],
    "two axes": lambda t, i: t[i, i],
    "take": lambda t, i: t.take(i),
    "gather": lambda t, i: t.gather(0, i.view(1, 3)),
    # PyTorch itself asks for this index on the tensor's device, before any operator runs.
    "take_along_dim": lambda t, i: t.take_along_dim(i.view(1, 3).to(t.device), 1),
    "index_fill": lambda t, i: t.index_fill(0, i, 7.0),
    "a mask": lambda t, i: t[i.new_tensor([0, 1, 0, 1]).bool()],
    "masked_fill": lambda t, i: t.masked_fill((i > 0).repeat(2), 5.0),
    "masked_select": lambda t, i: t.masked_select((i > 0).repeat(2)),
}


@pytest.mark.parametrize("place", ["cpu", "reader", "unified"])
@pytest.mark.parametrize("operator", WITH_INDEX.values(), ids=WITH_INDEX)
def test_indices_follow_the_operator(operator: Callable[..., Tensor], place: str) -> None:
    index = torch.tensor([3, 0, 1])
    placed = {"cpu": index, "reader": index.to(READER), "unified": td.unified(index.clone())}
    result = operator(u(), placed[place])
    assert kind(result) == FRESH
    assert_values(result, operator(x(), index))


WRITES: dict[str, Callable[..., Any]] = {
    "a scalar": lambda t, far: t.add_(1),
    "a fill": lambda t, far: t.fill_(4),
    "a copy from the CPU": lambda t, far: t.copy_(cpu(4, 6)),
    "a copy from the reading device": lambda t, far: t.copy_(far(4, 6)),
    "a CPU tensor": lambda t, far: t.mul_(cpu(6)),
    "the reading device": lambda t, far: t.mul_(far(6)),
    "unified": lambda t, far: t.sub_(td.unified(cpu(4, 6))),
    "a 0-dim CPU tensor": lambda t, far: t.add_(torch.tensor(2.0)),
    "out= of the reading device": lambda t, far: torch.add(far(4, 6), 1, out=t),
    "out= of the CPU": lambda t, far: torch.add(cpu(4, 6), 1, out=t),
    "out= of unified": lambda t, far: torch.neg(u(), out=t),
    "masked_fill_": lambda t, far: t.masked_fill_(torch.arange(6) > 2, 9.0),
    "index_fill_": lambda t, far: t.index_fill_(1, torch.tensor([1, 3]), 9.0),
    "index_add_": lambda t, far: t.index_add_(0, torch.tensor([1, 3]), far(2, 6)),
    "index_copy_ of unified": lambda t, far: t.index_copy_(
        0, torch.tensor([1]), td.unified(cpu(1, 6))
    ),
    "scatter_add_": lambda t, far: t.scatter_add_(
        0, torch.zeros(1, 6, dtype=torch.long), far(1, 6)
    ),
}


@pytest.mark.parametrize("propagate", [True, False])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_into_unified_stay_there(write: Callable[..., Any], propagate: bool) -> None:
    target = u(propagate=propagate)
    assert write(target, reader) is target
    td.check()
    expected = x()
    write(expected, reader_on_cpu)
    assert kind(target) == "unified"
    assert torch.equal(target.host, expected)


@pytest.mark.parametrize("make", [cpu, reader])
def test_writes_into_plain_tensors_happen_there(make: Callable[..., Tensor]) -> None:
    target = make(4, 6)
    address, expected = target.data_ptr(), make(4, 6).cpu() + x()
    assert target.add_(u()) is target
    assert_values(target, expected)
    assert torch.mul(u(), 2, out=target) is target
    assert_values(target, x() * 2)
    target.copy_(u())
    assert_values(target, x())
    target[1:3] = u()[:2]
    assert_values(target[1:3], x()[:2])
    assert (kind(target), target.data_ptr()) == (make(1).device.type, address)


@pytest.mark.parametrize("factory", [torch.ones, torch.rand, torch.randn, torch.empty])
def test_factories_write_into_unified_tensors_of_the_right_size(factory: Any) -> None:
    target = td.full((4, 6), -9.0)
    assert factory(4, 6, out=target) is target
    td.check()
    assert factory is torch.empty or bool((target.host > -9).all())


@pytest.mark.gpu
@pytest.mark.parametrize(
    "operator",
    [
        lambda t: t.addcmul(reader(6), cpu(6)),
        lambda t: t.addcmul_(reader(6), cpu(6)),
        lambda t: torch.cat([t, reader(1, 6), cpu(1, 6)]),
        lambda t: torch.where(td.unified(x() > 1), reader(4, 6), cpu(6)),
        lambda t: torch.add(reader(4, 6), cpu(6), out=t),
    ],
    ids=["pointwise", "in-place", "list", "where", "out"],
)
def test_three_kinds_together_are_refused(operator: Callable[[Tensor], Any]) -> None:
    whole = u()
    expected = (
        r"unified tensor of shape \(4, 6\), a CUDA tensor of shape .* on cuda:0 and a CPU tensor"
    )
    with pytest.raises(PlacementError, match=expected) as caught:
        operator(whole)
    assert '.to("cuda:0")' in str(caught.value)
    assert "u.host" in str(caught.value)
    assert torch.equal(whole.host, x())


KEPT: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda t: t + 1,
    "mm": lambda t: t @ t.t(),
    "sum": lambda t: t.sum(dim=0),
    "sum of all": lambda t: t.sum(),
    "cat": lambda t: torch.cat([t, t]),
    "topk": lambda t: t.topk(2),
    "sort": lambda t: t.sort(descending=True),
    "a comparison": lambda t: t > 3,
    "a chain": lambda t: ((t + 1) * 2).relu(),
    "where": lambda t: torch.where(t > 3, t, t + 1),
    "a clone": lambda t: t.clone(),
    "contiguous": lambda t: t.t().contiguous(),
}
"""Operators whose results can stay in host memory."""


@pytest.mark.parametrize("operator", KEPT.values(), ids=KEPT)
def test_results_stay_in_host_memory_where_asked(operator: Callable[[Tensor], Any]) -> None:
    result = operator(u(propagate=False))
    assert_values(result, operator(x()))
    for leaf in tree_leaves(result):
        assert kind(leaf) == ("unified" if HAS_CUDA else "cpu")
        if HAS_CUDA:
            assert leaf.propagate is False
            assert HOST_MEMORY.owner_at(leaf.data_ptr()) is leaf.owner
            assert torch.equal(leaf.host, leaf.cpu())


def test_one_operand_that_keeps_results_is_enough() -> None:
    keeps, gives = u(propagate=False), u()
    assert kind(gives + keeps) == ("unified" if HAS_CUDA else "cpu")
    assert kind(gives + gives) == FRESH


@pytest.mark.gpu
def test_results_that_stay_take_no_gpu_memory() -> None:
    whole = td.zeros(1 << 22, propagate=False)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = whole * 2 + 1
    torch.cuda.synchronize()
    assert kind(result) == "unified"
    assert torch.cuda.max_memory_allocated() - before < whole.nbytes // 4


def test_a_cuda_operand_or_an_index_outweighs_keeping() -> None:
    keeps = u(propagate=False)
    assert kind(keeps + reader(6)) == FRESH
    assert kind(keeps[torch.tensor([1])]) == FRESH


def test_results_of_unknown_size_go_to_the_reading_device() -> None:
    keeps = u(propagate=False)
    assert kind(keeps.nonzero()) == FRESH
    assert kind(torch.unique(keeps)) == FRESH


def test_an_operator_without_an_out_overload_goes_to_the_reading_device() -> None:
    heads = td.unified(torch.ones(1, 2, 4, 8), propagate=False)
    result = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
    assert kind(result) == FRESH
    torch.testing.assert_close(result.cpu(), torch.ones(1, 2, 4, 8))


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        (aten.add.Tensor, "out"),
        (aten.mm.default, "out"),
        (aten.sum.dim_IntList, "IntList_out"),
        (aten.cat.default, "out"),
        (aten.topk.default, "values"),
        (aten.sort.default, "values"),
        (aten.gt.Scalar, "Scalar_out"),
        (aten.add_.Tensor, None),
        (aten.split.Tensor, None),
        (aten._scaled_dot_product_efficient_attention.default, None),
    ],
    ids=str,
)
def test_the_overload_that_writes_into_given_memory(operator: Any, name: str | None) -> None:
    found = out_variant(operator)
    assert (found and found._overloadname) == name


def test_moving_to_the_reading_device_changes_nothing() -> None:
    whole = u()
    assert whole.to(READER) is whole
    assert whole.to(READER.type) is whole


DEVICES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "to the CPU, another type": (lambda t: t.to("cpu", torch.float64), "cpu"),
    "cpu()": (lambda t: t.cpu(), "cpu"),
    "double()": (lambda t: t.double(), FRESH),
    "a copy there": (lambda t: t.to(READER, copy=True), FRESH),
    "zeros_like on the CPU": (lambda t: torch.zeros_like(t, device="cpu"), "cpu"),
    "zeros_like there": (lambda t: torch.zeros_like(t, device=READER), FRESH),
    "zeros_like": (lambda t: torch.zeros_like(t), FRESH),
    "new_ones on the CPU": (lambda t: t.new_ones(3, device="cpu"), "cpu"),
    "new_ones": (lambda t: t.new_ones(3), FRESH),
}


@pytest.mark.parametrize(("call", "where"), DEVICES.values(), ids=DEVICES)
def test_an_explicit_device_wins(call: Callable[[Tensor], Tensor], where: str) -> None:
    result = call(u())
    assert kind(result) == where
    assert_values(result, call(x()))


@pytest.mark.gpu
def test_to_the_cpu_is_a_copy_in_ordinary_memory() -> None:
    whole = u()
    moved = whole.to("cpu")
    whole.add_(1)
    assert kind(moved) == "cpu"
    assert torch.equal(moved, x())


@pytest.mark.gpu
def test_an_operator_without_a_cuda_kernel_names_the_host_tensor() -> None:
    with pytest.raises(PlacementError, match=r"aten.histogram.*u\.host"):
        torch.histogram(u(), bins=4)
    torch.histogram(u().host, bins=4)


def test_an_operator_without_any_kernel_names_the_host_tensor() -> None:
    library = torch.library.Library("torch_direct_tests", "DEF")
    library.define("nowhere(Tensor x) -> Tensor")
    with pytest.raises(PlacementError, match=r"nowhere.*no kernel.*u\.host"):
        torch.ops.torch_direct_tests.nowhere(u())


@pytest.mark.parametrize("write", [WRITES["a fill"], WRITES["a CPU tensor"]], ids=["fill", "mul"])
def test_memory_that_is_mapped_read_only_is_not_written(tmp_path: Any, write: Any) -> None:
    np.save(tmp_path / "x.npy", x().numpy())
    mapped = td.load(tmp_path / "x.npy")
    with pytest.raises(ReadOnlyError, match=r"\(4, 6\).*writable=True"):
        write(mapped, reader)
    assert_values(mapped, x())


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, as if it had been forked from one that uses CUDA."""
    monkeypatch.setattr(process, "cuda_lost", True)


@pytest.fixture
def shared() -> td.UnifiedTensor:
    tensor = td.empty(4, 6, shared=True)
    tensor.host.copy_(x())
    return tensor


def test_a_forked_child_computes_on_host_tensors(shared: td.UnifiedTensor, forked: None) -> None:
    assert shared.device.type == "cpu"
    for operator in (lambda t: t + 1, lambda t: t[1:3], lambda t: t[[3, 0]], lambda t: t.t()):
        result = operator(shared)
        assert kind(result) == "cpu"
        assert torch.equal(result, operator(x()))
    shared[0] = 7
    assert shared.host[0].tolist() == [7.0] * 6


def test_a_forked_child_has_no_private_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    private = u()
    monkeypatch.setattr(process, "cuda_lost", True)
    with pytest.raises(ForkedProcessError, match=r"shared=True"):
        private + 1
