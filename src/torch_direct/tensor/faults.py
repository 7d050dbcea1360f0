"""Row indices out of range, found on the GPU and raised on the host.

A kernel cannot raise, and an assertion on the device ends the CUDA context. Kernels note the
first row out of range in memory that the host can read; the next call here raises it.
"""

from __future__ import annotations

import functools
import os
import threading

import torch
from torch import Tensor

from torch_direct.kernels.rows import out_of_range
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.memory.owner import Owner

_COMPLETE = 2
_WORDS = 4
_making = threading.Lock()


def check() -> None:
    """Wait for every GPU and raise what its kernels found.

    Raises:
        IndexError: a row index was out of range in a call since the last check.
    """
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.synchronize(device)
        raise_pending()


def check_current_stream(device: torch.device) -> None:
    """As `check`, for the current stream alone, and not while it captures a CUDA graph."""
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        torch.cuda.current_stream(device).synchronize()
        raise_pending()


def raise_pending() -> None:
    """Raise what has been noted so far, without waiting, and not while capturing a CUDA graph.

    Raises:
        IndexError: a row index was out of range in an earlier call.
    """
    record = _host_record()
    if record[0] == _COMPLETE and not torch.cuda.is_current_stream_capturing():
        _, row, num_rows, _ = record
        record[0] = 0
        raise IndexError(out_of_range(row, num_rows))


def forget() -> None:
    """Drop what has been noted so far."""
    _host_record()[0] = 0


@functools.cache
def sync_check() -> bool:
    """Whether ``TORCH_DIRECT_SYNC_CHECK=1`` asks to wait and raise at once; read at first use."""
    return os.environ.get("TORCH_DIRECT_SYNC_CHECK") == "1"


def raise_now_if_asked() -> None:
    """Wait and raise at once where `sync_check` says so, but not while capturing a CUDA graph."""
    if sync_check() and not (
        torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
    ):
        check()


@functools.cache
def record_on(device: torch.device) -> Tensor:
    """The record as a GPU sees it: ``[4]`` int64, state, row, number of rows, unused."""
    # A tensor of inference mode could not be written to outside of it.
    with torch.inference_mode(False):
        return _owner().tensor_on(device, torch.int64, (_WORDS,), (1,), 0)


@functools.cache
def _host_record() -> memoryview:
    host = _owner().tensor_on(torch.device("cpu"), torch.int64, (_WORDS,), (1,), 0)
    record: memoryview = host.numpy().data
    return record


def _owner() -> Owner:
    with _making:
        return _made_owner()


@functools.cache
def _made_owner() -> Owner:
    owner = HOST_MEMORY.allocate(_WORDS * 8)
    owner.tensor_on(torch.device("cpu"), torch.int64, (_WORDS,), (1,), 0).zero_()
    return owner
