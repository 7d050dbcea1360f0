"""Gradients of and through unified tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

import torch_direct as td
from torch_direct.errors import HostMemoryError, PlacementError

READS: dict[str, Any] = {
    "u[i]": lambda w, i: w[i],
    "gather": lambda w, i: td.gather(w, i),
    "index_select": lambda w, i: torch.index_select(w, 0, i),
    "embedding": lambda w, i: F.embedding(i, w),
    "slice": lambda w, i: w[1:4],
    "whole": lambda w, i: w * 3,
}


ROW_READS = ("u[i]", "gather", "index_select", "embedding")


def weights(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.arange(10, dtype=dtype).view(5, 2) / 7


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_gradients_are_plain_and_those_of_a_plain_table(device: torch.device, read: Any) -> None:
    index = torch.tensor([4, 1, 1, 0, 1])
    plain = weights().requires_grad_()
    (read(plain, index) ** 2).sum().backward()
    table = torch.nn.Parameter(td.unified(weights()))
    # PyTorch's backward pass of these two needs the index where the table is read.
    needs_device = read in (READS["index_select"], READS["embedding"])
    if needs_device and table.is_cuda and device.type == "cpu":
        with pytest.raises(PlacementError, match="backward"):
            read(table, index)
        return
    (read(table, index.to(device)) ** 2).sum().backward()
    assert type(table.grad) is torch.Tensor
    assert table.grad.device == table.device
    torch.testing.assert_close(table.grad.cpu(), plain.grad)


def test_a_parameter_is_a_unified_tensor() -> None:
    table = torch.nn.Parameter(td.unified(weights()))
    assert isinstance(table, torch.nn.Parameter)
    assert td.is_unified(table)
    assert table.is_leaf
    assert table.requires_grad


@pytest.mark.parametrize("read", ["u[i]", "gather"])
def test_first_and_second_derivatives(device: torch.device, read: str) -> None:
    index = torch.tensor([4, 1, 1, -5], device=device)
    table = td.unified(weights(torch.float64)).requires_grad_()
    plain = weights(torch.float64).to(table.device).requires_grad_()
    for w in (table, plain):
        loss = (READS[read](w, index) ** 3).sum()
        (first,) = torch.autograd.grad(loss, w, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), w)
        rows = weights(torch.float64)[[4, 1, 1, 0]]
        expected_first, expected_second = torch.zeros(2, 5, 2, dtype=torch.float64)
        expected_first.index_add_(0, torch.tensor([4, 1, 1, 0]), 3 * rows**2)
        expected_second.index_add_(0, torch.tensor([4, 1, 1, 0]), 6 * rows)
        torch.testing.assert_close(first.cpu(), expected_first)
        torch.testing.assert_close(second.cpu(), expected_second)


@pytest.mark.parametrize("index_dtype", [torch.uint8, torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("make", [td.unified, torch.clone], ids=["unified", "plain"])
def test_gather_is_differentiated_forward(
    device: torch.device, make: Any, index_dtype: torch.dtype
) -> None:
    table = make(weights())
    index = torch.tensor([4, 1, 1], dtype=index_dtype, device=device)
    tangent = torch.arange(10.0, device=table.device).view(5, 2)

    def squares(w: torch.Tensor) -> torch.Tensor:
        return td.gather(w, index) ** 2

    expected = (2 * weights() * tangent.cpu())[[4, 1, 1]]
    with forward_ad.dual_level():
        rows = squares(forward_ad.make_dual(table, tangent))
        torch.testing.assert_close(forward_ad.unpack_dual(rows).tangent.cpu(), expected)
    primal, by_func = torch.func.jvp(squares, (table,), (tangent,))
    torch.testing.assert_close(by_func.cpu(), expected)
    torch.testing.assert_close(primal.cpu(), weights()[[4, 1, 1]] ** 2)


def test_gather_is_differentiated_by_torch_func(device: torch.device) -> None:
    table, index = td.unified(weights()), torch.tensor([4, 1, 1], device=device)
    gradient = torch.func.grad(lambda w: (td.gather(w, index) ** 2).sum())(table)
    expected = torch.zeros(5, 2).index_add_(0, torch.tensor([4, 1, 1]), 2 * weights()[[4, 1, 1]])
    torch.testing.assert_close(gradient.cpu(), expected)


def test_gather_into_a_given_tensor_has_no_derivative(device: torch.device) -> None:
    table, index = td.unified(weights()), torch.tensor([4, 1], device=device)
    out = torch.empty(2, 2, device=table.device)
    with forward_ad.dual_level():
        assert td.gather(table, index, out=out) is out
        dual = forward_ad.make_dual(table, torch.ones(5, 2, device=table.device))
        with pytest.raises(ValueError, match="differentiated"):
            td.gather(dual, index, out=out)


@pytest.mark.parametrize("inner", [(), (3,), (2, 3)])
def test_gradients_of_gather_for_any_shape(device: torch.device, inner: tuple[int, ...]) -> None:
    table = td.unified(torch.zeros(4, *inner)).requires_grad_()
    index = torch.tensor([[3, 0], [3, -1]], dtype=torch.int32, device=device)
    td.gather(table, index).sum().backward()
    assert table.grad is not None
    times = torch.tensor([1.0, 0.0, 0.0, 3.0]).view(-1, *[1] * len(inner))
    assert torch.equal(table.grad.cpu(), times.expand(4, *inner))


@pytest.mark.parametrize("sparse", [False, True])
def test_an_embedding_is_trained(sparse: bool) -> None:
    results = []
    for table in (weights(), td.unified(weights())):
        layer = torch.nn.Embedding(5, 2, sparse=sparse, padding_idx=0)
        layer.weight = torch.nn.Parameter(table)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.tensor([0, 3, 3, 1], device=layer.weight.device)).pow(2).sum().backward()
            assert layer.weight.grad is not None
            assert layer.weight.grad.is_sparse is sparse
            optimizer.step()
        results.append(layer.weight.detach().cpu())
        assert type(layer.weight.detach()) is type(table)
    torch.testing.assert_close(*results)


def test_adam_trains_a_table() -> None:
    results = []
    for table in (weights(), td.unified(weights())):
        w = torch.nn.Parameter(table)
        optimizer = torch.optim.Adam([w], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            w[torch.tensor([0, 3, 3], device=w.device)].pow(2).sum().backward()
            optimizer.step()
        results.append(w.detach().cpu())
    torch.testing.assert_close(*results)


def test_training_writes_into_the_same_memory() -> None:
    memory = weights()
    w = torch.nn.Parameter(td.unified(memory))
    w.sum().backward()
    torch.optim.SGD([w], lr=1.0).step()
    td.check()
    assert torch.equal(memory, weights() - 1)


def test_the_gradient_of_other_operands(device: torch.device) -> None:
    u = td.unified(weights())
    weight = torch.ones(2, 1, device=u.device, requires_grad=True)
    (u[torch.tensor([1, 1], device=device)] @ weight).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad.cpu(), 2 * weights()[1].view(2, 1))


def test_no_grad_and_inference_mode(device: torch.device) -> None:
    table = td.unified(weights()).requires_grad_()
    index = torch.tensor([1, 4], device=device)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            for rows in (table[index], td.gather(table, index), table * 2):
                assert not rows.requires_grad
            out = torch.empty(2, 2, device=table.device)
            assert torch.equal(td.gather(table, index, out=out).cpu(), weights()[[1, 4]])
    assert table[index].requires_grad
    with torch.inference_mode():
        made = td.unified(weights())
        made.add_(1)
    assert torch.equal(made[index].cpu(), weights()[[1, 4]] + 1)


def test_in_place_on_a_leaf_that_requires_a_gradient_is_refused() -> None:
    table = td.unified(weights()).requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        table[torch.tensor([0])] = 1.0
    with pytest.raises(RuntimeError, match="leaf"):
        table.add_(1)


class TinyGpu:
    """The GPU's properties, but for its memory."""

    total_memory = 39
    _read = staticmethod(torch.cuda.get_device_properties)

    def __init__(self, device: Any = None) -> None:
        self._properties = self._read(device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._properties, name)


@pytest.mark.gpu
@pytest.mark.parametrize("read", ["u[i]", "gather", "index_select", "embedding"])
def test_a_gradient_larger_than_the_gpu_is_refused(
    read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = td.unified(weights()).requires_grad_()
    index = torch.tensor([0], device="cuda")
    monkeypatch.setattr(torch.cuda, "get_device_properties", TinyGpu)
    with pytest.raises(HostMemoryError, match=r"40 bytes.*39 bytes"):
        READS[read](table, index).sum().backward()
    monkeypatch.undo()
    READS[read](table.detach(), index)


@pytest.mark.gpu
def test_a_sparse_gradient_needs_no_room_for_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = td.unified(weights()).requires_grad_()
    monkeypatch.setattr(torch.cuda, "get_device_properties", TinyGpu)
    F.embedding(torch.tensor([0, 0], device="cuda"), table, sparse=True).sum().backward()
    assert table.grad is not None
    assert table.grad.is_sparse


def test_moving_to_the_cpu_keeps_the_gradient_history(device: torch.device) -> None:
    table = td.unified(weights()).requires_grad_()
    (table.cpu() * 3).sum().backward()
    assert table.grad is not None
    assert torch.equal(table.grad.cpu(), torch.full((5, 2), 3.0))
    with pytest.raises(RuntimeError, match="detach"):
        table.numpy()
    assert table.numpy(force=True).shape == (5, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("read", [READS[name] for name in ROW_READS], ids=ROW_READS)
def test_a_row_out_of_range_is_raised_before_the_backward_pass_can_meet_it(read: Any) -> None:
    table = torch.nn.Parameter(td.unified(weights()))
    bad = torch.tensor([1, 99], device="cuda")

    def train() -> None:
        read(table, bad).sum().backward()
        td.check()

    with pytest.raises(IndexError, match="99"):
        train()
    assert torch.ones(2, device="cuda").sum().item() == 2
