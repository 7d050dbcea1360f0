"""How unified tensors are made."""

from __future__ import annotations

import functools
import logging
import math
import operator
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_direct.errors import FileFormatError, UnifiedMemoryError
from torch_direct.memory import process
from torch_direct.memory.files import map_file, read_header
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.tensor.host_view import CPU
from torch_direct.tensor.unified import UnifiedTensor

_LOGGER = logging.getLogger("torch_direct")

Device = torch.device | str | int | None


def unified(tensor: Tensor, *, propagate: bool = True, device: Device = None) -> UnifiedTensor:
    """Give a CPU tensor's own memory to the GPU; nothing is copied.

    The memory of the tensor's whole storage is page-locked in place, and stays as long as a tensor
    looks at it. Asked again for the same memory, whole or in part, the result
    shares the registration. Without CUDA the result is a view of the CPU memory itself.

    Args:
        tensor: dense CPU tensor of any dtype, shape and strides; or a unified tensor. A leaf: the
            result of one that requires a gradient is a leaf as well, with a gradient of its own.
        propagate: whether results of operators on it live in GPU memory (see
            `UnifiedTensor.propagate`); decides for the result, whatever ``tensor`` had.
        device: the device that reads it, by default the current CUDA device. Every other GPU can
            read it as well, by ``u.to("cuda:1")`` or in an operator with tensors there.

    Returns:
        Tensor of the same shape, strides and dtype over the same bytes, on ``device``.

    Raises:
        TypeError: not a tensor, or of a kind that has no host bytes of its own: on a GPU, sparse,
            quantised, nested, meta, or another tensor subclass.
        ValueError: the tensor has a gradient history, or its elements lie at addresses that are no
            multiples of their size, which a GPU cannot read.
        AlreadyRegisteredError: somebody else registered the memory.
        HostMemoryError: the memory could not be locked.
        CudaError: the driver refused the memory for another reason.
    """
    target = _reading_device(device)
    if isinstance(tensor, UnifiedTensor):
        _require_leaf(tensor)
        view = tensor.seen_from(target).with_propagate(propagate)
        view.requires_grad_(tensor.requires_grad)
        return view
    _require_plain_host_tensor(tensor)
    _require_leaf(tensor)
    _require_aligned(tensor)
    owner, skipped = HOST_MEMORY.adopt(tensor)
    offset = int(tensor.storage_offset()) + skipped // tensor.element_size()
    result = UnifiedTensor.over(
        owner, target, tensor.dtype, tensor.shape, tensor.stride(), offset, propagate=propagate
    )
    result = result.bits_of(tensor) if tensor.is_conj() or tensor.is_neg() else result
    result.requires_grad_(tensor.requires_grad)
    return result


def empty(
    *size: Any,
    dtype: torch.dtype | None = None,
    propagate: bool = True,
    device: Device = None,
    shared: bool = False,
) -> UnifiedTensor:
    """A contiguous unified tensor whose contents are not defined.

    Args:
        size: sizes, one by one or as one sequence.
        dtype: element type, by default PyTorch's default dtype.
        propagate: see `unified`.
        device: see `unified`.
        shared: in shared memory, which forked children can read and which travels between
            processes as a handle.

    Raises:
        HostMemoryError: the machine does not have that much free memory.
        TypeError: ``dtype`` is none of PyTorch's.
    """
    shape = _shape_of(size)
    _require_dtype(dtype)
    element = torch.get_default_dtype() if dtype is None else dtype
    reader = _reading_device(device)
    owner = HOST_MEMORY.allocate(math.prod(shape) * element.itemsize, device=reader, shared=shared)
    stride = torch.empty(shape, dtype=element, device="meta").stride()
    return UnifiedTensor.over(owner, reader, element, shape, stride, 0, propagate=propagate)


def zeros(
    *size: Any,
    dtype: torch.dtype | None = None,
    propagate: bool = True,
    device: Device = None,
    shared: bool = False,
) -> UnifiedTensor:
    """As `empty`, filled with zeros by the CPU."""
    result = empty(*size, dtype=dtype, propagate=propagate, device=device, shared=shared)
    result.host.zero_()
    return result


def full(
    size: Sequence[int],
    fill_value: complex,
    *,
    dtype: torch.dtype | None = None,
    propagate: bool = True,
    device: Device = None,
    shared: bool = False,
) -> UnifiedTensor:
    """As `empty`, filled with a value by the CPU.

    Args:
        size: sizes.
        fill_value: number or bool; names the dtype as in `torch.full` where ``dtype`` is None.
        dtype: element type.
        propagate: see `unified`.
        device: see `unified`.
        shared: see `empty`.
    """
    element = torch.full((), fill_value, device=CPU).dtype if dtype is None else dtype
    result = empty(size, dtype=element, propagate=propagate, device=device, shared=shared)
    result.host.fill_(fill_value)
    return result


def empty_like(
    tensor: Tensor,
    *,
    dtype: torch.dtype | None = None,
    propagate: bool = True,
    device: Device = None,
    shared: bool = False,
) -> UnifiedTensor:
    """As `empty`, with the sizes and, by default, the dtype of another tensor."""
    element = tensor.dtype if dtype is None else dtype
    return empty(tensor.shape, dtype=element, propagate=propagate, device=device, shared=shared)


def from_numpy(array: Any, *, propagate: bool = True, device: Device = None) -> UnifiedTensor:
    """As `unified`, for the memory of a NumPy array.

    Args:
        array: `numpy.ndarray` in native byte order, writable or not.
        propagate: see `unified`.
        device: see `unified`.
    """
    with warnings.catch_warnings():
        # PyTorch warns of read-only arrays; the mapping decides, and writes to it are refused.
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
        tensor = torch.from_numpy(array)
    result = unified(tensor, propagate=propagate, device=device)
    return result if array.flags.writeable else result.as_read_only()


def load(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    writable: bool = False,
    propagate: bool = True,
    device: Device = None,
) -> UnifiedTensor:
    """Map a ``.npy`` file; the processes of one machine that load it share one copy.

    Where the GPU cannot be given the mapping, a read-only file is read once into shared memory.

    Args:
        path: file in NumPy's format.
        dtype: the element type that is expected, by default the one that the file names. It also
            names types that NumPy lacks: bfloat16 saved as 2-byte integers, float8 as bytes.
        writable: map for writing too; what is written goes to the file. The GPU can be given
            such a mapping of files on tmpfs (``/dev/shm``) only.
        propagate: see `unified`.
        device: see `unified`.

    Raises:
        FileNotFoundError: there is no such file.
        FileFormatError: no ``.npy`` file, a folder, a truncated file, or one of another dtype.
        CudaError: asked for writable, and the GPU cannot be given the mapping.
        TypeError: ``dtype`` is none of PyTorch's.
    """
    _require_dtype(dtype)
    file = Path(path)
    if file.is_dir():
        raise FileFormatError(
            f"{file} is a folder; expected a .npy file: name one in it, or open a graph with "
            "td.Graph.load(folder)"
        )
    header = read_header(file, dtype)
    owner = map_file(file, header, writable=writable)
    return UnifiedTensor.over(
        owner,
        _reading_device(device),
        header.dtype,
        header.shape,
        header.stride,
        0,
        propagate=propagate,
    )


def is_unified(tensor: object) -> bool:
    """Whether an object is a unified tensor."""
    return isinstance(tensor, UnifiedTensor)


def _require_dtype(dtype: object) -> None:
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype is {dtype!r}; expected one of PyTorch's, such as torch.float16")


def _shape_of(size: tuple[Any, ...]) -> tuple[int, ...]:
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], Sequence) else tuple(size)
    lengths = tuple(operator.index(length) for length in shape)
    for length in lengths:
        if length < 0:
            raise ValueError(f"size {shape} has the negative length {length}; expected 0 or more.")
    return lengths


def _reading_device(device: Device) -> torch.device:
    if not process.cuda_usable():
        return _without_cuda(device)
    if device is None:
        return torch.device("cuda", torch.cuda.current_device())
    asked = torch.device(device)
    if asked.type == "cuda":
        index = torch.cuda.current_device() if asked.index is None else asked.index
        if index >= torch.cuda.device_count():
            raise ValueError(
                f"device cuda:{index} does not exist; expected an index below "
                f"{torch.cuda.device_count()}, the number of GPUs that this process sees."
            )
        return torch.device("cuda", index)
    if asked.type == "cpu":
        return CPU
    raise ValueError(f"device {asked} cannot read unified memory; expected a CUDA device or cpu.")


def _without_cuda(device: Device) -> torch.device:
    # A number names a GPU, and PyTorch does not turn it into a device where there is none.
    a_gpu = isinstance(device, int) or (device is not None and torch.device(device).type != "cpu")
    if a_gpu:
        raise UnifiedMemoryError(
            f"device {device} was asked for and CUDA cannot be used in this process; expected cpu "
            "or no device. `torch-direct doctor` says what is missing."
        )
    if not process.cuda_lost:
        _say_that_there_is_no_cuda()
    return CPU


@functools.cache
def _say_that_there_is_no_cuda() -> None:
    """Once a process, where the program's log goes."""
    _LOGGER.warning(
        "CUDA cannot be used in this process: unified tensors are views of CPU memory, and "
        "everything runs on the CPU. `torch-direct doctor` says what is missing."
    )


def _require_plain_host_tensor(tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"td.unified got {type(tensor).__name__}; expected a CPU tensor. Convert it with "
            "torch.as_tensor, or use td.from_numpy for NumPy arrays."
        )
    remedy = None
    if tensor.is_meta:
        remedy = "a meta tensor has no bytes; create it on the CPU"
    elif tensor.is_nested:
        raise TypeError(
            "td.unified got a nested tensor, whose parts have sizes of their own; expected a dense "
            "CPU tensor. Pad it with .to_padded_tensor, or pass its .values()."
        )
    elif tensor.layout != torch.strided:
        remedy = f"a tensor of layout {tensor.layout} has no dense bytes; use .to_dense()"
    elif tensor.is_quantized:
        remedy = "a quantised tensor carries scales besides its bytes; use .int_repr()"
    elif tensor.device.type != "cpu":
        remedy = f"its bytes are on {tensor.device}; move it with .cpu() first"
    elif type(tensor) not in (Tensor, torch.nn.Parameter):
        remedy = f"{type(tensor).__name__} is a tensor subclass of its own; use .as_subclass"
    if remedy is not None:
        raise TypeError(
            f"td.unified got a tensor of shape {tuple(tensor.shape)} that is not in plain host "
            f"memory: {remedy}. Expected a dense CPU tensor."
        )


def _require_leaf(tensor: Tensor) -> None:
    if not tensor.is_leaf:
        raise ValueError(
            f"td.unified got a tensor of shape {tuple(tensor.shape)} with a gradient history, "
            "which the result could not carry on. Expected a leaf; pass tensor.detach()."
        )


def _require_aligned(tensor: Tensor) -> None:
    if tensor.data_ptr() % tensor.element_size() != 0:
        raise ValueError(
            f"td.unified got a tensor of {tensor.dtype} at address {tensor.data_ptr():#x}; "
            f"expected a multiple of {tensor.element_size()}, the bytes of an element, since a GPU "
            "reads no others. Pass a copy (tensor.clone(), or array.copy())."
        )
