"""Which implementation of a kernel serves a tensor."""

from __future__ import annotations

import functools
import importlib.util
import os

from torch import Tensor


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def interpreting() -> bool:
    """Whether Triton kernels run in its interpreter, on the CPU (``TRITON_INTERPRET=1``)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def use_triton(tensor: Tensor) -> bool:
    """Whether a kernel over this tensor runs in Triton; otherwise the PyTorch reference runs."""
    return _has_triton() and (tensor.is_cuda or interpreting())
