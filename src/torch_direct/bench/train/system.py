"""What a system does that feeds the training step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.utils.data import Sampler

from torch_direct.bench.train.batch import Minibatch
from torch_direct.bench.train.models import Workload

TRANSFER, PAGEABLE = "transfer_s", "transfer_pageable_s"

LEAD = 32
"""Batches, at least, until the allocator of GPU memory has what it needs."""

Ids = tuple[Tensor, Tensor]
"""Node ids of a batch, on the CPU, page-locked where there is a GPU, and on the training device."""
Transfer = Callable[[Tensor, Tensor], Tensor]
"""Gives the rows of `Ids` on the training device; it may return before they are there."""


class Drawn(Protocol):
    """A batch that was sampled, with no features."""

    @property
    def n_id(self) -> Tensor:
        """Its node ids, `[num sampled nodes]`, on the CPU or on the training device."""


@dataclass(frozen=True, eq=False)
class Case:
    """What batches are made of."""

    workload: Workload
    nodes: Tensor
    """Seed nodes of all batches one after the other, int64 `[batches * batch_size]`, on the CPU."""
    workers: int
    """Processes of the systems that have any."""

    def seeds(self, batch: int) -> Tensor:
        """Return the seed nodes of a batch."""
        size = self.workload.batch_size
        return self.nodes[batch * size : (batch + 1) * size]


@dataclass(frozen=True)
class Ready:
    """A system that is ready to work on a case."""

    batches: Callable[[range], Iterator[Minibatch]]
    """Gives the batches of these numbers, ready on the current stream. Nothing is done for it
    before it is called, nor after the last batch."""
    sample: Callable[[range], Iterator[Drawn]]
    """Only samples them."""
    transfers: Mapping[str, Transfer]
    """Ways to get the rows of a batch, by the field of the row that takes the time."""
    lead: int
    """Batches until it works as it does in the long run."""
    tail: int
    """How many more it makes ahead; with as many asked for after those that count, it is at work
    until the last of these."""
    workers: int | None = None
    """Processes that work for it; None where it has none."""

    def whole_waves(self, batches: float) -> int:
        """Return how many batches are as many or more, in whole waves.

        Workers that begin together give as many batches at a time as they are.
        """
        wave = self.workers or 1
        return wave * math.ceil(batches / wave)


Start = Callable[[Case], AbstractContextManager[Ready]]
"""Makes ready for a case, and tidies up after it."""


class Turn(Sampler[int]):
    """Where the seeds of the batches that are asked for lie among all seeds."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.numbers = range(0)

    def __iter__(self) -> Iterator[int]:
        first = self.numbers.start * self.batch_size
        return iter(range(first, first + len(self)))

    def __len__(self) -> int:
        return len(self.numbers) * self.batch_size
