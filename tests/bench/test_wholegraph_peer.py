import ctypes
import os
import subprocess
import sys

import pytest
import torch

from torch_direct.bench import wholegraph
from torch_direct.bench.wholegraph import why_absent

SIZE = 1 << 20

MAKE_A_SEGMENT = f"""
import ctypes, os, sys
from torch_direct.bench import wholegraph
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0, {SIZE}, 0o600)
address = libc.shmat(segment, None, 0)
if "free" in sys.argv:
    wholegraph.free_segments_at_exit()
    assert wholegraph._segments_of(os.getpid()) == [segment]
ctypes.memset(address, 7, {SIZE})
assert ctypes.string_at(address + {SIZE} - 1, 1) == bytes([7])
print(segment, os.getpid(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_says_why_it_is_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_absent() == "needs a GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "pylibwholegraph", None)
    assert "cannot be imported" in why_absent()


@pytest.mark.gpu
def test_the_library_itself_where_it_is_installed():
    pytest.importorskip("pylibwholegraph.torch.tensor")
    assert why_absent() is None


def killed_with_a_segment(*words):
    """A process that made a segment and was killed: the segment, and its own number."""
    command = [sys.executable, "-c", MAKE_A_SEGMENT, *words]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    return map(int, ended.stdout.split())


@pytest.mark.skipif(not wholegraph._SEGMENTS.exists(), reason="no System V shared memory here")
def test_segments_of_a_process_are_freed_though_it_is_killed_and_no_others():
    stays, process = killed_with_a_segment()
    try:
        _, other = killed_with_a_segment("free")
        assert wholegraph._segments_of(other) == []
        assert wholegraph._segments_of(process) == [stays]
        assert wholegraph._segments_of(os.getpid()) == []
    finally:
        ctypes.CDLL(None).shmctl(stays, wholegraph._IPC_RMID, None)
    assert wholegraph._segments_of(process) == []
