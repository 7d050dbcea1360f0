"""The plain tensors behind those of other types."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from torch_direct.tensor.unified import UnifiedTensor


def plain(tensor: Tensor) -> Tensor:
    """Return the values of PyG's `EdgeIndex` or of a unified tensor as a plain tensor.

    Nothing is copied; a unified tensor's is on the CPU.
    """
    unwrap = getattr(tensor, "as_tensor", None)
    return in_host_memory(tensor) if unwrap is None else cast(Tensor, unwrap())


def in_host_memory(tensor: Tensor) -> Tensor:
    """Return the plain CPU tensor behind a unified one once the GPU has written it; else itself."""
    if not isinstance(tensor, UnifiedTensor):
        return tensor
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
    return tensor.host
