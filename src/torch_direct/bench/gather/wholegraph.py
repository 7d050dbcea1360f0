"""Rows by WholeGraph."""

from __future__ import annotations

import time

from torch import Tensor

from torch_direct.bench.gather.systems import Read, Reader
from torch_direct.bench.measure import wait_for_gpu
from torch_direct.bench.wholegraph import allocate, host_view, start


def copy_into_wholegraph(table: Tensor) -> tuple[Reader, float]:
    """Make a WholeGraph tensor with the bytes of a table.

    Args:
        table: float32 ``[rows, width]`` on the CPU.

    Returns:
        The reader, and the seconds that it took to allocate the tensor, not to fill it.
    """
    communicator = start()
    begin = time.perf_counter()
    memory = allocate(communicator, table.shape, table.dtype)
    wait_for_gpu()
    seconds = time.perf_counter() - begin
    host_view(memory).copy_(table)

    def read(request: Read) -> Tensor:
        rows: Tensor = memory.gather(request.index)
        return rows

    return read, seconds
