"""System V shared memory, which other libraries allocate and the kernel keeps for good."""

from __future__ import annotations

import ctypes
from pathlib import Path

_SEGMENTS = Path("/proc/sysvipc/shm")
_IPC_RMID = 0


def free_segments_of(process: int) -> None:
    """Free the segments that a process made, which has ended.

    What cannot be freed, as it is another user's, stays.
    """
    libc = ctypes.CDLL(None)
    for segment in _segments_of(process):
        libc.shmctl(segment, _IPC_RMID, None)


def _segments_of(process: int) -> list[int]:
    if not _SEGMENTS.exists():
        return []
    heading, *lines = _SEGMENTS.read_text().splitlines()
    names = heading.split()
    found = [dict(zip(names, map(int, line.split()), strict=True)) for line in lines]
    return [segment["shmid"] for segment in found if segment["cpid"] == process]
