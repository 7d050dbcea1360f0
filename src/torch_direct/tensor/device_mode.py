"""The spelling of the paper: ``"unified"`` as a device, where it was switched on.

A torch-function mode rewrites calls, in the thread that switched it on and only while it is on;
nothing of PyTorch is replaced for good. Results are unified tensors and say ``device=cuda:N``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torch_direct.tensor.create import is_unified, unified
from torch_direct.tensor.host_view import CPU
from torch_direct.tensor.unified import UnifiedTensor

NAME = "unified"
"""The device name."""


def enable_device() -> None:
    """Understand ``device="unified"`` in this thread from here on.

    After it ``x.to("unified")``, ``x.unified()``, ``torch.ones(..., device="unified")`` (every
    factory of PyTorch's) and ``t.is_unified`` work for every tensor. It costs about a microsecond
    for each torch call of the thread. ``torch.device("unified")`` stays an error, and other
    threads have to call it themselves.
    """
    _name_methods()
    if not any(isinstance(mode, _UnifiedDevice) for mode in _active_modes()):
        _UnifiedDevice().__enter__()  # type: ignore[no-untyped-call]


@contextmanager
def device_mode() -> Iterator[None]:
    """As `enable_device`, inside a ``with`` block."""
    had_methods = "unified" in torch.Tensor.__dict__
    _name_methods()
    try:
        with _UnifiedDevice():
            yield
    finally:
        if not had_methods:
            _forget_methods()


class _UnifiedDevice(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if kwargs.get("device") == NAME:
            return _make_unified(func, args, {**kwargs, "device": CPU})
        if func is torch.Tensor.to and len(args) > 1 and args[1] == NAME:
            return _make_unified(func, (args[0], CPU, *args[2:]), kwargs)
        return func(*args, **kwargs)


def _make_unified(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> UnifiedTensor:
    """Run a call that asks for the unified device on the CPU, and give the result to the GPU.

    The result's own memory is registered, so that nothing is held twice, and a CPU tensor that is
    "moved" keeps its place.
    """
    if func is torch.Tensor.to and is_unified(args[0]):
        given = (*args[2:], kwargs.get("dtype"), kwargs.get("copy"))
        if not any(isinstance(value, torch.dtype) or value is True for value in given):
            kept: UnifiedTensor = args[0]
            return kept
    return unified(func(*args, **kwargs))


def _active_modes() -> list[TorchFunctionMode]:
    return list(torch.overrides._get_current_function_mode_stack())


def _name_methods() -> None:
    torch.Tensor.unified = _as_unified  # type: ignore[attr-defined]
    torch.Tensor.is_unified = property(is_unified)  # type: ignore[attr-defined]


def _forget_methods() -> None:
    del torch.Tensor.unified, torch.Tensor.is_unified  # type: ignore[attr-defined]


def _as_unified(tensor: Tensor) -> UnifiedTensor:
    return unified(tensor if is_unified(tensor) else tensor.cpu())
