"""What the driver tells about a GPU, here from a driver that is made up."""

import sys
import types

import pytest
import torch

from torch_direct import nvml
from torch_direct.bench.machine import describe_machine
from torch_direct.diagnosis import Verdict, _link
from torch_direct.errors import MissingExtraError, NvmlError


class NVMLError(Exception):
    pass


class PretendedNvml(types.ModuleType):
    """The functions of nvidia-ml-py that are used."""

    NVMLError = NVMLError

    def __init__(self, **answers):
        super().__init__("pynvml")
        self.answers = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlSystemGetDriverVersion": "580.1",
            "nvmlDeviceGetCurrPcieLinkGeneration": 4,
            "nvmlDeviceGetCurrPcieLinkWidth": 8,
            "nvmlDeviceGetMaxPcieLinkGeneration": 5,
            "nvmlDeviceGetMaxPcieLinkWidth": 16,
            "nvmlDeviceGetTotalEnergyConsumption": 12_500,
            **answers,
        }
        self.asked = []

    def __getattr__(self, name):
        if name not in self.answers:
            raise AttributeError(name)

        def function(*arguments):
            self.asked.append((name, *arguments))
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return function


@pytest.fixture
def pretend(monkeypatch):
    """Pretend a GPU and a driver that answers so."""
    properties = types.SimpleNamespace(
        uuid="12-34", name="NVIDIA Pretended", total_memory=1, multi_processor_count=1
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    def install(**answers):
        module = PretendedNvml(**answers)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return module

    yield install
    monkeypatch.undo()


def test_a_gpu_is_found_by_its_uuid(pretend):
    module = pretend()
    gpu = nvml.Gpu()
    assert ("nvmlDeviceGetHandleByUUID", "GPU-12-34") in module.asked
    assert gpu.link() == nvml.Link(4, 8, 5, 16)
    assert gpu.driver_version() == "580.1"
    assert gpu.joules() == 12.5
    assert ("nvmlDeviceGetTotalEnergyConsumption", "handle") in module.asked


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_a_driver_that_does_not_answer(pretend, failing):
    pretend(**{failing: NVMLError("driver not loaded")})
    with pytest.raises(NvmlError, match="answered: driver not loaded; expected"):
        nvml.Gpu()


def test_an_answer_that_this_gpu_does_not_have(pretend):
    pretend(nvmlDeviceGetTotalEnergyConsumption=NVMLError("Not Supported"))
    gpu = nvml.Gpu(0)
    assert gpu.driver_version() == "580.1"
    with pytest.raises(NvmlError, match="Not Supported"):
        gpu.joules()


def test_without_the_library(pretend, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingExtraError, match="nvidia-ml-py is not installed"):
        nvml.Gpu()
    assert "nvidia-ml-py is not installed" in _link().found
    machine = describe_machine()
    assert (machine["gpu"], machine["driver"], machine["pcie"]) == ("NVIDIA Pretended", None, None)


def test_the_doctor_notices_lanes_that_are_not_used(pretend):
    pretend()
    found = _link()
    assert found.verdict is Verdict.NOTE
    assert found.found == "PCIe generation 4 x8 (at most 5 x16)"
    pretend(nvmlDeviceGetCurrPcieLinkWidth=16)
    assert _link().verdict is Verdict.GOOD


def test_the_machine_of_a_benchmark_has_its_link(pretend):
    pretend()
    machine = describe_machine()
    assert (machine["driver"], machine["pcie"]) == ("580.1", "generation 4 x8")


@pytest.mark.gpu
def test_the_real_driver_answers():
    pytest.importorskip("pynvml")
    gpu = nvml.Gpu()
    link = gpu.link()
    assert 1 <= link.generation <= link.most_generation
    assert 1 <= link.width <= link.most_width
    assert gpu.driver_version()[0].isdigit()
