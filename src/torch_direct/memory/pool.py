"""Blocks of host memory that were given back and wait to be handed out again."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from torch_direct.memory.pages import HUGE_PAGE, HostBlock, allocated_size
from torch_direct.memory.registry import Region


@dataclass(eq=False)
class CachedBlock:
    """A private block, registered or not, and the work on the GPU that may still use it."""

    block: HostBlock
    """The memory."""
    region: Region | None
    """Its registration, None where there is no CUDA."""
    pending: list[torch.cuda.Event] = field(default_factory=list)
    """Recorded when the block was given back, on every stream that used it."""

    def idle(self) -> bool:
        """Whether all streams that used the block have passed the point where it was freed."""
        self.pending = [event for event in self.pending if not event.query()]
        return not self.pending


class BlockPool:
    """Free blocks, best fit first. Callers hold the lock."""

    def __init__(self) -> None:
        self._blocks: list[CachedBlock] = []

    @property
    def nbytes(self) -> int:
        """Bytes that are held for reuse."""
        return sum(cached.block.nbytes for cached in self._blocks)

    def put(self, cached: CachedBlock) -> None:
        """Keep a block for the next request that it fits."""
        self._blocks.append(cached)

    def take(self, nbytes: int) -> CachedBlock | None:
        """The smallest idle block for a request, unless more than a quarter would be wasted.

        One huge page may always be wasted where huge pages are used at all.
        """
        size = allocated_size(nbytes)
        most = size + max(size // 4, HUGE_PAGE if size >= HUGE_PAGE else 0)
        fitting = [cached for cached in self._blocks if nbytes <= cached.block.nbytes <= most]
        for cached in sorted(fitting, key=lambda other: other.block.nbytes):
            if cached.idle():
                self._blocks.remove(cached)
                return cached
        return None

    def clear(self) -> list[CachedBlock]:
        """Hand over all blocks."""
        blocks, self._blocks = self._blocks, []
        return blocks
