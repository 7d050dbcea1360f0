"""Wall-clock times of systems that take turns."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

_FEWEST_ROUNDS = 3
_QUICK_SECONDS = 0.02

Call = Callable[[int], object]
"""Does the work of one round, given its number; may return before the GPU is done."""


@dataclass(frozen=True)
class Timing:
    """Seconds of a system over its rounds."""

    median: float
    """From the call until the GPU is idle."""
    lower: float
    """First quartile."""
    upper: float
    """Third quartile."""
    host: float
    """Median until the call returns."""
    cpu: float
    """Median of CPU time, over all threads of this process, those that wait busily included."""
    rounds: int
    """How many rounds it took part in, the warm-up not counted."""


def take_turns(
    calls: Mapping[str, Call],
    *,
    rounds: int,
    seconds_each: float,
    seed: int = 0,
    before: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Measure systems in rounds: in each, every system works once, in an order drawn anew.

    Round 0 warms up and is not counted. In the others a quick system works once more before it is
    measured, on what the round before measured: it finds the host's caches as a loop of its own
    does, not as the system before it left them.

    Args:
        calls: The systems.
        rounds: Rounds to count, 1 or more.
        seconds_each: A system that has taken longer in all drops out, after 3 rounds or more.
        seed: Draws the orders.
        before: Called before every measurement, such as to empty caches.
    """
    order = random.Random(seed)
    samples: dict[str, list[_Sample]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name in order.sample(sorted(calls), len(calls)):
            spent = sum(sample.total for sample in samples[name])
            if spent > seconds_each and len(samples[name]) > _FEWEST_ROUNDS:
                continue
            if samples[name] and samples[name][-1].total < _QUICK_SECONDS:
                calls[name](number - 1)
            before()
            samples[name].append(_measure(calls[name], number))
    return {name: _timing(taken[1:]) for name, taken in samples.items()}


def wait_for_gpu() -> None:
    """Return when the GPU, if there is one, has done all that it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class _Sample(NamedTuple):
    """Seconds of one call."""

    total: float
    host: float
    cpu: float


def _measure(call: Call, number: int) -> _Sample:
    wait_for_gpu()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    # The result is kept until the clock has stopped: freeing it is not part of the work.
    result = call(number)
    returned = time.perf_counter()
    wait_for_gpu()
    end, end_cpu = time.perf_counter(), time.process_time()
    del result
    return _Sample(end - begin, returned - begin, end_cpu - begin_cpu)


def _timing(samples: list[_Sample]) -> Timing:
    totals = [sample.total for sample in samples]
    if len(totals) == 1:
        lower = upper = totals[0]
    else:
        lower, _, upper = statistics.quantiles(totals, n=4, method="inclusive")
    return Timing(
        median=statistics.median(totals),
        lower=lower,
        upper=upper,
        host=statistics.median(sample.host for sample in samples),
        cpu=statistics.median(sample.cpu for sample in samples),
        rounds=len(totals),
    )
