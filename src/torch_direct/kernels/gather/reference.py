"""The gather in plain PyTorch: what the kernel must do, and the path for strided rows."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_direct.kernels.rows import as_carrier, resolve_index


def gather_rows(src: Tensor, index: Tensor, out: Tensor, fault: Tensor | None) -> None:
    """As `torch_direct.kernels.gather.gather_rows`."""
    rows, valid = resolve_index(index, src.shape[0], fault)
    target = as_carrier(out)
    if src.shape[0] == 0:
        target.zero_()
        return
    if target.is_contiguous():
        torch.index_select(as_carrier(src), 0, rows, out=target)
    else:
        target.copy_(torch.index_select(as_carrier(src), 0, rows))
    if fault is not None:
        target.masked_fill_(~valid.view(-1, *[1] * (target.dim() - 1)), 0)
