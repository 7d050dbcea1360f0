"""Tensors as the device that samples sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_direct.tensor.host_view import HostView


def read_by(device: torch.device, tensor: Tensor) -> Tensor:
    """Return a unified tensor as a GPU reads it, be it another's; others as they are."""
    if device.type != "cuda" or not isinstance(tensor, HostView):
        return tensor
    return tensor.seen_from(device)


def seen_from(device: torch.device, tensor: Tensor) -> Tensor:
    """Return a unified tensor as the plain one that kernels on a GPU read; others as they are."""
    seen = read_by(device, tensor)
    return seen.alias if isinstance(seen, HostView) and device.type == "cuda" else seen


def moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a small tensor in a type and on a device, without waiting for it."""
    if device.type != "cuda" or tensor.is_cuda:
        return seen_from(device, tensor).to(device, dtype)
    return tensor.to(dtype).pin_memory().to(device, non_blocking=True)
