"""PyTorch's own operator database, run over unified tensors and compared with plain ones."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves, tree_map_only

import operator_exceptions as exceptions
import torch_direct as td

gc.freeze()  # or every collection of the session would go through the database

SAMPLES = 3
DTYPES = (torch.float32, torch.complex64, torch.int64, torch.float16, torch.float8_e4m3fn)
ON_CUDA = torch.cuda.is_available()
READER = "cuda" if ON_CUDA else "cpu"

if ON_CUDA:
    CANNOT_RUN = exceptions.CANNOT_RUN_ON_CUDA
    FAILS = exceptions.FAILS | exceptions.FAILS_ON_CUDA
    FAILS_IN_PLACE = exceptions.FAILS_IN_PLACE | exceptions.FAILS_IN_PLACE_ON_CUDA
    FAILS_WITH_OUT = exceptions.FAILS_WITH_OUT | exceptions.FAILS_WITH_OUT_ON_CUDA
else:
    CANNOT_RUN = exceptions.CANNOT_RUN_ON_CPU
    FAILS = exceptions.FAILS | exceptions.FAILS_ON_CPU
    FAILS_IN_PLACE = exceptions.FAILS_IN_PLACE
    FAILS_WITH_OUT = exceptions.FAILS_WITH_OUT

pytestmark = pytest.mark.filterwarnings("ignore")  # the operators warn of themselves


@pytest.fixture(autouse=True)
def _quiet_gpu() -> None:
    """Without the shared fixture's garbage collection: it takes longer than an operator."""
    return


def every(wanted: Callable[[Any], Any], fails: dict[str, str]) -> Any:
    """One test for each operator, those that are known to fail marked so."""
    params = []
    for op in op_db:
        has_operands = op.full_name not in exceptions.WITHOUT_OPERANDS
        if not (op.supported_dtypes(READER) and has_operands and wanted(op)):
            continue
        reason = fails.get(op.full_name)
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        params.append(pytest.param(op, id=op.full_name, marks=marks))
    return pytest.mark.parametrize("op", params)


def samples_of(op: Any, count: int = SAMPLES) -> list[Any]:
    """A few calls of an operator, in the first type that it has."""
    dtype = next((dtype for dtype in DTYPES if dtype in op.supported_dtypes(READER)), None)
    if dtype is None:
        return []
    torch.manual_seed(0)
    samples = op.sample_inputs("cpu", dtype)
    if op.name == "index_select":
        # PyG, once imported, puts a function in its place that takes no tensor without dimensions.
        samples = (sample for sample in samples if sample.input.dim() > 0)
    return list(islice(samples, count))


def copy_of(tensor: Tensor) -> Tensor:
    """The same values and layout in memory of its own, gaps included."""
    if tensor.layout != torch.strided or tensor.is_conj() or tensor.is_neg():
        return tensor.clone()
    storage = tensor.untyped_storage().clone()
    empty = torch.empty(0, dtype=tensor.dtype)
    return empty.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


def plain(tensor: Tensor) -> Tensor:
    """A fresh copy on the device that reads unified tensors, laid out the same."""
    copy = copy_of(tensor)
    if not ON_CUDA:
        return copy
    if copy.layout != torch.strided or copy.is_conj() or copy.is_neg():
        return copy.cuda()
    storage = copy.untyped_storage().cuda()
    empty = torch.empty(0, dtype=copy.dtype, device="cuda")
    return empty.set_(storage, copy.storage_offset(), copy.shape, copy.stride())


def unified(tensor: Tensor) -> Tensor:
    """A fresh unified copy; sparse tensors have no such thing."""
    return td.unified(copy_of(tensor)) if tensor.layout == torch.strided else plain(tensor)


def call(function: Callable[..., Any], sample: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Run a function over changed operands, the random numbers always the same."""
    changed = sample.transform(lambda x: change(x) if isinstance(x, Tensor) else x)
    torch.manual_seed(0)
    return function(changed.input, *changed.args, **changed.kwargs)


def reference(op: Any, function: Callable[..., Any], sample: Any) -> Any:
    """What plain tensors give; a skip where they have no such operator either."""
    try:
        expected = call(function, sample, plain)
    except Exception:
        if op.full_name in CANNOT_RUN:
            pytest.skip(CANNOT_RUN[op.full_name])
        raise
    assert op.full_name not in CANNOT_RUN, "it runs: take it from the table"
    return expected


def assert_same(op: Any, result: Any, expected: Any) -> None:
    if op.full_name in exceptions.FIRST_RESULT_ONLY:
        result, expected = result[0], expected[0]
    pairs = zip(tree_leaves(result), tree_leaves(expected), strict=True)
    for got, wanted in pairs:
        if isinstance(wanted, Tensor):
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            assert got.device == wanted.device
    if op.full_name in exceptions.UNDEFINED_VALUES:
        return
    on_cpu = [tree_map_only(Tensor, lambda x: x.cpu(), value) for value in (result, expected)]
    torch.testing.assert_close(*on_cpu, equal_nan=True)


@every(lambda op: True, FAILS)
def test_result(op: Any) -> None:
    samples = samples_of(op)
    assert samples, "no sample of a type that is tried"
    for sample in samples:
        expected = reference(op, op.op, sample)
        assert_same(op, call(op.op, sample, unified), expected)


@every(lambda op: op.inplace_variant, FAILS_IN_PLACE)
def test_in_place(op: Any) -> None:
    for sample in samples_of(op, 1):
        if sample.broadcasts_input:
            continue
        try:
            expected = call(op.inplace_variant, sample, plain)
        except RuntimeError:  # the result's shape or type does not fit
            continue
        written: list[Tensor] = []

        def remember(operand: Tensor, *args: Any, written: Any = written, **kwargs: Any) -> Any:
            written.append(operand)
            return op.inplace_variant(operand, *args, **kwargs)

        result = call(remember, sample, unified)
        assert td.is_unified(result)
        assert result.data_ptr() == written[0].data_ptr()
        assert_same(op, result, expected)


@every(lambda op: op.supports_out, FAILS_WITH_OUT)
def test_into_given_memory(op: Any) -> None:
    for sample in samples_of(op, 1):
        result = reference(op, op.op, sample)
        if not all(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            continue
        expected = tree_map_only(Tensor, torch.zeros_like, result)
        target = tree_map_only(Tensor, lambda x: unified(torch.zeros_like(x.cpu())), result)
        try:
            call(functools.partial(op.op, out=expected), sample, plain)
        except (RuntimeError, TypeError):  # the database's word on out= is about other samples
            continue
        call(functools.partial(op.op, out=target), sample, unified)
        assert_same(op, target, expected)


@pytest.mark.parametrize("name", sorted(exceptions.WITHOUT_OPERANDS))
def test_operators_that_are_left_out_take_no_tensor(name: str) -> None:
    (op,) = (op for op in op_db if op.full_name == name)
    operands = tree_leaves([(s.input, s.args, s.kwargs) for s in samples_of(op)])
    assert operands
    assert not any(isinstance(operand, Tensor) for operand in operands)


def test_operators_whose_values_are_not_compared_allocate() -> None:
    assert {op.full_name for op in op_db} >= exceptions.UNDEFINED_VALUES
    assert all("empty" in name for name in exceptions.UNDEFINED_VALUES)
