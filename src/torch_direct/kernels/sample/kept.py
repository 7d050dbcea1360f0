"""Batches whose arrays and launches are kept for the next batch of their shape."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable

from torch_direct.kernels.sample.batch import QueuedBatch

_MOST_BYTES = 512 << 20
"""Of GPU memory, for all that is kept."""
_SHAPES_NOTED = 16
"""Shapes that are remembered as asked for once."""


class Kept:
    """The last batches of shapes that were asked for before, to be queued again."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._batches: dict[Hashable, QueuedBatch] = {}
        self._noted: deque[Hashable] = deque(maxlen=_SHAPES_NOTED)

    def take(self, shape: Hashable) -> QueuedBatch | None:
        """Return a batch that nobody else has now."""
        with self._lock:
            return self._batches.pop(shape, None)

    def give(self, shape: Hashable, batch: QueuedBatch) -> None:
        """Keep a batch that can be queued again, if it is not the first of its shape."""
        if not batch.queue.repeatable or batch.queue.nbytes > _MOST_BYTES:
            return
        with self._lock:
            if shape in self._noted:
                self._batches[shape] = batch
            else:
                self._noted.append(shape)
            while sum(kept.queue.nbytes for kept in self._batches.values()) > _MOST_BYTES:
                del self._batches[next(iter(self._batches))]
