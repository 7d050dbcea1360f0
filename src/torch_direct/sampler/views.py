"""Tensors as the device that samples sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_direct.tensor.host_view import HostView


def seen_from(device: torch.device, tensor: Tensor) -> Tensor:
    """Return a unified tensor as a GPU sees it, be it another's; others as they are."""
    if device.type != "cuda" or not isinstance(tensor, HostView):
        return tensor
    return tensor.seen_from(device)


def alias_for(device: torch.device, tensor: Tensor) -> Tensor:
    """Return a unified tensor as the plain one that kernels on a GPU read; others as they are."""
    seen = seen_from(device, tensor)
    return seen.alias if device.type == "cuda" and isinstance(seen, HostView) else seen


def moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a small tensor in a type and on a device, without waiting for it."""
    if device.type != "cuda" or tensor.is_cuda:
        return alias_for(device, tensor).to(device, dtype)
    return tensor.to(dtype).pin_memory().to(device, non_blocking=True)
