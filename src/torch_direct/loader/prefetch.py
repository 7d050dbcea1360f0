"""Batches made ahead of the training loop, on a thread and on CUDA streams of their own.

All streams and events of the package's loaders are in this file.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from torch_direct.tensor.host_view import HostView

Stages: TypeAlias = Sequence[Callable[[Any], Any]]
"""How a batch is made: the first of a task, each of the others of what the one before returned."""

_SEQUENCES = (list, tuple, set, frozenset, deque)
_WITHOUT_PARTS = (HostView, type, ModuleType)
"""A unified tensor has its memory, and what keeps that, among its attributes."""
_LEAVES = frozenset({bool, int, float, str, type(None)})
"""Types that hold no tensor and come in great numbers: the positions of a batch's seeds, names."""


def prefetched(
    stages: Stages,
    tasks: Iterable[Any],
    *,
    ahead: int,
    device: torch.device,
    shared: Sequence[object] = (),
) -> Iterator[Any]:
    """Yield what the stages make of every task, in order.

    Tasks are taken in the caller's thread, so that what they draw from random generators does not
    depend on timing. An exception in a stage is raised here, with its traceback. Dropping the
    iterator stops the thread: it ends the batch that it is at, and begins no other.

    Args:
        stages: Called in one thread, for one task at a time. On a GPU each has a stream of its own,
            so that the GPU is at the first stage of a batch beside the last of the batch before.
        tasks: What to make batches of.
        ahead: How many batches to make in advance; 0 makes each when it is asked for, in the
            caller's thread and on its stream.
        device: Where batches are made. On a GPU they are ready on the caller's current stream.
        shared: Parts of batches that no stage makes: nothing in them has to be waited for.
    """
    if ahead == 0:
        return (_made_here(stages, task, device) for task in tasks)
    if device.type != "cuda":
        return _made_ahead(stages, iter(tasks), ahead, _CpuSide())
    return _made_ahead(stages, iter(tasks), ahead, _CudaSide(device, len(stages), shared))


def _made_here(stages: Stages, task: Any, device: torch.device) -> Any:
    with on_device(device):
        return through(stages, task)


def through(stages: Stages, task: Any) -> Any:
    """Return what the stages make of a task, here and now."""
    for stage in stages:
        task = stage(task)
    return task


def _made_ahead(
    stages: Stages, tasks: Iterator[Any], ahead: int, side: _CpuSide | _CudaSide
) -> Iterator[Any]:
    thread = ThreadPoolExecutor(1, thread_name_prefix="torch-direct-prefetch")
    waiting: deque[Future[Any]] = deque()
    failed: list[Exception] = []  # what ended the tasks, to be raised after the batches before it

    def run(task: Any, grad: bool, reached: Any) -> Any:
        with torch.set_grad_enabled(grad):
            return side.run(stages, task, reached)

    def queue(count: int) -> None:
        drawn: list[Any] = []
        try:
            drawn.extend(islice(tasks, count))
        except Exception as error:
            failed.append(error)
        grad, reached = torch.is_grad_enabled(), side.reached()  # which every thread has of its own
        waiting.extend(thread.submit(run, task, grad, reached) for task in drawn)

    try:
        queue(ahead + 1)
        while waiting:
            yield side.hand_over(waiting.popleft().result())
            if not failed:
                queue(1)
        if failed:
            raise failed.pop()
    finally:
        for future in waiting:
            future.cancel()
        with suppress(RuntimeError):  # the interpreter is shutting down, and has joined the thread
            thread.submit(side.finish, stages)
        thread.shutdown(wait=False)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the current one in a block; nothing for the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _CpuSide:
    """What the thread does without CUDA."""

    def run(self, stages: Stages, task: Any, reached: None) -> Any:
        del reached
        return through(stages, task)

    def hand_over(self, made: Any) -> Any:
        return made

    def reached(self) -> None:
        return None

    def finish(self, stages: object) -> None:
        del stages


@functools.cache
def _stream_of(device: torch.device, stage: int) -> torch.cuda.Stream:
    """The stream of a stage on a device: memory is reused on the same stream only."""
    del stage
    # A sampler's many small kernels would queue behind the blocks of the training's large ones.
    return torch.cuda.Stream(device, priority=-1)


class _CudaSide:
    """The streams that batches are made on, and how they come over to the caller's."""

    def __init__(self, device: torch.device, num_stages: int, shared: Sequence[object]) -> None:
        self._device, self._shared = device, shared
        self._streams = [_stream_of(device, stage) for stage in range(num_stages)]

    def run(
        self, stages: Stages, task: Any, reached: torch.cuda.Event
    ) -> tuple[Any, torch.cuda.Event]:
        """Make a batch on the streams once the caller's is there, and mark where it is complete."""
        reached.synchronize()
        made, complete = task, reached
        for stage, stream in zip(stages, self._streams, strict=True):
            with torch.cuda.stream(stream):
                self._take_over(made, complete, stream)
                made = stage(made)
                complete = stream.record_event()
        return made, complete

    def hand_over(self, made: tuple[Any, torch.cuda.Event]) -> Any:
        """Let the caller's stream wait for a batch, and the allocator wait for the caller."""
        batch, complete = made
        self._take_over(batch, complete, torch.cuda.current_stream(self._device))
        return batch

    def reached(self) -> torch.cuda.Event:
        """Mark where the caller's stream has read the batches handed over, and has the tasks drawn.

        A loop that never waits would otherwise launch far ahead of the GPU, and hold the memory of
        all those batches.
        """
        there = torch.cuda.Event(blocking=True)
        there.record(torch.cuda.current_stream(self._device))
        return there

    def finish(self, stages: object) -> None:
        """Hold on to what batches are made of until the streams have stopped reading it."""
        for stream in self._streams:
            stream.synchronize()
        del stages

    def _take_over(
        self, made: object, complete: torch.cuda.Event, stream: torch.cuda.Stream
    ) -> None:
        """Let a stream wait for what another makes; its memory is reused once it was read."""
        stream.wait_event(complete)
        for tensor in tensors_in(made, self._shared):
            if tensor.is_cuda:
                for part in _parts_of(tensor):
                    part.record_stream(stream)


def _parts_of(tensor: Tensor) -> Sequence[Tensor]:
    """Return the tensors that a tensor keeps its elements in."""
    if tensor.layout == torch.strided:
        return (tensor,)
    if tensor.layout == torch.jagged:
        return (tensor.values(), tensor.offsets())  # type: ignore[attr-defined]
    if tensor.layout == torch.sparse_coo:
        return (tensor._indices(), tensor._values())
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    return (tensor.ccol_indices(), tensor.row_indices(), tensor.values())


def tensors_in(value: object, apart: Sequence[object] = ()) -> Iterator[Tensor]:
    """Yield the tensors in nested containers and in the attributes of objects.

    Args:
        value: Where to look.
        apart: Objects in which not to look, such as large ones that hold none.
    """
    seen = {id(item): item for item in apart}  # held, since the id of an object that is gone recurs
    pending = [value]
    while pending:
        item = pending.pop()
        kind: type[Any] = type(item)
        if kind in _LEAVES or id(item) in seen:
            continue
        seen[id(item)] = item
        parts: list[object] = []
        if isinstance(item, Tensor):
            yield item
            if kind is Tensor:
                continue
        elif isinstance(item, _SEQUENCES):
            parts = list(item)
        elif isinstance(item, Mapping):
            parts = list(item.values())
        if not isinstance(item, _WITHOUT_PARTS):
            parts += getattr(item, "__dict__", {}).values()
            slots = _slots_of(kind)  # type: ignore[arg-type]  # mypy: a class has no hash
            parts += [getattr(item, name, None) for name in slots]
        if not _LEAVES.issuperset(map(type, parts)):
            pending.extend(parts)


@functools.lru_cache(256)
def _slots_of(kind: type) -> list[str]:
    """Return the names of the attributes that objects of a class have beside their `__dict__`."""
    names = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = name.startswith("__") and not name.endswith("__")
            names.append(f"_{base.__name__.lstrip('_')}{name}" if mangled else name)
    return names
