"""The parts of an epoch alone: training, sampling and transfer with nothing else running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from torch_direct.bench.measure import take_turns, wait_for_gpu
from torch_direct.bench.train.batch import Minibatch
from torch_direct.bench.train.block import Mark
from torch_direct.bench.train.system import Ids, Ready, Transfer

_SECONDS_OF_A_TRANSFER = 2.0
_STEPS_FOR_WARMTH, _STEPS = 4, 24
_DRAWS_A_WORKER = 2


def train_alone(
    step: Callable[[Minibatch], object], batches: Sequence[Minibatch], device: torch.device
) -> float:
    """Return the seconds of a step on batches that are on the device already.

    Args:
        step: Trains on a batch.
        batches: To be used in turn.
        device: Which trains.
    """
    steps = (batches[number % len(batches)] for number in range(_STEPS_FOR_WARMTH + _STEPS))
    return _seconds_each((step(batch) for batch in steps), _STEPS_FOR_WARMTH, device)


def sample_alone(ready: Ready, device: torch.device) -> float:
    """Return the seconds from one sampled batch to the next one.

    Args:
        ready: The system; twice as many batches are drawn as it has workers.
        device: Which trains.
    """
    numbers = range(ready.lead + _DRAWS_A_WORKER * max(ready.lead, ready.workers or 0))
    return _seconds_each(ready.sample(numbers), ready.lead, device)


def transfer_alone(
    systems: Mapping[str, Ready], ids: Mapping[str, Sequence[Ids]]
) -> dict[str, dict[str, float]]:
    """Return the seconds until the rows of a batch are on the device.

    Args:
        systems: That take turns.
        ids: Of as many batches of each, the first of which warms up.

    Returns:
        By system, and then by field of the row.
    """
    calls = {
        f"{system} {field}": _of_number(transfer, ids[system])
        for system, ready in systems.items()
        for field, transfer in ready.transfers.items()
    }
    rounds = min(len(recorded) for recorded in ids.values()) - 1
    timings = take_turns(calls, rounds=rounds, seconds_each=_SECONDS_OF_A_TRANSFER)
    return {
        system: {field: timings[f"{system} {field}"].median for field in ready.transfers}
        for system, ready in systems.items()
    }


def _of_number(transfer: Transfer, ids: Sequence[Ids]) -> Callable[[int], object]:
    return lambda number: transfer(*ids[number])


def _seconds_each(items: Iterable[object], lead: int, device: torch.device) -> float:
    """Return the seconds from one item to the next, but for those in the lead."""
    wait_for_gpu()
    marks = []
    for _ in items:
        marks.append(Mark(device))
        if len(marks) > 1:
            marks[-2].wait()
    marks[-1].wait()
    return marks[lead - 1].seconds_until(marks[-1]) / (len(marks) - lead)
