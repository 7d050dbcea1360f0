"""`propagate`: whether results leave unified memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torch_direct as td
from torch_direct.tensor import dispatch

aten = torch.ops.aten

RESULTS: dict[str, Any] = {
    "add": lambda u: u + u,
    "number": lambda u: u * 2,
    "0-dim": lambda u: u - torch.tensor(1.0),
    "unary": lambda u: u.exp(),
    "compare": lambda u: u > 3,
    "sum": lambda u: u.sum(0),
    "matmul": lambda u: u @ u.t(),
    "cat": lambda u: torch.cat([u, u]),
    "cumsum": lambda u: torch.cumsum(u, 1),
    "two results": lambda u: torch.sort(u, dim=1, descending=True).values,
    "clamp": lambda u: u.clamp(min=2),
    "another type": lambda u: u.double(),
    "sum of another type": lambda u: u.sum(dtype=torch.float64),
    "mean of integers": lambda u: u.long().mean(0, dtype=torch.float32),
    "norm of another type": lambda u: torch.linalg.vector_norm(u, dtype=torch.float64),
    "ones": lambda u: torch.ones_like(u, memory_format=torch.preserve_format),
    "full": lambda u: torch.full_like(u, 2, dtype=torch.int64),
    "new": lambda u: u.new_zeros((4, 3), dtype=torch.int16),
}


def values() -> torch.Tensor:
    return torch.arange(12.0).view(4, 3)


@pytest.mark.parametrize("compute", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize("propagate", [True, False])
def test_results(compute: Any, propagate: bool) -> None:
    u = td.unified(values(), propagate=propagate)
    result = compute(u)
    torch.testing.assert_close(result.cpu(), compute(values()))
    assert result.is_cuda == u.is_cuda
    stays = not propagate and torch.cuda.is_available()
    assert td.is_unified(result) is stays
    if stays:
        assert result.propagate is False
        assert result.owner is not u.owner
        assert type(compute(result[:, :3] if result.dim() > 1 else result.view(1, -1))) is (
            td.UnifiedTensor
        )


@pytest.mark.gpu
@pytest.mark.parametrize("propagate", [True, False])
def test_one_operand_that_says_no_decides(propagate: bool) -> None:
    yes, no = td.unified(values()), td.unified(values(), propagate=propagate)
    assert td.is_unified(yes + no) is (not propagate)
    assert td.is_unified(no + yes) is (not propagate)


@pytest.mark.gpu
def test_cuda_operands_and_rows_give_cuda_results() -> None:
    u = td.unified(values(), propagate=False)
    index = torch.tensor([1, 0], device="cuda")
    for result in (u + u.to("cuda:0").cpu().cuda(), u[index], u[[1, 0]], td.gather(u, index)):
        assert type(result) is torch.Tensor
        assert result.is_cuda


@pytest.mark.gpu
def test_results_whose_size_depends_on_values_are_cuda() -> None:
    result = torch.nonzero(td.unified(values(), propagate=False))
    assert type(result) is torch.Tensor
    assert result.is_cuda


def test_views_inherit_it_and_it_can_be_changed() -> None:
    u = td.unified(values(), propagate=False)
    assert [u[1:].propagate, u.t().propagate, u.view(-1).propagate] == [False] * 3
    assert all(not row.propagate for row in u.split(2))
    other = u.with_propagate(True)
    assert (other.propagate, u.propagate) == (True, False)
    assert other.owner is u.owner
    u.propagate = True
    assert u[1:].propagate


def test_every_maker_takes_it(tmp_path: Any) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", values().numpy())
    for u in (
        td.unified(values(), propagate=False),
        td.empty(2, propagate=False),
        td.zeros(2, propagate=False),
        td.full((2,), 1.0, propagate=False),
        td.empty_like(values(), propagate=False),
        td.from_numpy(np.ones(2), propagate=False),
        td.load(tmp_path / "x.npy", propagate=False),
    ):
        assert u.propagate is False
    assert td.empty(2).propagate is True


@pytest.mark.parametrize(
    ("operator", "arguments", "named"),
    [
        (aten.sum.default, (), {"dtype": torch.float64}),
        (aten.mean.dim, ([0],), {"dtype": torch.float64}),
        (aten.ones_like.default, (), {"pin_memory": False, "memory_format": torch.preserve_format}),
        (aten.full_like.default, (2,), {"dtype": torch.int64, "layout": torch.strided}),
        (aten._to_copy.default, (), {"dtype": torch.float64}),
        (aten.sort.default, (), {}),
    ],
    ids=str,
)
def test_results_are_written_into_unified_memory(
    operator: Any, arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    u = td.unified(values(), propagate=False)
    made = dispatch._run_into_unified(operator, (u, *arguments), named)
    expected = operator(values(), *arguments, **named)
    if isinstance(made, torch.Tensor):
        made, expected = [made], [expected]
    for one, other in zip(made, expected, strict=True):
        assert td.is_unified(one)
        assert one.dtype == other.dtype
        assert torch.equal(one.cpu(), other)
