"""Unified tensors in files: the bytes once, and unified again."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torch_direct as td


def values() -> torch.Tensor:
    return torch.arange(12.0).view(4, 3)


def by_pickle(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


def by_torch(thing: Any, **options: Any) -> Any:
    return torch.load(saved(thing), **options)


def saved(thing: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return buffer


@pytest.fixture(params=[by_pickle, by_torch], ids=["pickle", "torch.save"])
def carry(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    "view",
    [
        lambda u: u,
        lambda u: u[1:],
        lambda u: u.t(),
        lambda u: u[:, ::2],
        lambda u: u[:0],
        lambda u: u[1, 2],
    ],
)
def test_values_layout_and_type_survive(carry: Any, view: Any) -> None:
    u = view(td.unified(values(), propagate=False))
    again = carry(u)
    assert type(again) is td.UnifiedTensor
    assert (again.shape, again.stride(), again.dtype) == (u.shape, u.stride(), u.dtype)
    assert again.propagate is False
    assert again.device == u.device
    assert again.tolist() == u.tolist()
    if u.numel():
        assert again.data_ptr() != u.data_ptr()


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.int8, torch.bfloat16, torch.complex64], ids=str
)
def test_other_dtypes(carry: Any, dtype: torch.dtype) -> None:
    x = (values() % 2).to(dtype)
    again = carry(td.unified(x))
    assert again.dtype == dtype
    assert torch.equal(again.cpu().view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float8_e5m2], ids=str)
def test_dtypes_that_torch_itself_does_not_pickle(dtype: torch.dtype) -> None:
    x = (values() % 2).to(dtype)
    assert torch.equal(by_torch(td.unified(x)).cpu().view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_parameter_stays_a_parameter(carry: Any, requires_grad: bool) -> None:
    w = torch.nn.Parameter(td.unified(values()), requires_grad=requires_grad)
    again = carry(w)
    assert isinstance(again, torch.nn.Parameter)
    assert td.is_unified(again)
    assert again.requires_grad is requires_grad
    assert again.tolist() == values().tolist()


def test_a_pickled_module_keeps_its_parameters(carry: Any) -> None:
    layer = torch.nn.Embedding(4, 3)
    layer.weight = torch.nn.Parameter(td.unified(values()))
    options = {"weights_only": False} if carry is by_torch else {}
    again = carry(layer, **options)
    assert isinstance(again.weight, torch.nn.Parameter)
    assert td.is_unified(again.weight)
    assert [name for name, _ in again.named_parameters()] == ["weight"]


@pytest.mark.parametrize("make", [td.unified, lambda x: td.empty_like(x).copy_(x)])
def test_the_bytes_of_several_views_are_saved_once(make: Any) -> None:
    u = make(torch.arange(100_000.0).view(1000, 100))
    buffer = saved({"whole": u, "rows": u[500:], "column": u[:, 3], "host": u.host})
    assert buffer.getbuffer().nbytes < 420_000


def test_views_share_memory_after_loading() -> None:
    u = td.unified(values())
    again = by_torch({"whole": u, "rows": u[1:]})
    again["whole"][1, 0] = 99
    assert again["rows"][0, 0].item() == 99
    assert again["whole"].owner is again["rows"].owner


@pytest.mark.parametrize("weights_only", [True, False])
def test_both_ways_of_loading(weights_only: bool) -> None:
    assert td.is_unified(by_torch(td.unified(values()), weights_only=weights_only))


def test_map_location() -> None:
    u = td.unified(values())
    assert by_torch(u, map_location="cpu").tolist() == values().tolist()
    assert by_torch(u, map_location="meta").is_meta


@pytest.mark.gpu
def test_map_location_on_a_gpu() -> None:
    on_gpu = by_torch(td.unified(values()), map_location="cuda:0")
    assert type(on_gpu) is torch.Tensor
    assert on_gpu.is_cuda
    assert on_gpu.tolist() == values().tolist()


def test_a_state_dict() -> None:
    layer = torch.nn.Embedding(4, 3)
    layer.weight = torch.nn.Parameter(td.unified(values()))
    state = by_torch(layer.state_dict())
    plain = torch.nn.Embedding(4, 3)
    plain.load_state_dict(state)
    assert plain.weight.tolist() == values().tolist()
    other = torch.nn.Embedding(4, 3)
    other.load_state_dict(state, assign=True)
    assert td.is_unified(other.weight)
    assert isinstance(other.weight, torch.nn.Parameter)


def test_a_read_only_file_is_saved_by_its_values(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", values().numpy())
    again = by_torch(td.load(tmp_path / "x.npy"))
    again.add_(1)
    assert again.tolist() == (values() + 1).tolist()


def test_what_the_gpu_wrote_last_is_saved(carry: Any) -> None:
    u = td.zeros(1 << 20)
    for _ in range(20):
        u.add_(1)
    assert set(carry(u).cpu().tolist()) == {20.0}


def test_a_gradient_history_is_refused(carry: Any) -> None:
    with pytest.raises(RuntimeError, match="detach"):
        carry(td.unified(values()).requires_grad_()[1:])


def test_a_file_loaded_by_mapping_it(tmp_path: Path) -> None:
    torch.save(td.unified(values()), tmp_path / "u.pt")
    again = torch.load(tmp_path / "u.pt", mmap=True)
    assert again.tolist() == values().tolist()
