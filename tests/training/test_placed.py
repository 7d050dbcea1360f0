import dataclasses

import pytest
import torch

import torch_direct as td
from torch_direct.errors import TorchDirectError
from torch_direct.tensor.create import is_unified
from torch_direct.training.placed import place, training_device


@pytest.mark.parametrize("placement", ["unified", "cpu", "gpu"])
def test_every_placement_holds_the_same(make_dataset, placement, device):
    if placement == "gpu" and device.type == "cpu":
        pytest.skip("nothing can be placed on a GPU that is not there")
    dataset = make_dataset()
    data = place(dataset, placement, device)
    assert torch.equal(data.x.cpu(), dataset.x)
    assert torch.equal(data.y.cpu(), dataset.y)
    assert torch.equal(data.graph.indices.cpu(), dataset.graph.indices)
    reader = torch.device("cpu") if placement == "cpu" else device
    assert {data.x.device, data.y.device, data.graph.indptr.device} == {reader}
    assert is_unified(data.x) == (placement == "unified" and device.type == "cuda")
    assert data.device == device


@pytest.mark.parametrize("unify", [False, True])
def test_rows_are_counted_as_they_are_stored(make_dataset, unify):
    dataset = make_dataset()
    x = dataset.x.half()
    dataset = dataclasses.replace(dataset, x=td.unified(x, device="cpu") if unify else x)
    data = place(dataset, "cpu", torch.device("cpu"))
    assert not is_unified(data.x)
    assert data.host_row_bytes == 6 * 2


def test_gpu_placement_needs_a_gpu(make_dataset):
    with pytest.raises(TorchDirectError, match="placement is 'gpu' and the device is the CPU"):
        place(make_dataset(), "gpu", torch.device("cpu"))


@pytest.mark.gpu
def test_gpu_placement_that_does_not_fit_is_refused_with_the_numbers(make_dataset, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    with pytest.raises(TorchDirectError, match="GB free: choose the placement unified"):
        place(make_dataset(), "gpu", training_device("cuda"))


def test_default_device_is_the_gpu_where_there_is_one():
    assert training_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["tpu", "mps", "cuda:99", ""])
def test_device_that_does_not_exist(name):
    with pytest.raises(ValueError, match=f"device is {name!r}; expected cpu or one of"):
        training_device(name)
