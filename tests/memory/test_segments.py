"""System V segments, which outlive the process that made them."""

import os
import subprocess
import sys

import pytest

from torch_direct.memory import segments

pytestmark = pytest.mark.skipif(
    not segments._SEGMENTS.exists(), reason="no System V shared memory here"
)

MAKE_ONE = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0, 1 << 20, 0o600)
libc.shmat(segment, None, 0)
print(os.getpid(), segment, flush=True)
os.kill(os.getpid(), 9)
"""


def killed_with_a_segment() -> tuple[int, int]:
    """A process that made a segment and was killed: its number, and the segment."""
    ended = subprocess.run([sys.executable, "-c", MAKE_ONE], capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    process, segment = map(int, ended.stdout.split())
    return process, segment


def test_those_of_one_process_are_freed() -> None:
    one, other = killed_with_a_segment(), killed_with_a_segment()
    try:
        segments.free_segments_of(one[0])
        assert segments._segments_of(one[0]) == []
        assert segments._segments_of(other[0]) == [other[1]]
        assert segments._segments_of(os.getpid()) == []
    finally:
        segments.free_segments_of(other[0])
    assert segments._segments_of(other[0]) == []
