"""The kernels of a batch, which can be queued again for another batch of its shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torch_direct.kernels.launch import launch


class Queue:
    """Launches on the current stream, in arrays that are kept.

    To make arrays and to look at the arguments of a launch takes the host longer than the launch.
    """

    def __init__(self, device: torch.device, keys: Sequence[int]) -> None:
        """Begin with nothing.

        Args:
            device: Where arrays are made.
            keys: Numbers that are others when the launches are repeated.
        """
        self._device = device
        self._keys = keys
        self._arrays: list[Tensor] = []
        self.nbytes = 0
        """Bytes of the arrays."""
        self._zeros: list[Tensor] = []
        self._launches: list[tuple[Callable[[Sequence[int]], None], Sequence[int], int | None]] = []
        self.repeatable = True
        """Whether launches are all there is; cleared by what does more, or waits."""

    def empty(self, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Make an array, which is not cleared."""
        array = torch.empty(shape, dtype=dtype, device=self._device)
        self._arrays.append(array)
        self.nbytes += array.nbytes
        return array

    def zeros(self, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Make an array that is zero when the launches begin."""
        self._zeros.append(self.empty(*shape, dtype=dtype).zero_())
        return self._zeros[-1]

    def launch(
        self,
        kernel: Any,
        programs: int,
        tensors: Sequence[Tensor],
        numbers: Sequence[int],
        constants: tuple[Any, ...],
        *,
        keyed: int | None = None,
        num_warps: int = 4,
    ) -> None:
        """As `launch`; `keyed` is the place of the key that comes before the numbers."""
        given = self._with_key(keyed, numbers)
        again = launch(kernel, programs, tensors, given, constants, num_warps=num_warps)
        self._launches.append((again, numbers, keyed))

    def repeat(self, keys: Sequence[int]) -> None:
        """Launch all again, in arrays that hold what they held, but for those of zeros."""
        self._keys = keys
        for array in self._zeros:
            array.zero_()
        for again, numbers, keyed in self._launches:
            again(self._with_key(keyed, numbers))

    def _with_key(self, keyed: int | None, numbers: Sequence[int]) -> Sequence[int]:
        return numbers if keyed is None else (self._keys[keyed], *numbers)
