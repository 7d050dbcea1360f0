"""Every CUDA driver call of this package, each with its status checked.

Registration goes through the driver, not the runtime: a refused runtime call leaves its error
behind for the next PyTorch call to find, a refused driver call does not.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from torch_direct.errors import CudaError

SUCCESS = 0
OUT_OF_MEMORY = 2
ALREADY_REGISTERED = 712

_PORTABLE, _DEVICE_MAP, _READ_ONLY = 1, 2, 8

_MEMORY_TYPE, _DEVICE = 2, 2

ATTRIBUTE_HOST_POINTER_IS_DEVICE_POINTER = 91


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaError(
            f"the CUDA driver library could not be loaded ({error}); expected libcuda.so.1, which "
            "the NVIDIA driver installs. Install the driver, or run without a GPU."
        ) from error
    check(library.cuInit(0), "cuInit")
    return library


def status_name(status: int) -> str:
    """The driver's name of a status, as in ``CUDA_ERROR_INVALID_VALUE``."""
    name = ctypes.c_char_p()
    if _library().cuGetErrorName(status, ctypes.byref(name)) != SUCCESS or name.value is None:
        return f"CUDA status {status}"
    return name.value.decode()


def check(status: int, call: str) -> None:
    """Raise `CudaError` unless a driver call succeeded."""
    if status != SUCCESS:
        raise CudaError(f"{call} returned {status_name(status)} ({status}); expected success.")


@functools.cache
def _primary_context(device: int) -> ctypes.c_void_p:
    library = _library()
    handle = ctypes.c_int()
    check(library.cuDeviceGet(ctypes.byref(handle), device), "cuDeviceGet")
    context = ctypes.c_void_p()
    check(
        library.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle), "cuDevicePrimaryCtxRetain"
    )
    return context


@contextmanager
def _current(device: int) -> Iterator[ctypes.CDLL]:
    """The driver library with the context that PyTorch uses on a device made current."""
    torch.cuda.init()
    library = _library()
    check(library.cuCtxPushCurrent_v2(_primary_context(device)), "cuCtxPushCurrent")
    try:
        yield library
    finally:
        check(library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())), "cuCtxPopCurrent")


def register(address: int, nbytes: int, *, read_only: bool, device: int) -> int:
    """Lock host memory and map it for every GPU; returns the driver's status, 0 for success.

    Args:
        address: first byte.
        nbytes: number of bytes, which need not be whole pages.
        read_only: whether the memory is mapped without the right to write.
        device: index of a device whose context makes the call.
    """
    flags = _PORTABLE | _DEVICE_MAP | (_READ_ONLY if read_only else 0)
    with _current(device) as library:
        return int(
            library.cuMemHostRegister_v2(
                ctypes.c_void_p(address), ctypes.c_size_t(nbytes), ctypes.c_uint(flags)
            )
        )


def unregister(address: int, *, device: int) -> None:
    """Undo `register` for the memory that starts at an address."""
    with _current(device) as library:
        check(library.cuMemHostUnregister(ctypes.c_void_p(address)), "cuMemHostUnregister")


def is_host_memory(address: int) -> bool:
    """Whether an address that a GPU reads lies in host memory; so too where nobody knows."""
    kind = ctypes.c_uint()
    status = _library().cuPointerGetAttribute(
        ctypes.byref(kind), _MEMORY_TYPE, ctypes.c_void_p(address)
    )
    return status != SUCCESS or kind.value != _DEVICE


def device_attribute(attribute: int, device: int) -> int:
    """The value of a device attribute, by its number in the driver's header."""
    library = _library()
    value = ctypes.c_int()
    check(
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device),
        "cuDeviceGetAttribute",
    )
    return value.value


def driver_version() -> tuple[int, int]:
    """The newest CUDA version that the installed driver supports, as (major, minor)."""
    version = ctypes.c_int()
    check(_library().cuDriverGetVersion(ctypes.byref(version)), "cuDriverGetVersion")
    return version.value // 1000, version.value % 1000 // 10
