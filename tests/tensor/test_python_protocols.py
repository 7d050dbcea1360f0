"""Unified tensors as Python, NumPy, modules and data loaders see them."""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import torch_direct as td
from torch_direct.errors import MovedMemoryError, ReadOnlyError, UnifiedMemoryError


def values() -> torch.Tensor:
    return torch.arange(12.0).view(4, 3)


def test_numpy_is_the_same_memory() -> None:
    x = values()
    u = td.unified(x)
    array = u.numpy()
    assert isinstance(array, np.ndarray)
    array[1, 2] = -1
    assert x[1, 2] == u[1, 2].item() == -1
    assert u[2:, 1].numpy().tolist() == [7, 10]
    assert u.numpy(force=True).tolist() == x.tolist()


def test_numpy_sees_what_was_written_just_before() -> None:
    u = td.zeros(1 << 20)
    for step in range(1, 5):
        u.add_(1)
        assert u.numpy()[-1] == step


@pytest.mark.parametrize("make", [np.asarray, np.array, lambda u: np.asarray(u, dtype=np.float64)])
def test_numpy_takes_a_unified_tensor(make: Any) -> None:
    array = make(td.unified(values()))
    assert array.tolist() == values().tolist()


def test_numpy_copies_where_it_is_asked_to() -> None:
    x = values()
    u = td.unified(x)
    copied, shared = np.array(u, copy=True), np.asarray(u)
    x[0, 0] = 99
    assert copied[0, 0] == 0
    assert shared[0, 0] == 99
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert np.asarray(u, copy=False)[0, 0] == 99
        with pytest.raises(ValueError, match="copy"):
            np.asarray(u, dtype=np.float64, copy=False)


def test_numpy_functions() -> None:
    u = td.unified(values())
    assert np.sum(np.asarray(u)) == 66
    assert float(np.asarray(u[0, 1])) == 1.0


def test_lists_and_numbers() -> None:
    u = td.unified(values())
    assert u.tolist() == values().tolist()
    assert u[1].tolist() == [3, 4, 5]
    assert u[1, 2].item() == 5
    assert float(u[1, 2]) == 5.0
    assert int(u[1, 2]) == 5
    assert complex(u[1, 2]) == 5
    assert operator.index(td.unified(torch.tensor([7]))[0]) == 7
    assert bool(u[1, 2])
    assert not u[0, 0]
    assert len(u) == 4
    assert u.nelement() == 12
    with pytest.raises(TypeError):
        len(u[0, 0])
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(u)
    with pytest.raises((RuntimeError, ValueError)):
        u.item()


def test_iteration_gives_unified_rows() -> None:
    u = td.unified(values())
    rows = list(u)
    assert [row.tolist() for row in rows] == values().tolist()
    assert all(td.is_unified(row) and row.owner is u.owner for row in rows)
    first, *_ = u
    first.zero_()
    assert u[0].tolist() == [0, 0, 0]
    assert 11.0 in u
    assert {u: "by identity"}[u] == "by identity"


@pytest.mark.parametrize("spec", [".2f", ">8.1e", "g"])
def test_format_of_a_number(spec: str) -> None:
    assert format(td.unified(values())[1, 2], spec) == format(5.0, spec)


def test_repr_says_values_type_and_device() -> None:
    u = td.unified(values())
    text = repr(u)
    assert text.startswith("UnifiedTensor([[")
    assert "11." in text
    assert f"device='{u.device}'" in text
    assert "requires_grad=True" in repr(torch.nn.Parameter(u))
    assert "dtype=torch.int16" in repr(td.zeros(2, dtype=torch.int16))
    assert f"{u}" == str(u) == text


def test_repr_of_a_big_tensor_is_short() -> None:
    text = repr(td.zeros(100_000, 100))
    assert len(text) < 1000
    assert "..." in text


def test_repr_of_nothing() -> None:
    assert "size=(0, 3)" in repr(td.empty(0, 3))
    assert "5." in repr(td.unified(values())[1, 2])


@pytest.mark.parametrize(
    "view", [lambda u: u, lambda u: u[1:], lambda u: u.t(), lambda u: u[:, ::2], lambda u: u[:0]]
)
def test_deepcopy(view: Any) -> None:
    u = view(td.unified(values(), propagate=False))
    copied = copy.deepcopy(u)
    assert type(copied) is td.UnifiedTensor
    assert (copied.stride(), copied.device, copied.propagate) == (u.stride(), u.device, False)
    assert copied.tolist() == u.tolist()
    assert copied.owner is not u.owner
    copied.zero_()
    assert u.tolist() == view(values()).tolist()


def test_deepcopy_of_views_keeps_their_sharing() -> None:
    u = td.unified(values())
    whole, rows = copy.deepcopy([u, u[1:]])
    whole[1, 0] = 99
    assert rows[0, 0].item() == 99


def test_deepcopy_of_one_tensor_twice() -> None:
    u = td.unified(values())
    first, second = copy.deepcopy([u, u])
    assert first is second


def test_deepcopy_of_a_parameter() -> None:
    w = torch.nn.Parameter(td.unified(values()))
    w.sum().backward()
    w.note = ["kept"]
    copied = copy.deepcopy(w)
    assert isinstance(copied, torch.nn.Parameter)
    assert copied.requires_grad
    assert copied.note == ["kept"]
    assert copied.grad is not None
    assert copied.grad is not w.grad
    assert torch.equal(copied.grad, w.grad)


def test_deepcopy_of_shared_memory_is_shared_memory() -> None:
    assert copy.deepcopy(td.zeros(3, shared=True)).is_shared()


def test_deepcopy_needs_a_leaf() -> None:
    with pytest.raises(RuntimeError, match="detach"):
        copy.deepcopy(td.unified(values()).requires_grad_()[1:])


def test_copy_shares_the_memory() -> None:
    u = td.unified(values())
    shallow = copy.copy(u)
    assert shallow.owner is u.owner
    shallow[0] = 9
    assert u[0].tolist() == [9, 9, 9]
    assert isinstance(copy.copy(torch.nn.Parameter(u)), torch.nn.Parameter)


def test_a_copy_is_as_read_only_as_the_tensor() -> None:
    array = np.frombuffer(b"abcdefgh", dtype=np.uint8)
    with pytest.raises(ReadOnlyError):
        copy.copy(td.from_numpy(array))[0] = 0
    parameter = torch.nn.Parameter(td.unified(values()).as_read_only(), requires_grad=False)
    with pytest.raises(ReadOnlyError):
        copy.copy(parameter).zero_()


def test_a_copy_keeps_what_a_tensor_is() -> None:
    u = td.unified(values(), propagate=False)[1:].requires_grad_()
    u.note = "kept"
    shallow = copy.copy(u)
    assert (shallow.note, shallow.propagate, shallow.requires_grad) == ("kept", False, True)
    assert (shallow.shape, shallow.data_ptr()) == (u.shape, u.data_ptr())
    with pytest.raises(RuntimeError, match="detach"):
        copy.copy(u[1:])


def embedding() -> torch.nn.Embedding:
    layer = torch.nn.Embedding(4, 3)
    layer.weight = torch.nn.Parameter(td.unified(values()))
    layer.register_buffer("scale", td.unified(torch.full((3,), 2.0)))
    return layer


def test_deepcopy_of_a_module() -> None:
    layer = embedding()
    copied = copy.deepcopy(layer)
    assert td.is_unified(copied.weight)
    assert td.is_unified(copied.scale)
    assert isinstance(copied.weight, torch.nn.Parameter)
    with torch.no_grad():
        copied.weight.zero_()
    assert layer.weight.tolist() == values().tolist()


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [("double", torch.float64), ("half", torch.float16), ("bfloat16", torch.bfloat16)],
)
def test_a_module_changes_its_dtype(convert: str, dtype: torch.dtype) -> None:
    layer = getattr(embedding(), convert)()
    assert isinstance(layer.weight, torch.nn.Parameter)
    assert td.is_unified(layer.weight)
    assert layer.weight.dtype == layer.scale.dtype == dtype
    assert layer.weight.host.dtype == dtype
    assert layer.weight.tolist() == values().tolist()
    index = torch.tensor([3, 0], device=layer.weight.device)
    layer(index).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == dtype


def test_new_values_are_as_read_only_as_they_were() -> None:
    u = td.unified(values())
    u.data = td.unified(values()).as_read_only()
    with pytest.raises(ReadOnlyError):
        u.zero_()


def test_shared_memory_takes_new_values_into_shared_memory() -> None:
    u = td.zeros(4, 3, shared=True)
    u.data = values().to(u.device)
    assert u.is_shared()
    assert torch.equal(u.cpu(), values())


def test_a_module_stays_where_it_is_when_it_moves_to_its_device() -> None:
    layer = embedding()
    owner = layer.weight.owner
    layer.to(layer.weight.device)
    assert layer.weight.owner is owner
    assert td.is_unified(layer.weight)
    assert isinstance(layer.weight, torch.nn.Parameter)


def test_a_state_dict_is_loaded_into_the_same_memory() -> None:
    layer = embedding()
    owner = layer.weight.owner
    layer.load_state_dict({"weight": values() + 1, "scale": torch.ones(3)})
    assert layer.weight.owner is owner
    assert layer.weight.tolist() == (values() + 1).tolist()


def test_pinning_returns_the_tensor_itself() -> None:
    u = td.unified(values())
    assert u.pin_memory() is u
    assert u.is_pinned() is torch.cuda.is_available()


@pytest.mark.gpu
def test_record_stream_and_copies_on_another_stream() -> None:
    stream = torch.cuda.Stream()
    u = td.full((1 << 20,), 3.0)
    with torch.cuda.stream(stream):
        on_gpu = u * 2
    u.record_stream(stream)
    del u
    td.full((1 << 20,), 7.0)
    stream.synchronize()
    assert set(on_gpu.unique().tolist()) == {6.0}


def test_private_memory_cannot_be_shared_later() -> None:
    u = td.unified(values())
    assert not u.is_shared()
    with pytest.raises(UnifiedMemoryError, match="shared=True"):
        u.share_memory_()
    shared = td.zeros(3, shared=True)
    assert shared.share_memory_() is shared


@pytest.mark.parametrize(
    "resize",
    [
        lambda u: u.resize_(100),
        lambda u: u.resize_as_(torch.ones(100)),
        lambda u: u.set_(torch.ones(100)),
        lambda u: u[1:].resize_(100),
    ],
)
def test_unified_memory_cannot_be_resized(resize: Any) -> None:
    u = td.unified(values())
    with pytest.raises(UnifiedMemoryError):
        resize(u)
    assert u.tolist() == values().tolist()


def test_the_size_that_it_has_is_no_resizing() -> None:
    u = td.unified(values())
    assert u.resize_(4, 3) is u
    assert u.resize_as_(values()) is u


def test_memory_that_a_source_took_away_is_not_read() -> None:
    x = values()
    u, rows = td.unified(x), td.unified(x)[2:]
    x.share_memory_()
    for use in (u.tolist, rows.tolist, lambda: copy.deepcopy(u), lambda: rows.add_(1)):
        with pytest.raises(MovedMemoryError):
            use()


def test_user_attributes_are_kept() -> None:
    u = td.unified(values())
    u.name_of_mine = "x"
    assert copy.deepcopy(u).name_of_mine == "x"
    u.notes = ["y"]
    copied = copy.deepcopy(u).notes
    assert copied == u.notes
    assert copied is not u.notes


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("pick", ["rows", "batches"])
def test_data_loader_over_shared_memory(num_workers: int, pick: str) -> None:
    u = td.empty(6, 3, shared=True)
    u.copy_(torch.arange(18.0).view(6, 3))
    loader: Any = DataLoader(
        TensorDataset(u) if pick == "rows" else Batches(u),
        batch_size=2 if pick == "rows" else None,
        num_workers=num_workers,
        multiprocessing_context="fork" if num_workers else None,
    )
    seen = [batch[0] if pick == "rows" else batch for batch in loader]
    assert torch.cat([batch.cpu() for batch in seen]).tolist() == u.tolist()


class Batches(torch.utils.data.Dataset):
    """Whole batches by one index, as a graph sampler does."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def __len__(self) -> int:
        return 3

    def __getitem__(self, batch: int) -> torch.Tensor:
        return self.table[torch.tensor([2 * batch, 2 * batch + 1])]
