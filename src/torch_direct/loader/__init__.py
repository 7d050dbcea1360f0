"""Loaders with PyG's names, arguments and batches, that read host memory from the GPU."""

from __future__ import annotations

from torch_direct.loader.link import LinkNeighborLoader
from torch_direct.loader.neighbor import NeighborLoader
from torch_direct.loader.pyg import PyGSampler, prepare

__all__ = ["LinkNeighborLoader", "NeighborLoader", "PyGSampler", "prepare"]
