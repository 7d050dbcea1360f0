""".npy files mapped as memory.

The format is NumPy's own (``numpy.lib.format``); only its header is read here.
"""

from __future__ import annotations

import math
import mmap
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from numpy.lib import format as npy_format

from torch_direct.errors import CudaError, FileFormatError
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.memory.owner import FileSource, Owner
from torch_direct.memory.pages import PAGE
from torch_direct.memory.shared_copy import SharedCopy

_LARGEST = 2**63 - 1
"""The largest size or stride that a tensor can have."""

_CARRIERS = {
    torch.bfloat16: ("V2", "u2", "i2"),
    torch.float8_e4m3fn: ("V1", "u1", "i1"),
    torch.float8_e5m2: ("V1", "u1", "i1"),
}
"""Types that NumPy lacks, and the NumPy types under which their bytes are saved."""


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a ``.npy`` file says."""

    dtype: torch.dtype
    """Element type."""
    shape: tuple[int, ...]
    """Sizes."""
    stride: tuple[int, ...]
    """Strides, in elements."""
    offset: int
    """Bytes from the start of the file to the first element."""
    nbytes: int
    """Bytes of all elements."""


def read_header(path: Path, dtype: torch.dtype | None) -> NpyHeader:
    """Read and check the header of a ``.npy`` file.

    Args:
        path: the file.
        dtype: the element type that is expected, None for the one that the file names.

    Raises:
        FileNotFoundError: there is no such file.
        FileFormatError: the file is no ``.npy`` file, is shorter than its header says, holds
            another type, or has its elements at addresses that the GPU cannot read.
    """
    with path.open("rb") as file:
        try:
            version = npy_format.read_magic(file)
            read = {
                (1, 0): npy_format.read_array_header_1_0,
                (2, 0): npy_format.read_array_header_2_0,
            }[version]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of headers that Python 2 wrote
                shape, fortran, saved = read(file)
            count = _count(shape)
        except (ValueError, KeyError, EOFError, TypeError, SyntaxError, TokenError) as error:
            raise FileFormatError(
                f"{path} is not a .npy file that can be read ({error}); expected one written by "
                "numpy.save, format version 1 or 2. Save the array again with numpy.save."
            ) from error
        offset = file.tell()
    element = _torch_dtype(path, saved, dtype)
    if offset % element.itemsize != 0:
        raise FileFormatError(
            f"{path} has its elements from byte {offset} on; expected a multiple of "
            f"{element.itemsize}, the bytes of a {element}, which the GPU reads at such addresses "
            "only. Save the array again with numpy.save."
        )
    nbytes = count * element.itemsize
    size = path.stat().st_size
    if size < offset + nbytes:
        raise FileFormatError(
            f"{path} is truncated: it has {size:,} bytes, and its header ({saved}, shape {shape}) "
            f"needs {offset + nbytes:,}. Write or copy the file again."
        )
    return NpyHeader(element, shape, _strides(shape, fortran), offset, nbytes)


def map_file(path: Path, header: NpyHeader, *, writable: bool) -> Owner:
    """Map the elements of a file into memory that every process on this machine shares.

    Where the mapping of a file cannot be registered with CUDA, a read-only one is read once into
    named shared memory, which the processes share instead.

    Raises:
        CudaError: the file was asked for writable and its mapping cannot be registered.
    """
    owner = _map(path, header.offset, header.nbytes, writable=writable)
    try:
        HOST_MEMORY.register(owner)
    except CudaError as error:
        if writable:
            raise CudaError(
                f"{path} was mapped for writing, and the GPU cannot be given that mapping: {error} "
                "Files that the GPU writes must lie on tmpfs (/dev/shm); or load it read-only."
            ) from error
        owner = _map_copy(path, header.offset, header.nbytes)
        HOST_MEMORY.register(owner)
    return owner


def reopen(source: FileSource, nbytes: int, *, writable: bool) -> Owner:
    """Map in this process what another process has mapped.

    Raises:
        FileFormatError: the path names another file by now.
    """
    path = Path(source.path)
    if _inode(path.stat()) != source.inode:
        raise FileFormatError(
            f"{path} is not the file that the sending process had mapped; expected it to stay in "
            "place while processes share it. Load it again in both."
        )
    if source.copied:
        return _map_copy(path, source.offset, nbytes)
    return _map(path, source.offset, nbytes, writable=writable)


def _map(path: Path, offset: int, nbytes: int, *, writable: bool) -> Owner:
    with path.open("r+b" if writable else "rb") as file:
        source = FileSource(str(path.resolve()), offset, _inode(os.fstat(file.fileno())), False)
        if nbytes == 0:
            return HOST_MEMORY.map(0, 0, None, source, read_only=not writable)
        start = offset // PAGE * PAGE
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        mapping = mmap.mmap(file.fileno(), offset + nbytes - start, access=access, offset=start)
    array = np.frombuffer(mapping, dtype=np.uint8)
    address = int(array.ctypes.data) + offset - start
    return HOST_MEMORY.map(address, nbytes, array, source, read_only=not writable)


def _map_copy(path: Path, offset: int, nbytes: int) -> Owner:
    source = FileSource(str(path.resolve()), offset, _inode(path.stat()), True)
    copy = SharedCopy(path)
    return HOST_MEMORY.map(copy.address + offset, nbytes, copy, source, read_only=True)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _torch_dtype(path: Path, saved: np.dtype, expected: torch.dtype | None) -> torch.dtype:
    if saved.subdtype is not None or saved.names is not None:
        raise FileFormatError(
            f"{path} holds records of {saved}; expected plain numbers. Save each field on its own."
        )
    if expected is not None and saved.str.lstrip("<|=") in _CARRIERS.get(expected, ()):
        return expected
    try:
        found: torch.dtype = torch.from_numpy(np.empty(0, dtype=saved)).dtype
    except (TypeError, ValueError) as error:
        raise FileFormatError(
            f"{path} holds {saved}, which is no type of PyTorch's on this machine; expected "
            "numbers in native byte order. Convert it with array.astype, or name the type that "
            "its bytes stand for: td.load(path, dtype=torch.bfloat16)."
        ) from error
    if expected is not None and found != expected:
        raise FileFormatError(
            f"{path} holds {found}, expected {expected}. Leave dtype out, or convert the file."
        )
    return found


def _count(shape: tuple[int, ...]) -> int:
    """Number of elements; a header may say anything."""
    strides_fit = math.prod(max(size, 1) for size in shape) <= _LARGEST
    if any(isinstance(size, bool) or size < 0 for size in shape) or not strides_fit:
        raise ValueError(f"shape {shape}")
    return math.prod(shape)


def _strides(shape: tuple[int, ...], fortran: bool) -> tuple[int, ...]:
    strides = []
    step = 1
    for size in shape if fortran else reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(strides) if fortran else tuple(reversed(strides))
