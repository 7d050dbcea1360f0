"""System V segments: freed with the process that made them."""

import ctypes
import os
import subprocess
import sys

import pytest

from torch_direct.memory import segments

SIZE = 1 << 20

MAKE_A_SEGMENT = f"""
import ctypes, os, sys
from torch_direct.memory import segments
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0, {SIZE}, 0o600)
address = libc.shmat(segment, None, 0)
if "free" in sys.argv:
    segments.free_segments_at_exit()
    segments.free_segments_at_exit()  # as after a second allocation
    assert segments._segments_of(os.getpid()) == [segment]
ctypes.memset(address, 7, {SIZE})
assert ctypes.string_at(address + {SIZE} - 1, 1) == bytes([7])
print(segment, os.getpid(), flush=True)
os.kill(os.getpid(), 9)
"""


def killed_with_a_segment(*words):
    """A process that made a segment and was killed: the segment, and its own number."""
    command = [sys.executable, "-c", MAKE_A_SEGMENT, *words]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    return map(int, ended.stdout.split())


@pytest.mark.skipif(not segments._SEGMENTS.exists(), reason="no System V shared memory here")
def test_segments_of_a_process_are_freed_though_it_is_killed_and_no_others():
    stays, process = killed_with_a_segment()
    try:
        _, other = killed_with_a_segment("free")
        assert segments._segments_of(other) == []
        assert segments._segments_of(process) == [stays]
        assert segments._segments_of(os.getpid()) == []
    finally:
        ctypes.CDLL(None).shmctl(stays, segments._IPC_RMID, None)
    assert segments._segments_of(process) == []
