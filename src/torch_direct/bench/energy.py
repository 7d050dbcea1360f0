"""How much energy a machine has used."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from torch_direct import nvml
from torch_direct.errors import MissingExtraError, NvmlError

_POWER_ZONES = Path("/sys/class/powercap")


class Joules(NamedTuple):
    """Energy used up to now, to be subtracted from a later one; None where it is not measured."""

    gpu: float | None
    """By NVML: the board, its memory included."""
    cpu: float | None
    """By RAPL: all processor packages, without the host's memory."""


class Energy:
    """The energy counters of a machine.

    Where a counter cannot be read, its figure is None: NVML's needs nvidia-ml-py and a GPU of 2017
    or later, RAPL's a processor that has it, not hidden by a virtual machine, and on most systems
    root.

    Args:
        device: The GPU, whose energy is counted; a CPU has none.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = _gpu_with_counter(device)
        self._packages = _readable_packages()

    def read(self) -> Joules:
        """Return the joules so far.

        RAPL's counters begin anew after some 260,000 J, 20 minutes at 200 W: read more often.
        """
        gpu = self._gpu.joules() if self._gpu else None
        cpu = sum(package.joules() for package in self._packages) if self._packages else None
        return Joules(gpu, cpu)


def _gpu_with_counter(device: torch.device) -> nvml.Gpu | None:
    if device.type != "cuda":
        return None
    try:
        gpu = nvml.Gpu(device)
        gpu.joules()
    except (MissingExtraError, NvmlError):
        return None
    return gpu


def _readable_packages() -> list[_Package]:
    """Return all packages, or none where one of them cannot be read."""
    try:
        zones = [
            zone
            for zone in sorted(_POWER_ZONES.glob("intel-rapl:*"))
            if (zone / "name").read_text().startswith("package")
        ]
        return [_Package(zone) for zone in zones]
    except OSError:
        return []


class _Package:
    """The counter of one processor package, AMD's too, going on where the hardware's wraps."""

    def __init__(self, zone: Path) -> None:
        self._counter = zone / "energy_uj"
        self._range = _number(zone / "max_energy_range_uj")
        self._last = self._total = _number(self._counter)

    def joules(self) -> float:
        now = _number(self._counter)
        used = now - self._last
        self._total += used if used >= 0 else used + self._range
        self._last = now
        return self._total / 1e6


def _number(path: Path) -> int:
    return int(path.read_text())
