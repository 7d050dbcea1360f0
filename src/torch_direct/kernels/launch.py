"""Launching Triton kernels at a low cost for the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from torch_direct.kernels.backend import interpreting

_launchers: dict[tuple[Any, ...], Any] = {}


def launch(
    kernel: Any,
    programs: int,
    tensors: Sequence[Tensor],
    numbers: Sequence[int],
    constants: tuple[Any, ...],
    *,
    types: Sequence[Any] = (),
    num_warps: int = 4,
) -> None:
    """Launch a kernel on the current stream; only the first of a kind through Triton's launcher.

    That launcher looks at every argument anew, which takes longer than all else together.

    Args:
        kernel: takes tensors, then numbers, on which it does not specialise and whose widths it
            declares, then constants.
        programs: size of the grid.
        tensors: on one device, the current one.
        numbers: signed, of the widths that the kernel declares.
        constants: compiled into the kernel.
        types: Triton's types to read the first tensors as, where not as their own.
        num_warps: warps of a program.
    """
    addresses = [tensor.data_ptr() for tensor in tensors]
    misaligned = 0
    for address in addresses:
        misaligned = misaligned << 1 | (address % 16 != 0)
    dtypes = [tensor.dtype for tensor in tensors[len(types) :]]
    device = tensors[0].get_device()
    key = (kernel.fn, programs, misaligned, device, num_warps, constants, *types, *dtypes)
    launcher = _launchers.get(key)
    if launcher is not None:
        launcher(*addresses, *numbers, *constants)
        return
    compiled = kernel[(programs,)](
        *_typed(tensors, types), *numbers, *constants, num_warps=num_warps
    )
    if not interpreting():
        _launchers[key] = compiled[programs, 1, 1]


def _typed(tensors: Sequence[Tensor], types: Sequence[Any]) -> list[Any]:
    import triton

    read_as = map(triton.reinterpret, tensors, types)
    return [*read_as, *tensors[len(types) :]]
