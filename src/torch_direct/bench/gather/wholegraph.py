"""NVIDIA's WholeGraph (pylibwholegraph), as a peer: it reads host memory that it allocated."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from torch_direct.bench.gather.systems import Read, Reader
from torch_direct.bench.measure import wait_for_gpu


def why_absent() -> str | None:
    """Return why WholeGraph cannot be used here, None where it can."""
    if not torch.cuda.is_available():
        return "needs a GPU"
    try:
        import_module("pylibwholegraph.torch.tensor")
    except (ImportError, OSError, RuntimeError) as error:
        return f"cannot be imported: {error}"
    return None


def copy_into_wholegraph(table: Tensor) -> tuple[Reader, float]:
    """Make a WholeGraph tensor with the bytes of a table.

    A process can make one that is large: a second one has been seen not to return.

    Args:
        table: float32 ``[rows, width]`` on the CPU.

    Returns:
        The reader, and the seconds that it took to allocate the tensor, not to fill it.
    """
    with _threads_kept():
        communicator = _communicator()
    tensors = import_module("pylibwholegraph.torch.tensor")
    begin = time.perf_counter()
    memory = tensors.create_wholememory_tensor(
        communicator, "continuous", "cpu", list(table.shape), table.dtype, None
    )
    wait_for_gpu()
    seconds = time.perf_counter() - begin
    local = memory.get_local_tensor(host_view=True)
    host: Tensor = local[0] if isinstance(local, tuple) else local
    host.copy_(table)

    def read(request: Read) -> Tensor:
        rows: Tensor = memory.gather(request.index)
        return rows

    return read, seconds


def _communicator() -> Any:
    """Return a communicator of one process."""
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", str(_free_port())
    initialize = import_module("pylibwholegraph.torch.initialize")
    everyone, _ = initialize.init_torch_env_and_create_wm_comm(0, 1, 0, 1)
    return everyone


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
