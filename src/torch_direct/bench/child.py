"""Run a part of a benchmark in a process of its own, which may die without ending the rest."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

from torch_direct.errors import TorchDirectError
from torch_direct.memory.segments import free_segments_of

T = TypeVar("T")

_LOGGER = logging.getLogger("torch_direct")

_SECONDS_TO_LEAVE = 10.0


@dataclass(frozen=True)
class _Failure:
    reason: str


@dataclass(frozen=True)
class _End:
    pass


def in_child(work: Callable[..., Iterable[T]], *arguments: Any, seconds: float) -> Iterator[T]:
    """Yield what a function yields in a fresh process, as it comes.

    Args:
        work: A function of a module, which yields what can be pickled; it may start processes.
        arguments: What to call it with.
        seconds: The longest that it may take, its start included.

    Raises:
        ChildProcessError: The function raised, or its process died; what came before was yielded.
        TimeoutError: It took too long; its process is ended.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    # No daemon: those may not start processes.
    process = context.Process(target=_send_all, args=(sender, work, arguments))
    deadline = time.monotonic() + seconds
    process.start()
    sender.close()
    try:
        while not isinstance(message := _receive(receiver, deadline, seconds), _End):
            yield message
        process.join(_SECONDS_TO_LEAVE)
    except EOFError:
        process.join(_SECONDS_TO_LEAVE)
        raise ChildProcessError(
            f"its process died with exit status {process.exitcode}; expected it to finish. A "
            "negative status is a signal: -9 is mostly the kernel, for want of memory."
        ) from None
    finally:
        receiver.close()
        process.kill()
        process.join()
        # WholeGraph's tensors are such, and would stay in memory until the machine restarts.
        free_segments_of(cast("int", process.pid))


def _receive(receiver: Connection, deadline: float, seconds: float) -> Any:
    if not receiver.poll(max(0.0, deadline - time.monotonic())):
        raise TimeoutError(f"it took more than {seconds:.0f} seconds")
    message = receiver.recv()
    if isinstance(message, _Failure):
        raise ChildProcessError(message.reason)
    return message


def _send_all(
    sender: Connection, work: Callable[..., Iterable[Any]], arguments: tuple[Any, ...]
) -> None:
    # Ctrl-C reaches all processes of a terminal, and the parent says what came of it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The parent says in words of its own where things run.
    _LOGGER.setLevel(logging.ERROR)
    try:
        for message in work(*arguments):
            sender.send(message)
    except Exception as error:
        if not isinstance(error, TorchDirectError):
            _LOGGER.exception("a part of the benchmark failed")
        sender.send(_Failure(f"{type(error).__name__}: {error}"))
    else:
        sender.send(_End())
