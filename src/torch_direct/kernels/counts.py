"""Numbers that kernels count, and the one wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from torch_direct.kernels.queue import Queue

_ALIGNED = 2


class Counts:
    """Numbers on a device, zero at first, side by side: one copy brings all of them to the host."""

    def __init__(self, capacity: int, queue: Queue) -> None:
        """Make room for `capacity` numbers, each group that is taken being rounded up to two."""
        self._numbers = queue.zeros(capacity)
        self._taken = 0
        self._on_host: _OnHost | None = None

    def take(self, size: int) -> Tensor:
        """Return a few of the numbers, int64 `[size]`, which nobody else is given."""
        first = self._taken
        self._taken += (size + _ALIGNED - 1) // _ALIGNED * _ALIGNED
        if self._taken > self._numbers.numel():
            raise IndexError(f"{self._taken} numbers are taken of {self._numbers.numel()}")
        return self._numbers[first : first + size]

    def read(self) -> Callable[[Tensor], list[int]]:
        """Wait for all numbers; what is returned gives those of a tensor that was taken."""
        if self._on_host is None:
            self._on_host = _OnHost(self._numbers)
        numbers = self._on_host.read()

        def numbers_of(taken: Tensor) -> list[int]:
            first = taken.storage_offset()
            return numbers[first : first + taken.numel()]

        return numbers_of


class _OnHost:
    """Where the numbers come to on the host."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers
        if numbers.is_cuda:
            self._copy = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._there = torch.cuda.Event(blocking=True)

    def read(self) -> list[int]:
        """Wait for them, asleep: the driver's usual wait keeps a core busy all the time."""
        if not self._numbers.is_cuda:
            return cast("list[int]", self._numbers.tolist())
        self._copy.copy_(self._numbers, non_blocking=True)
        self._there.record()
        self._there.synchronize()
        return cast("list[int]", self._copy.tolist())
