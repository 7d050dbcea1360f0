"""NVIDIA's WholeGraph (pylibwholegraph), as a peer: it reads host memory that it allocated."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor


def why_absent() -> str | None:
    """Return why WholeGraph cannot be used here, None where it can."""
    if not torch.cuda.is_available():
        return "needs a GPU"
    try:
        import_module("pylibwholegraph.torch.tensor")
    except (ImportError, OSError, RuntimeError) as error:
        return f"cannot be imported: {error}"
    return None


def start() -> Any:
    """Return a communicator of one process, once in a process."""
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", str(_free_port())
    initialize = import_module("pylibwholegraph.torch.initialize")
    with _threads_kept():
        everyone, _ = initialize.init_torch_env_and_create_wm_comm(0, 1, 0, 1)
    return everyone


def allocate(communicator: Any, shape: Sequence[int], dtype: torch.dtype) -> Any:
    """Return a WholeGraph tensor in host memory.

    A process can make one that is large: a second one of 24 GiB has been seen not to return.
    """
    tensors = import_module("pylibwholegraph.torch.tensor")
    return tensors.create_wholememory_tensor(
        communicator, "continuous", "cpu", list(shape), dtype, None
    )


def host_view(memory: Any) -> Tensor:
    """Return a WholeGraph tensor as a CPU tensor over the same bytes."""
    local = memory.get_local_tensor(host_view=True)
    host: Tensor = local[0] if isinstance(local, tuple) else local
    return host


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Undo that WholeGraph sets PyTorch to one thread, which would slow the CPU's systems."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
