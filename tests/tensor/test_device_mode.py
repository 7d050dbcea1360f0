"""The spelling `device="unified"`, and that it leaves the rest of PyTorch alone."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import torch_direct as td


def test_nothing_happens_on_import() -> None:
    assert not hasattr(torch.Tensor, "unified")
    with pytest.raises(RuntimeError):
        torch.ones(2, device="unified")


def test_factories_make_unified_tensors() -> None:
    with td.device_mode():
        made = [
            torch.ones(2, 3, device="unified"),
            torch.zeros(2, 3, device="unified", dtype=torch.int32),
            torch.full((2, 3), 7, device="unified"),
            torch.tensor([[1, 2], [3, 4]], device="unified"),
            torch.arange(5, device="unified"),
            torch.randn(4, device="unified", requires_grad=True),
            torch.empty_like(torch.ones(3), device="unified"),
        ]
    assert all(td.is_unified(tensor) for tensor in made)
    assert made[0].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert made[1].dtype == torch.int32
    assert made[3].tolist() == [[1, 2], [3, 4]]
    assert made[5].requires_grad


def test_moving_keeps_the_memory_of_a_cpu_tensor() -> None:
    source = torch.arange(4.0)
    with td.device_mode():
        moved = [source.to("unified"), source.to(device="unified"), source.unified()]
        again = moved[0].to("unified")
        converted = source.to("unified", torch.float64)
        converted_again = moved[0].to("unified", torch.float16)
        flags = (source.is_unified, moved[0].is_unified)
    assert all(tensor.data_ptr() == source.data_ptr() for tensor in moved)
    assert again is moved[0]
    assert converted.dtype == torch.float64
    assert converted_again.dtype == torch.float16
    assert td.is_unified(converted)
    assert flags == (False, True)


def test_a_copy_of_a_unified_tensor_is_made_where_asked() -> None:
    with td.device_mode():
        u = torch.arange(4.0).to("unified")
        copies = [u.to("unified", copy=True), u.to(device="unified", copy=True)]
    for copied in copies:
        assert td.is_unified(copied)
        assert copied.data_ptr() != u.data_ptr()
        assert copied.tolist() == u.tolist()


def test_a_moved_tensor_says_which_device_reads_it() -> None:
    with td.device_mode():
        u = torch.ones(3, device="unified")
    assert u.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.gpu
def test_a_cuda_tensor_moves_to_host_memory() -> None:
    with td.device_mode():
        u = torch.arange(3.0, device="cuda").to("unified")
    assert td.is_unified(u)
    assert u.host.tolist() == [0, 1, 2]


def test_the_rest_is_as_before() -> None:
    accelerator = torch.accelerator.current_accelerator()
    data = TensorDataset(torch.arange(8.0))
    with td.device_mode():
        assert torch.accelerator.current_accelerator() == accelerator
        pins = torch.cuda.is_available()
        if pins:
            assert torch.ones(2).pin_memory().is_pinned()
        batches = list(DataLoader(data, batch_size=4, pin_memory=pins))
        assert torch.ones(2, device="cpu").device.type == "cpu"
        with pytest.raises(RuntimeError):
            torch.device("unified")
    assert [batch[0].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert not hasattr(torch.Tensor, "unified")
    assert not hasattr(torch.Tensor, "is_unified")


def test_other_threads_do_not_understand_it() -> None:
    errors: list[Exception] = []

    def ask() -> None:
        try:
            torch.ones(2, device="unified")
        except RuntimeError as error:
            errors.append(error)

    with td.device_mode():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(errors) == 1


def test_it_can_be_enabled_for_good() -> None:
    code = (
        "import torch, torch_direct as td\n"
        "td.enable_device(); td.enable_device()\n"
        "u = torch.ones(3, device='unified')\n"
        "assert td.is_unified(u) and u.is_unified and torch.ones(2).unified().is_unified\n"
        "with td.device_mode(): pass\n"
        "assert td.is_unified(torch.ones(2, device='unified')) and torch.ones(1).unified()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
