"""The parts of an epoch alone: training, sampling and transfer with nothing else running."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from torch_direct.bench.measure import wait_for_gpu
from torch_direct.bench.train.batch import Minibatch
from torch_direct.bench.train.block import Mark
from torch_direct.bench.train.system import Ids, Ready, Transfer

_COUNTED = 34
"""Of every part in a turn: more than 100 in three turns."""
_LEAD = 4

TRANSFERS = _LEAD + _COUNTED
"""Batches whose rows `transfer_alone` brings to the device."""


def train_alone(
    step: Callable[[Minibatch], object], batches: Sequence[Minibatch], device: torch.device
) -> float:
    """Return the seconds of a step on batches that are on the device already.

    Args:
        step: Trains on a batch.
        batches: To be used in turn.
        device: Which trains.
    """
    steps = (batches[number % len(batches)] for number in range(_LEAD + _COUNTED))
    return _seconds_each((step(batch) for batch in steps), _LEAD, _COUNTED, device)


def sample_alone(ready: Ready, device: torch.device) -> float:
    """Return the seconds from one sampled batch to the next one.

    Args:
        ready: The system. It is at work to the end of the batches that count.
        device: Which trains.
    """
    counted = ready.whole_waves(_COUNTED)
    numbers = range(ready.lead + counted + ready.tail)
    return _seconds_each(ready.sample(numbers), ready.lead, counted, device)


def transfer_alone(transfer: Transfer, ids: Sequence[Ids], device: torch.device) -> float:
    """Return the seconds from the rows of one batch to those of the next one.

    Two batches are under way: one is asked for while the one before comes.

    Args:
        transfer: Brings the rows of a batch to the device.
        ids: Of `TRANSFERS` batches.
        device: Which trains.
    """
    rows = (transfer(*of_batch) for of_batch in ids)
    return _seconds_each(rows, _LEAD, _COUNTED, device)


def _seconds_each(items: Iterable[object], lead: int, counted: int, device: torch.device) -> float:
    """Return the seconds from one item to the next, for those that count behind the lead."""
    wait_for_gpu()
    marks = []
    for _ in items:
        marks.append(Mark(device))
        if len(marks) > 1:
            marks[-2].wait()
    marks[-1].wait()
    return marks[lead - 1].seconds_until(marks[lead + counted - 1]) / counted
