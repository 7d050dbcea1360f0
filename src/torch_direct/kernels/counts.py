"""Numbers that kernels count, and the one wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from torch_direct.kernels.queue import Queue

_ALIGNED = 2
"""Numbers of 16 bytes."""


class Counts:
    """Numbers on a device, zero at first, side by side: one copy brings all of them to the host."""

    def __init__(self, capacity: int, queue: Queue) -> None:
        """Make room for `capacity` numbers, each group that is taken being rounded up to two."""
        self._numbers = queue.zeros(capacity)
        self._taken = 0
        on_gpu = self._numbers.is_cuda
        self._on_host = torch.empty(capacity, dtype=torch.int64, device="cpu", pin_memory=on_gpu)
        self._there = torch.cuda.Event(blocking=True) if on_gpu else None

    def take(self, size: int) -> Tensor:
        """Return a few of the numbers, int64 `[size]`, which nobody else is given."""
        first = self._taken
        self._taken += (size + _ALIGNED - 1) // _ALIGNED * _ALIGNED
        if self._taken > self._numbers.numel():
            raise IndexError(f"{self._taken} numbers are taken of {self._numbers.numel()}")
        return self._numbers[first : first + size]

    def read(self) -> Callable[[Tensor], list[int]]:
        """Wait for all numbers; what is returned gives those of a tensor that was taken.

        The host waits asleep: the driver's usual wait keeps a core busy all the time.
        """
        self._on_host.copy_(self._numbers, non_blocking=True)
        if self._there is not None:
            self._there.record()
            self._there.synchronize()
        numbers = cast("list[int]", self._on_host.tolist())

        def numbers_of(taken: Tensor) -> list[int]:
            first = taken.storage_offset()
            return numbers[first : first + taken.numel()]

        return numbers_of
