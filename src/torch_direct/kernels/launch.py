"""Launching Triton kernels at a low cost for the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from torch_direct.kernels.backend import interpreting

_launchers: dict[tuple[Any, ...], Callable[[int, tuple[int, ...]], None]] = {}


def launch(
    kernel: Any,
    programs: int,
    tensors: Sequence[Tensor],
    numbers: Sequence[int],
    constants: tuple[Any, ...],
    *,
    types: Sequence[Any] = (),
    num_warps: int = 4,
) -> Callable[[Sequence[int]], None]:
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

    Returns:
        What launches the same again with other numbers, as long as the tensors are there.
    """
    addresses = [tensor.data_ptr() for tensor in tensors]
    misaligned = 0
    for address in addresses:
        misaligned = misaligned << 1 | (address % 16 != 0)
    dtypes = [tensor.dtype for tensor in tensors[len(types) :]]
    device = tensors[0].get_device()
    key = (kernel.fn, misaligned, device, num_warps, constants, *types, *dtypes)
    launcher = _launchers.get(key)
    if launcher is None:
        typed = _typed(tensors, types)

        def through_triton(numbers: Sequence[int]) -> Any:
            return kernel[(programs,)](*typed, *numbers, *constants, num_warps=num_warps)

        compiled = through_triton(numbers)
        if interpreting():
            return through_triton
        launcher = _launchers[key] = _launcher_of(compiled, device)
    else:
        launcher(programs, (*addresses, *numbers, *constants))
    return lambda numbers: launcher(programs, (*addresses, *numbers, *constants))


def blocks(size: int, block: int) -> int:
    """Return how many blocks hold so many; `triton.cdiv` takes the host much longer."""
    return -(-size // block)


def _typed(tensors: Sequence[Tensor], types: Sequence[Any]) -> list[Any]:
    import triton

    return [*map(triton.reinterpret, tensors, types), *tensors[len(types) :]]


def _launcher_of(compiled: Any, device: int) -> Callable[[int, tuple[int, ...]], None]:
    """A compiled kernel's own entry, past the hooks of Triton's profiler."""
    from triton.runtime import driver

    current_stream = driver.active.get_current_stream
    run, function, metadata = compiled.run, compiled.function, compiled.packed_metadata

    def launcher(programs: int, arguments: tuple[int, ...]) -> None:
        stream = current_stream(device)
        run(programs, 1, 1, stream, function, metadata, None, None, None, *arguments)

    return launcher
