"""Whether this process may use CUDA."""

from __future__ import annotations

import functools
import os

import torch

cuda_lost = False
"""True in a child that was forked after its parent had started CUDA: CUDA cannot be used here."""


def cuda_usable() -> bool:
    """Whether an NVIDIA GPU can be used from this process. Does not start CUDA."""
    return not cuda_lost and _available()


_available = functools.cache(torch.cuda.is_available)


def _after_fork_in_child() -> None:
    global cuda_lost
    cuda_lost = cuda_lost or torch.cuda._is_in_bad_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
