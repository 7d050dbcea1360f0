"""Unified tensors as inputs of compiled functions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import torch_direct as td

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(
    params=[
        "aot_eager",
        pytest.param("inductor", marks=pytest.mark.gpu),
        pytest.param("inductor on the CPU", marks=[pytest.mark.slow, needs_compiler]),
    ]
)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "inductor on the CPU" and torch.cuda.is_available():
        pytest.skip("here Inductor compiles for the GPU")
    return name.split()[0]


def write_rows(u: Tensor, i: Tensor) -> Tensor:
    u[i] = 5.0
    return u.sum()


def add_rows(u: Tensor, i: Tensor) -> Tensor:
    u.index_add_(0, i, torch.ones(3, 4, device=u.device))
    return u.sum()


def add_slice(u: Tensor, i: Tensor) -> Tensor:
    u[1:].mul_(2)
    return u[i].sum()


READS: dict[str, Any] = {
    "u[i]": lambda u, i: u[i],
    "gather": lambda u, i: td.gather(u, i),
    "gather 2-D": lambda u, i: td.gather(u, i.view(3, 1)),
    "list": lambda u, i: u[[0, 2, 2]],
    "mask": lambda u, i: u[u[:, 0] > 4],
    "slices": lambda u, i: u[1:4, ::2] + 1,
    "select": lambda u, i: u[-1] * 2,
    "None and ellipsis": lambda u, i: u[None, ..., 1:] * 1,
    "embedding": lambda u, i: F.embedding(i, u),
    "index_select": lambda u, i: torch.index_select(u, 0, i),
    "mixed": lambda u, i: u[i] @ torch.ones(4, 2, device=u.device) + i[:, None].to(u.device),
    "arithmetic": lambda u, i: (u + u * 2).sum(1),
}
WRITES: dict[str, Any] = {
    "rows": write_rows,
    "index_add_": add_rows,
    "slice": add_slice,
}


def table(seed: int) -> Tensor:
    return torch.randint(0, 9, (6, 4), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("body", READS.values(), ids=READS)
def test_reading(backend: str, body: Any) -> None:
    compiled = torch.compile(body, backend=backend, fullgraph=True)
    for seed, rows in ((0, [5, 0, 0]), (1, [1, 2, 3])):
        x, index = table(seed), torch.tensor(rows)
        u = td.unified(x)
        result = compiled(u, index.to(u.device))
        torch.testing.assert_close(result.cpu(), body(x, index))
        assert result.is_cuda == u.is_cuda


@pytest.mark.parametrize("body", WRITES.values(), ids=WRITES)
def test_writing(backend: str, body: Any) -> None:
    compiled = torch.compile(body, backend=backend, fullgraph=True)
    for seed, rows in ((0, [5, 0, 0]), (1, [1, 2, 3])):
        x, y, index = table(seed), table(seed), torch.tensor(rows)
        u = td.unified(y)
        result = compiled(u, index.to(u.device))
        torch.testing.assert_close(result.cpu(), body(x, index))
        td.check()
        assert torch.equal(y, x)


@pytest.mark.parametrize("make", [td.unified, torch.clone], ids=["unified", "plain"])
def test_reading_into_a_given_tensor(backend: str, make: Any) -> None:
    compiled = torch.compile(
        lambda u, i, out: td.gather(u, i, out=out) + 1, backend=backend, fullgraph=True
    )
    for seed, rows in ((0, [5, 0, 0]), (1, [1, 2, 3])):
        x, index = table(seed), torch.tensor(rows)
        u = make(x)
        out = torch.zeros(3, 4, device=u.device)
        result = compiled(u, index.to(u.device), out)
        assert torch.equal(out.cpu(), x[index])
        assert torch.equal(result.cpu(), x[index] + 1)


@pytest.mark.parametrize("make", [td.unified, torch.clone], ids=["unified", "plain"])
def test_forward_derivatives(backend: str, make: Any) -> None:
    index = torch.tensor([5, 0, 0])

    def body(w: Tensor, tangent: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.jvp(lambda w: td.gather(w, i) ** 2, (w,), (tangent,))

    w = make(table(0))
    tangent = torch.ones(6, 4, device=w.device)
    _, found = torch.compile(body, backend=backend, fullgraph=True)(w, tangent, index.to(w.device))
    assert torch.equal(found.cpu(), 2 * table(0)[index])


def test_host_memory_is_refused_inside() -> None:
    compiled = torch.compile(lambda u: u.host + 1, backend="aot_eager", fullgraph=True)
    with pytest.raises(Exception, match=r"traced by a compiler and has no memory.*outside"):
        compiled(td.unified(table(0)))


def test_a_view_that_is_returned_is_unified_and_shares_memory(backend: str) -> None:
    x = table(0)
    u = td.unified(x)
    rows = torch.compile(lambda u: u[2:4], backend=backend, fullgraph=True)(u)
    assert td.is_unified(rows)
    x[2] = -1
    assert rows.cpu()[0].tolist() == [-1] * 4


@pytest.mark.parametrize("view", [lambda u: u[1:], lambda u: u.t(), lambda u: u[:, 1:3]])
def test_views_as_inputs(backend: str, view: Any) -> None:
    x = table(0)
    u = view(td.unified(x))
    index = torch.tensor([1, 0, 1], device=u.device)
    for body in (READS["u[i]"], READS["gather"]):
        compiled = torch.compile(body, backend=backend, fullgraph=True)
        assert torch.equal(compiled(u, index).cpu(), view(x)[[1, 0, 1]])


def test_the_same_memory_twice(backend: str) -> None:
    x = table(0)
    u = td.unified(x)
    compiled = torch.compile(lambda a, b: a[1:] + b[:5], backend=backend, fullgraph=True)
    assert torch.equal(compiled(u, u).cpu(), x[1:] + x[:5])
    assert torch.equal(compiled(u, u[:]).cpu(), x[1:] + x[:5])


@pytest.mark.parametrize("read", ["u[i]", "gather", "embedding"])
def test_gradients(backend: str, read: str) -> None:
    index = torch.tensor([5, 0, 0])
    plain = table(0).requires_grad_()
    (READS[read](plain, index) ** 2).sum().backward()
    w = torch.nn.Parameter(td.unified(table(0)))
    body = lambda w, i: (READS[read](w, i) ** 2).sum()  # noqa: E731
    torch.compile(body, backend=backend, fullgraph=True)(w, index.to(w.device)).backward()
    assert type(w.grad) is Tensor
    torch.testing.assert_close(w.grad.cpu(), plain.grad)


def test_a_module_with_a_unified_table(backend: str) -> None:
    layer = torch.nn.Embedding(6, 4)
    layer.weight = torch.nn.Parameter(td.unified(table(0)))
    index = torch.tensor([[5, 0], [1, 1]], device=layer.weight.device)
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    assert torch.equal(compiled(index).cpu(), table(0)[index.cpu()])


def test_tables_of_other_lengths(backend: str) -> None:
    compiled = torch.compile(READS["u[i]"], backend=backend, fullgraph=True)
    for rows in (3, 7, 11):
        u = td.unified(torch.arange(rows * 4.0).view(rows, 4))
        index = torch.arange(rows - 1, -1, -1, device=u.device)
        assert torch.equal(compiled(u, index).cpu(), u.cpu().flip(0))


@pytest.mark.parametrize("read", ["u[i]", "gather"])
def test_an_index_out_of_range(backend: str, read: str) -> None:
    u = td.unified(table(0))
    compiled = torch.compile(READS[read], backend=backend, fullgraph=True)

    def run() -> None:
        compiled(u, torch.tensor([0, 9, 1], device=u.device))
        td.check()

    with pytest.raises(IndexError, match="9"):
        run()
    assert torch.equal(u.cpu(), table(0))


def test_writes_to_a_read_only_table_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", table(0).numpy())
    program = f"""
import torch, torch_direct as td
u = td.load({str(tmp_path / "x.npy")!r})
body = torch.compile(lambda u: u.add_(1).sum(), backend="aot_eager", fullgraph=True)
try:
    body(u)
except Exception as error:
    print("refused:", error)
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert run.returncode == 0, (
        f"the process died with status {run.returncode}: {run.stderr[-2000:]}"
    )
    assert "refused" in run.stdout
    assert "read-only" in run.stdout
