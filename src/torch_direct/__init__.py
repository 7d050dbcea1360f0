"""Unified tensors for stock PyTorch: the GPU reads graph data straight out of host memory.

    import torch_direct as td

    x = td.unified(x)     # x stays where it is; the GPU reads it from there
    h = x[n_id]           # rows on the GPU, without a copy of x

Importing this package touches neither CUDA nor Triton nor PyG.
"""

from typing import TYPE_CHECKING, Any

from torch_direct import errors
from torch_direct.graph import Graph, HeteroGraph
from torch_direct.memory.summary import empty_cache, memory_stats, memory_summary
from torch_direct.sampler import NeighborSampler
from torch_direct.tensor import serialize as _serialize  # noqa: F401  registers with torch
from torch_direct.tensor.create import (
    empty,
    empty_like,
    from_numpy,
    full,
    is_unified,
    load,
    unified,
    zeros,
)
from torch_direct.tensor.device_mode import device_mode, enable_device
from torch_direct.tensor.faults import check
from torch_direct.tensor.gather import gather
from torch_direct.tensor.unified import UnifiedTensor

if TYPE_CHECKING:
    from torch_direct.loader import LinkNeighborLoader, NeighborLoader, prepare

__version__ = "0.1.0"

__all__ = [
    "Graph",
    "HeteroGraph",
    "LinkNeighborLoader",
    "NeighborLoader",
    "NeighborSampler",
    "UnifiedTensor",
    "check",
    "device_mode",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_device",
    "errors",
    "from_numpy",
    "full",
    "gather",
    "is_unified",
    "load",
    "memory_stats",
    "memory_summary",
    "prepare",
    "unified",
    "zeros",
]

_FROM_LOADER = ("LinkNeighborLoader", "NeighborLoader", "prepare")


def __getattr__(name: str) -> Any:
    """Import what needs PyG when it is asked for."""
    if name not in _FROM_LOADER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from torch_direct import loader
    except ModuleNotFoundError as error:
        if error.name != "torch_geometric":
            raise
        raise errors.MissingExtraError(
            f"torch_direct.{name} needs PyTorch Geometric, which is not installed; install it "
            "with pip install 'torch-direct[train]'"
        ) from error
    return getattr(loader, name)
