"""What the driver's monitoring library (NVML) tells about a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from torch_direct.errors import MissingExtraError, NvmlError


@dataclass(frozen=True)
class Link:
    """The PCIe link of a GPU."""

    generation: int
    width: int
    """Lanes in use."""
    most_generation: int
    most_width: int
    """What GPU and slot allow."""


class Gpu:
    """A GPU as NVML knows it.

    It is found by its UUID, since NVML counts the GPUs that CUDA_VISIBLE_DEVICES hides too. NVML is
    opened, and stays open to the end of the process.

    Args:
        device: A CUDA device; None is the current one. Starts CUDA.

    Raises:
        MissingExtraError: nvidia-ml-py is not installed.
        NvmlError: The driver does not answer. So do all methods.
    """

    def __init__(self, device: torch.device | int | None = None) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise MissingExtraError(
                "nvidia-ml-py is not installed; it asks the driver about the GPU: "
                "pip install 'torch-direct[train]'"
            ) from error
        index = torch.cuda.current_device() if device is None else device
        uuid = torch.cuda.get_device_properties(index).uuid
        self._nvml = pynvml
        with self._errors():
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")

    def link(self) -> Link:
        """Return the PCIe link, as it is now and as it could be."""
        with self._errors():
            return Link(
                self._nvml.nvmlDeviceGetCurrPcieLinkGeneration(self._handle),
                self._nvml.nvmlDeviceGetCurrPcieLinkWidth(self._handle),
                self._nvml.nvmlDeviceGetMaxPcieLinkGeneration(self._handle),
                self._nvml.nvmlDeviceGetMaxPcieLinkWidth(self._handle),
            )

    def driver_version(self) -> str:
        """Return the release of the driver, such as ``580.159.04``."""
        with self._errors():
            return str(self._nvml.nvmlSystemGetDriverVersion())

    def joules(self) -> float:
        """Return the energy that the GPU has used since the driver was loaded.

        The driver renews it some ten times a second. GPUs before Volta do not count it.
        """
        with self._errors():
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._nvml.NVMLError as error:
            raise NvmlError(
                f"the driver's monitoring library answered: {error}; expected what it knows of the "
                "GPU. Does nvidia-smi show the GPU?"
            ) from error
