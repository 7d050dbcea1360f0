"""System V shared memory, which other libraries allocate and the kernel keeps for good."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_SEGMENTS = Path("/proc/sysvipc/shm")
_IPC_RMID = 0


def free_segments_at_exit() -> None:
    """Have the kernel free this process's segments when it ends, killed or not.

    Raises:
        OSError: One cannot be marked.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for segment in _segments_of(os.getpid()):
        if libc.shmctl(segment, _IPC_RMID, None) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"segment {segment} cannot be marked: {os.strerror(error)}")


def _segments_of(process: int) -> list[int]:
    if not _SEGMENTS.exists():
        return []
    heading, *lines = _SEGMENTS.read_text().splitlines()
    names = heading.split()
    found = [dict(zip(names, map(int, line.split()), strict=True)) for line in lines]
    return [segment["shmid"] for segment in found if segment["cpid"] == process]
