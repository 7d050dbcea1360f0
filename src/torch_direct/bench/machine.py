"""What a benchmark ran on: hardware and versions, and nothing that names the host or its user."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from torch_direct import __version__, nvml
from torch_direct.errors import MissingExtraError, NvmlError
from torch_direct.memory.pages import memory_info

_PACKAGES = {
    "triton": "triton",
    "wholegraph": "pylibwholegraph-cu13",
    "pyg": "torch-geometric",
    "pyg_lib": "pyg-lib",
    "torch_sparse": "torch-sparse",
}


def describe_machine() -> dict[str, Any]:
    """Return the machine and the versions of what runs on it; None for what is not there.

    Starts CUDA where there is a GPU. ``memory_bytes`` is the host's.
    """
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "gpu": gpu.name if gpu else None,
        "gpu_memory_bytes": gpu.total_memory if gpu else None,
        "multiprocessors": gpu.multi_processor_count if gpu else None,
        **(_link() if gpu else {"driver": None, "pcie": None}),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory_info()["MemTotal"],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "torch_direct": __version__,
        **{name: _version(package) for name, package in _PACKAGES.items()},
    }


def short_name(machine: dict[str, Any]) -> str:
    """Return the GPU as a part of a file name, such as ``h100-80gb-hbm3``; ``cpu`` without one."""
    gpu = (machine["gpu"] or "cpu").lower().removeprefix("nvidia ")
    return re.sub(r"[^a-z0-9]+", "-", gpu).strip("-")


def _link() -> dict[str, str | None]:
    """Return the driver's version and the PCIe link of the first GPU, as far as NVML tells."""
    try:
        gpu = nvml.Gpu(0)
        link, driver = gpu.link(), gpu.driver_version()
    except (MissingExtraError, NvmlError):
        return {"driver": None, "pcie": None}
    return {"driver": driver, "pcie": f"generation {link.generation} x{link.width}"}


def _cpu_name() -> str | None:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return _version_of_module(package.replace("-", "_"))


def _version_of_module(name: str) -> str | None:
    """Return what a library says of itself that was put there without its metadata."""
    try:
        version: str | None = getattr(import_module(name), "__version__", None)
    except (ImportError, OSError, RuntimeError):
        return None
    return version
