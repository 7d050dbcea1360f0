"""Batches made ahead of the training loop, on a thread and a CUDA stream of their own.

All streams and events of the package's loaders are in this file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor

Task = TypeVar("Task")
Made = TypeVar("Made")


def prefetched(
    make: Callable[[Task], Made], tasks: Iterable[Task], *, ahead: int, device: torch.device
) -> Iterator[Made]:
    """Yield `make(task)` for every task, in order.

    Tasks are taken in the caller's thread, so that what they draw from random generators does not
    depend on timing. An exception in `make` is raised here, with its traceback. Dropping the
    iterator stops the thread: it ends the batch that it is at, and begins no other.

    Args:
        make: Makes a batch; called in one thread, for one task at a time.
        tasks: What to make.
        ahead: How many batches to make in advance; 0 makes each when it is asked for, in the
            caller's thread and on its stream.
        device: Where batches are made. On a GPU they are ready on the caller's current stream.
    """
    if ahead == 0:
        return (_made_here(make, task, device) for task in tasks)
    return _made_ahead(make, iter(tasks), ahead, device)


def _made_here(make: Callable[[Task], Made], task: Task, device: torch.device) -> Made:
    with on_device(device):
        return make(task)


def _made_ahead(
    make: Callable[[Task], Made], tasks: Iterator[Task], ahead: int, device: torch.device
) -> Iterator[Made]:
    side = _CudaSide(device) if device.type == "cuda" else _CpuSide()
    thread = ThreadPoolExecutor(1, thread_name_prefix="torch-direct-prefetch")
    waiting: deque[Future[Any]] = deque()

    def queue(count: int) -> None:
        waiting.extend(thread.submit(side.run, make, task) for task in islice(tasks, count))

    try:
        queue(ahead + 1)
        while waiting:
            yield side.hand_over(waiting.popleft().result())
            queue(1)
    finally:
        for future in waiting:
            future.cancel()
        with suppress(RuntimeError):  # the interpreter is shutting down, and has joined the thread
            thread.submit(side.finish, make)
        thread.shutdown(wait=False)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the current one in a block; nothing for the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _CpuSide:
    """What the thread does without CUDA."""

    def run(self, make: Callable[[Task], Made], task: Task) -> Made:
        return make(task)

    def hand_over(self, made: Made) -> Made:
        return made

    def finish(self, make: object) -> None:
        del make


class _CudaSide:
    """The stream that batches are made on, and how they come over to the caller's."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def run(self, make: Callable[[Task], Made], task: Task) -> tuple[Made, torch.cuda.Event]:
        """Make a batch on the stream, and mark where it is complete."""
        with torch.cuda.stream(self._stream):
            made = make(task)
            return made, self._stream.record_event()

    def hand_over(self, made: tuple[Made, torch.cuda.Event]) -> Made:
        """Let the caller's stream wait for a batch, and the allocator wait for the caller."""
        batch, complete = made
        current = torch.cuda.current_stream(self._device)
        current.wait_event(complete)
        for tensor in tensors_in(batch):
            if tensor.is_cuda:
                tensor.record_stream(current)
        return batch

    def finish(self, make: object) -> None:
        """Hold on to what batches are made of until the stream has stopped reading it."""
        self._stream.synchronize()
        del make


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors in nested containers and in the attributes of objects."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending.extend(item)
        elif hasattr(item, "__dict__") and not isinstance(item, (type, ModuleType)):
            pending.extend(vars(item).values())
