"""Unified tensors that are read as conjugated or negated, lazily."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torch_direct as td


def values() -> torch.Tensor:
    return torch.complex(torch.arange(12.0).view(4, 3), torch.arange(12.0, 24.0).view(4, 3))


VIEWS = {"conj": lambda x: x.conj(), "neg": lambda x: x.conj().imag}


@pytest.fixture(params=VIEWS.values(), ids=VIEWS)
def lazy(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_lazy_source_keeps_its_values_and_its_memory(lazy: Any) -> None:
    x = lazy(values())
    u = td.unified(x)
    assert (u.is_conj(), u.is_neg()) == (x.is_conj(), x.is_neg())
    assert torch.equal(u.cpu(), x)
    assert torch.equal(u.host, x)
    assert u.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("first", ["source", "unified"])
def test_rows(lazy: Any, first: str) -> None:
    x = lazy(values())
    u = td.unified(x) if first == "source" else lazy(td.unified(values()))
    index = torch.tensor([3, 0, 3])
    # PyTorch resolves a lazy operand before a unified tensor is asked, so indices do not move.
    selected = torch.index_select(u, 0, index.to(u.device))
    for rows in (u[index], u[[3, 0, -1]], td.gather(u, index), selected):
        assert torch.equal(rows.cpu(), x[index])
    assert torch.equal(u[1:3].cpu(), x[1:3])


def test_writing_rows(lazy: Any) -> None:
    x, base = lazy(values()), values()
    u = lazy(td.unified(base))
    index = torch.tensor([2, 0])
    for target in (x, u):
        target[index] = 5.0
        target[3] = 7.0
    new = x[:2].clone() + 1
    x.index_copy_(0, index, new)
    there = index.to(u.device)
    u.index_copy_(0, there, new.to(u.device))
    x.index_add_(0, index, new)
    u.index_add_(0, there, new.to(u.device))
    assert torch.equal(u.cpu(), x)
    assert torch.equal(lazy(base), x)


def test_protocols(lazy: Any) -> None:
    import copy
    import io
    import pickle

    x = lazy(values())
    u = td.unified(x)
    assert u.tolist() == x.tolist()
    assert torch.equal(copy.deepcopy(u).cpu(), x)
    assert torch.equal(pickle.loads(pickle.dumps(u)).cpu(), x)
    buffer = io.BytesIO()
    torch.save(u, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer).cpu(), x)
    assert torch.equal((u + 1).cpu(), x + 1)


@pytest.mark.parametrize("spelling", ["index", "gather", "sum"])
def test_compiled(lazy: Any, spelling: str) -> None:
    bodies = {
        "index": lambda u, i: u[i] * 1,
        "gather": lambda u, i: td.gather(u, i) * 1,
        "sum": lambda u, i: u.sum() + i.sum(),
    }
    torch._dynamo.reset()
    compiled = torch.compile(bodies[spelling], backend="aot_eager", fullgraph=True)
    index = torch.tensor([2, 0])
    x = lazy(values())
    result = compiled(td.unified(x), index.to(td.unified(x).device))
    assert torch.equal(result.cpu(), bodies[spelling](x, index))
