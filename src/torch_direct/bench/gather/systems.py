"""The ways to get rows from host memory to the GPU, each as one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_direct.bench.gather.cases import WHOLEGRAPH_FOOTPRINT, Case
from torch_direct.tensor.gather import gather
from torch_direct.tensor.unified import UnifiedTensor

LIMIT = "limit"
OURS = "torch-direct"
OURS_SORTED = "torch-direct sorted"
INDEX_SELECT = "index_select"
CPU_PINNED = "cpu-pinned"
CPU_PAGEABLE = "cpu-pageable"
WHOLEGRAPH = "wholegraph"

ON_CPU = (CPU_PINNED, CPU_PAGEABLE)
"""Systems in which the CPU gathers; their calls return when it has."""


@dataclass(frozen=True)
class Read:
    """One read, ready for every system: what it reads, and buffers for what it wrote."""

    table: UnifiedTensor
    """``[table rows, width]`` in host memory."""
    host: Tensor
    """The same memory as a CPU tensor."""
    run: Tensor
    """As many of its rows, one after the other: what the limit copies."""
    index: Tensor
    """int64 ``[rows]`` on the device."""
    host_index: Tensor
    """The same on the CPU."""
    out: Tensor
    """``[rows, width]`` on the device."""
    staging: Tensor
    """``[rows, width]`` in page-locked host memory."""


Reader = Callable[[Read], Tensor]
"""Returns the rows on the device; the GPU may still be at work on them."""


def copy(read: Read) -> Tensor:
    """Copy as many bytes that lie in one run: what the link carries."""
    return read.out.copy_(read.run, non_blocking=True)


def torch_direct(read: Read) -> Tensor:
    """`torch_direct.gather`."""
    return gather(read.table, read.index, out=read.out)


def torch_direct_sorted(read: Read) -> Tensor:
    """`torch_direct.gather`, told that row numbers ascend and are distinct."""
    return gather(read.table, read.index, out=read.out, sorted=True)


def index_select(read: Read) -> Tensor:
    """PyTorch's kernel on the plain CUDA tensor over the same memory: zero-copy as it comes."""
    return torch.index_select(read.table.alias, 0, read.index, out=read.out)


def cpu_pinned(read: Read) -> Tensor:
    """All cores gather into a page-locked buffer, which is then copied."""
    torch.index_select(read.host, 0, read.host_index, out=read.staging)
    return read.out.copy_(read.staging, non_blocking=True)


def cpu_pageable(read: Read) -> Tensor:
    """What a script does without thinking: index on the CPU, then `to`."""
    return read.host[read.host_index].to(read.index.device)


READERS: dict[str, Reader] = {
    LIMIT: copy,
    OURS: torch_direct,
    OURS_SORTED: torch_direct_sorted,
    INDEX_SELECT: index_select,
    CPU_PINNED: cpu_pinned,
    CPU_PAGEABLE: cpu_pageable,
}
"""The systems that need no preparation."""

SYSTEMS = (*READERS, WHOLEGRAPH)
"""All systems, in the order of tables."""


def takes_part(system: str, case: Case) -> bool:
    """Whether a system is measured in a case."""
    if system == OURS_SORTED:
        return case.order == "sorted"
    if system == WHOLEGRAPH:
        return case.footprint_bytes == WHOLEGRAPH_FOOTPRINT and case.dtype == "float32"
    return True
