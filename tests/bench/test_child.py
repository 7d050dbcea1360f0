import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import pytest

from torch_direct.bench.child import in_child
from torch_direct.errors import DatasetError
from torch_direct.memory import segments


def squares(count: int) -> Iterator[int]:
    yield from (number * number for number in range(count))


def one_then(what: str) -> Iterator[int]:
    yield 1
    if what == "refuse":
        raise DatasetError("no such graph")
    if what == "raise":
        raise ValueError("the value is 3; expected 4")
    if what == "die":
        os._exit(3)
    time.sleep(600)


def from_a_process_of_its_own() -> Iterator[int]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        yield from pool.map(abs, [-3, -4])


def test_the_other_process_may_start_processes():
    assert list(in_child(from_a_process_of_its_own, seconds=60)) == [3, 4]


def test_yields_what_the_function_yields_from_another_process():
    assert list(in_child(squares, 4, seconds=60)) == [0, 1, 4, 9]


@pytest.mark.parametrize(("what", "logged"), [("raise", True), ("refuse", False)])
def test_what_the_user_can_mend_comes_without_a_traceback(what, logged, capfd):
    with pytest.raises(ChildProcessError):
        list(in_child(one_then, what, seconds=60))
    assert ("Traceback" in capfd.readouterr().err) == logged


def interrupted() -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600)


def test_ctrl_c_ends_a_child_without_a_traceback(capfd):
    messages = in_child(interrupted, seconds=60)
    assert next(messages) == 1
    with pytest.raises(ChildProcessError, match="exit status -2"):
        next(messages)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("raise", ChildProcessError, "ValueError: the value is 3; expected 4"),
        ("die", ChildProcessError, "exit status 3"),
        ("sleep", TimeoutError, "more than 10 seconds"),
    ],
)
def test_a_child_that_fails_says_why_and_keeps_what_it_had(what, error, words):
    seconds = 10 if what == "sleep" else 60
    messages = in_child(one_then, what, seconds=seconds)
    assert next(messages) == 1
    with pytest.raises(error, match=words):
        next(messages)


def leaves_a_segment() -> Iterator[int]:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat(libc.shmget(0, 1 << 20, 0o600), None, 0)
    yield os.getpid()
    yield len(segments._segments_of(os.getpid()))


@pytest.mark.skipif(not segments._SEGMENTS.exists(), reason="no System V shared memory here")
def test_shared_memory_that_a_child_leaves_is_freed():
    child, made = in_child(leaves_a_segment, seconds=60)
    assert made == 1
    assert segments._segments_of(child) == []
