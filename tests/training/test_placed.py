import pytest
import torch

from torch_direct.errors import TorchDirectError
from torch_direct.training.placed import place, training_device


@pytest.mark.parametrize("placement", ["unified", "cpu", "gpu"])
def test_every_placement_reads_the_same(make_dataset, placement, device):
    if placement == "gpu" and device.type == "cpu":
        pytest.skip("nothing can be placed on a GPU that is not there")
    dataset = make_dataset()
    data = place(dataset, placement, device)
    n_id = torch.tensor([5, 0, 5, 119])
    on_device = n_id.to(data.sample_device)
    assert torch.equal(data.gather(on_device).cpu(), dataset.x[n_id])
    assert torch.equal(data.labels(on_device).cpu(), dataset.y[n_id])
    assert torch.equal(data.degree(on_device).cpu(), dataset.graph.degree(n_id))
    assert {data.gather(on_device).device, data.degree(on_device).device} == {device}
    assert data.host_row_bytes == (0 if placement == "gpu" else 6 * 4)


def test_half_precision_rows_are_counted_as_stored_and_computed_in_float32(make_dataset):
    dataset = make_dataset()
    object.__setattr__(dataset, "x", dataset.x.half())
    data = place(dataset, "unified", torch.device("cpu"))
    assert data.gather(torch.tensor([3])).dtype == torch.float32
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
