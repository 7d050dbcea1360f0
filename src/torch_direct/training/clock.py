"""Seconds of every stage of training."""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import torch

STAGES = ("sample", "gather", "wait", "train")
"""Making a batch (sample, gather), and using it (wait, train). What training waits for is that part
of making the batch that did not run under the training of the ones before it."""

Border: TypeAlias = Any
"""Seconds, or an event of CUDA."""


def border(device: torch.device) -> Border:
    """Return a border between two stages, now.

    On the CPU it is a reading of the monotonic clock, in seconds. On CUDA it is an event in the
    current stream: the time between two is what the stream spent there, waiting for the CPU
    included. Nothing is held up.
    """
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


class StageClock:
    """Adds up the seconds between the borders of stages."""

    def __init__(self, seconds: dict[str, float]) -> None:
        """Begin at the seconds of every stage that were counted before."""
        self._seconds = dict(seconds)
        self._spans: list[tuple[str, list[Border], Border]] = []

    def add(self, stage: str, *borders: Border) -> None:
        """Count the time up to the last of some borders of a device, for a stage.

        It begins at the others, of which there are one or more: when all of them are passed.
        """
        *starts, end = borders
        self._spans.append((stage, starts, end))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every stage so far; waits for the GPUs that borders are on."""
        for stage, starts, end in self._spans:
            self._seconds[stage] += min(_between(start, end) for start in starts)
        self._spans.clear()
        return dict(self._seconds)


def _between(start: Border, end: Border) -> float:
    if isinstance(start, float):
        return float(end - start)
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
