"""Measure a block of batches out of a long run: what it takes in time, processors and energy."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch

from torch_direct.bench.energy import Energy, Joules
from torch_direct.bench.train.batch import Minibatch
from torch_direct.memory.pages import available_memory

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_EVERY = 0.1
"""Seconds between looks at the free memory."""


class Mark:
    """A moment in the work of a device: when it has done all that it was asked before."""

    def __init__(self, device: torch.device) -> None:
        self._event, self._time = None, 0.0
        if device.type == "cuda":
            # Waiting for it leaves the processor to others.
            self._event = torch.cuda.Event(enable_timing=True, blocking=True)
            self._event.record()
        else:
            self._time = time.perf_counter()

    def wait(self) -> None:
        """Return when the device has come there."""
        if self._event is not None:
            self._event.synchronize()

    def seconds_until(self, later: Mark) -> float:
        """Return the seconds from here to a later mark; both must have been waited for."""
        if self._event is None or later._event is None:
            return later._time - self._time
        return float(self._event.elapsed_time(later._event)) / 1000


class Reading(NamedTuple):
    """What was used up to a moment."""

    time: float
    cpu: float
    """CPU seconds of this process and its children."""
    energy: Joules


class Meters:
    """The meters of a machine."""

    def __init__(self, device: torch.device) -> None:
        self._energy = Energy(device)
        self._least = 0
        self._looked = 0.0

    def read(self) -> Reading:
        """Return what was used up to now."""
        workers = sum(_cpu_seconds(process.pid) for process in multiprocessing.active_children())
        return Reading(time.perf_counter(), time.process_time() + workers, self._energy.read())

    def begin(self) -> None:
        """Forget the least free memory."""
        self._least = available_memory()
        self._looked = time.monotonic()

    def look(self) -> None:
        """Take note of the free memory, ten times a second at most."""
        now = time.monotonic()
        if now - self._looked > _LOOK_EVERY:
            self._least = min(self._least, available_memory())
            self._looked = now

    @property
    def least_free(self) -> int:
        """The least free memory that was seen, in bytes."""
        return self._least


@dataclass(frozen=True)
class Block:
    """What the batches of a block took, each on average."""

    batches: int
    seconds: float
    exposed: float
    """Seconds from the end of a step to the beginning of the next one."""
    cores: float
    """Processors at work."""
    gpu_watts: float | None
    cpu_watts: float | None
    link_bytes: float
    host_bytes: int
    """How much less memory was free at the worst than at the beginning."""


def run_block(
    batches: Iterable[Minibatch],
    step: Callable[[Minibatch], object],
    *,
    lead: int,
    counted: int,
    meters: Meters,
    device: torch.device,
) -> Block:
    """Train on batches as they come, and measure those between the first and the last.

    The host is a step ahead of the device, as in a loop that reads the loss of the step before.

    Args:
        batches: As many as lead and count, at least; the others are left.
        step: Trains on a batch, on the current stream.
        lead: How many come before, 1 or more: until the first of them are there nobody trains.
        counted: How many are measured, 1 or more.
        meters: Of the machine.
        device: Which trains.
    """
    begins: list[Mark] = []
    ends: list[Mark] = []
    link_bytes = 0
    opening: Reading | None = None
    closing: Reading | None = None
    free = available_memory()
    meters.begin()
    for number, batch in enumerate(islice(batches, lead + counted)):
        begins.append(Mark(device))
        step(batch)
        ends.append(Mark(device))
        if number > 0:
            ends[number - 1].wait()
        if number == lead:
            opening = meters.read()
        if number >= lead:
            link_bytes += batch.link_bytes
        meters.look()
        if number == lead + counted - 1:
            ends[number].wait()
            closing = meters.read()
    if opening is None or closing is None:
        raise ValueError(f"there are {len(ends)} batches; expected {lead} to lead and {counted}")
    gaps = [end.seconds_until(begin) for end, begin in zip(ends, begins[1:], strict=False)]
    passed = closing.time - opening.time
    return Block(
        batches=counted,
        seconds=ends[lead - 1].seconds_until(ends[-1]) / counted,
        exposed=sum(gaps[lead - 1 :]) / counted,
        cores=(closing.cpu - opening.cpu) / passed,
        gpu_watts=_watts(opening.energy.gpu, closing.energy.gpu, passed),
        cpu_watts=_watts(opening.energy.cpu, closing.energy.cpu, passed),
        link_bytes=link_bytes / counted,
        host_bytes=max(0, free - meters.least_free),
    )


def _watts(before: float | None, after: float | None, seconds: float) -> float | None:
    return None if before is None or after is None else (after - before) / seconds


def _cpu_seconds(process: int | None) -> float:
    """Return the CPU seconds of another process, all threads together; 0 where it has ended."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    # The name, in brackets, may have blanks.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
