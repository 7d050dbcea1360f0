import time

import pytest
import torch

from torch_direct import nvml
from torch_direct.bench import energy
from torch_direct.bench.energy import Energy
from torch_direct.errors import NvmlError

CPU = torch.device("cpu")


class Zones:
    """Power zones as the kernel shows them."""

    def __init__(self, folder):
        self.folder = folder

    def set(self, zone, microjoules, name="package-0", most=1000_000_000):
        place = self.folder / zone
        place.mkdir(exist_ok=True)
        for file, value in (
            ("name", name),
            ("energy_uj", microjoules),
            ("max_energy_range_uj", most),
        ):
            (place / file).write_text(f"{value}\n")


@pytest.fixture
def zones(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_POWER_ZONES", tmp_path)
    return Zones(tmp_path)


def test_packages_are_added_and_their_parts_are_not(zones):
    zones.set("intel-rapl:0", 5_000_000)
    zones.set("intel-rapl:0:0", 1_000_000, name="core")
    zones.set("intel-rapl:1", 2_500_000, name="package-1")
    zones.set("intel-rapl:2", 9_000_000, name="psys")
    assert Energy(CPU).read() == (None, 7.5)


def test_a_counter_that_begins_anew_goes_on(zones):
    zones.set("intel-rapl:0", 990_000_000)
    counted = Energy(CPU)
    begin = counted.read().cpu
    for microjoules, used in ((999_000_000, 9), (4_000_000, 14), (8_000_000, 18)):
        zones.set("intel-rapl:0", microjoules)
        assert counted.read().cpu - begin == pytest.approx(used)


def test_no_figure_without_packages(zones):
    assert Energy(CPU).read() == (None, None)


def test_no_figure_where_a_package_cannot_be_read(zones):
    zones.set("intel-rapl:0", 1)
    zones.set("intel-rapl:1", 1)
    (zones.folder / "intel-rapl:1" / "energy_uj").unlink()
    assert Energy(CPU).read().cpu is None


def test_no_figure_of_a_gpu_that_does_not_count(zones, monkeypatch):
    class Gpu:
        def __init__(self, device):
            pass

        def joules(self):
            raise NvmlError("not supported")

    monkeypatch.setattr(nvml, "Gpu", Gpu)
    assert Energy(torch.device("cuda", 0)).read() == (None, None)


@pytest.mark.gpu
def test_a_gpu_at_work_uses_energy():
    pytest.importorskip("pynvml")
    device = torch.device("cuda", 0)
    counted = Energy(device)
    begin = counted.read().gpu
    if begin is None:
        pytest.skip("needs a GPU that counts its energy")
    x = torch.randn(4096, 4096, device=device)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        x = torch.tanh(x @ x)
        torch.cuda.synchronize()
    assert 1 < counted.read().gpu - begin < 10_000
