"""Seconds of every stage of a training step."""

from __future__ import annotations

import time
from typing import Any

import torch

STAGES = ("sample", "gather", "train")


class StageClock:
    """Divides the time of a device into stages, without holding it up.

    On the CPU a border between stages is a reading of the monotonic clock. On CUDA it is an event
    in the current stream: the time between two events is what the stream spent there, waiting for
    the CPU included, so that the stages add up to the time that passed and nothing has to be
    synchronised until the seconds are asked for. Work of the CPU that the GPU did not have to wait
    for therefore costs nothing, as it should.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._borders: list[tuple[str | None, Any]] = []

    def start(self) -> None:
        """Begin to count; what passed since the last border belongs to no stage."""
        self._borders.append((None, self._now()))

    def ends(self, stage: str) -> None:
        """Give the time since the last border to `stage`."""
        self._borders.append((stage, self._now()))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every stage so far; waits for the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        for (_, before), (stage, after) in zip(self._borders, self._borders[1:], strict=False):
            if stage is not None:
                self._seconds[stage] += self._between(before, after)
        self._borders = self._borders[-1:]
        return dict(self._seconds)

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, before: Any, after: Any) -> float:
        if self._device.type != "cuda":
            return float(after - before)
        return float(before.elapsed_time(after)) / 1000
