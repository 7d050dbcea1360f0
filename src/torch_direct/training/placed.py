"""A data set put where batches are made of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torch_direct.datasets import NodeDataset
from torch_direct.errors import TorchDirectError
from torch_direct.graph import Graph
from torch_direct.graph.plain import in_host_memory
from torch_direct.tensor.create import unified


@dataclass(frozen=True, eq=False)
class PlacedData:
    """Graph, features and labels where batches are made of them."""

    graph: Graph
    """Read by the device that makes the batches."""
    x: Tensor
    """Features `[num_nodes, num_features]`."""
    y: Tensor
    """Labels, int64 `[num_nodes]`."""
    device: torch.device
    """Where the model computes."""
    host_row_bytes: int
    """Bytes that gathering one row of features reads out of host memory."""


def training_device(name: str | None = None) -> torch.device:
    """Return the device `name`, by default the current GPU, or the CPU where CUDA is missing.

    Raises:
        ValueError: `name` is neither the CPU nor a CUDA device of this machine.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type != "cuda" or (device.index or 0) >= count:
        raise ValueError(
            f"device is {name!r}; expected cpu or one of the {count} CUDA devices of this machine "
            "(`torch-direct doctor` looks for what is missing)"
        )
    return torch.device(
        "cuda", torch.cuda.current_device() if device.index is None else device.index
    )


def place(dataset: NodeDataset, placement: str, device: torch.device) -> PlacedData:
    """Put the data set where `placement` says.

    Args:
        dataset: A data set in host memory, plain or unified.
        placement: `"unified"`: everything stays in host memory and the GPU reads it there.
            `"cpu"`: everything stays in host memory, the CPU samples and gathers, and batches are
            copied. `"gpu"`: everything is copied to the GPU first. Where `device` is the CPU, the
            first two are the same.
        device: Where the model computes.

    Raises:
        TorchDirectError: `"gpu"` without a GPU, or with one that has too little free memory.
        UnifiedMemoryError: Host memory cannot be registered with CUDA.
    """
    graph, x, y = dataset.graph, dataset.x, dataset.y
    row_bytes = x.size(1) * x.element_size()
    if placement == "unified" and device.type == "cuda":
        x, y = unified(x, device=device), unified(y, device=device)
        return PlacedData(graph.to_unified(device), x, y, device, row_bytes)
    x, y = in_host_memory(x), in_host_memory(y)
    if placement == "gpu":
        _check_fits((x, y, *graph.tensors().values()), device)
        return PlacedData(graph.to(device), x.to(device), y.to(device), device, 0)
    return PlacedData(graph.to("cpu"), x, y, device, row_bytes)


def _check_fits(tensors: tuple[Tensor, ...], device: torch.device) -> None:
    if device.type != "cuda":
        raise TorchDirectError(
            "placement is 'gpu' and the device is the CPU; expected an NVIDIA GPU that CUDA can "
            "use: choose the placement unified or cpu, or see what torch-direct doctor says"
        )
    needed = sum(tensor.nbytes for tensor in tensors)
    free, _ = torch.cuda.mem_get_info(device)
    if needed > free:
        raise TorchDirectError(
            f"placement is 'gpu' and graph and features take {needed / 1e9:.2f} GB; {device} has "
            f"{free / 1e9:.2f} GB free: choose the placement unified, which leaves them in host "
            "memory"
        )
