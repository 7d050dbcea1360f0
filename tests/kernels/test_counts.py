"""Numbers that kernels count, and what a queue repeats."""

from __future__ import annotations

import pytest
import torch

from torch_direct.kernels.counts import Counts
from torch_direct.kernels.queue import Queue


def test_numbers_that_are_taken_are_apart_and_aligned(device):
    counts = Counts(8, Queue(device, []))
    taken = [counts.take(size) for size in (1, 3, 2)]
    assert [tensor.data_ptr() % 16 for tensor in taken] == [0, 0, 0]
    for value, tensor in enumerate(taken, 1):
        assert tensor.tolist() == [0] * tensor.numel()
        tensor.fill_(value)
    numbers_of = counts.read()
    assert [numbers_of(tensor) for tensor in taken] == [[1], [2, 2, 2], [3, 3]]
    assert numbers_of(taken[1][1:2]) == [2]


def test_no_more_are_taken_than_there_are(device):
    counts = Counts(4, Queue(device, []))
    counts.take(3)
    with pytest.raises(IndexError, match="6 numbers are taken of 4"):
        counts.take(2)


def test_only_arrays_of_zeros_are_cleared_when_a_queue_is_repeated(device):
    queue = Queue(device, [7])
    kept, cleared = queue.empty(3, dtype=torch.int32), queue.zeros(2, 2)
    assert (kept.shape, kept.dtype, cleared.tolist()) == ((3,), torch.int32, [[0, 0], [0, 0]])
    kept.fill_(5)
    cleared.fill_(5)
    queue.repeat([8])
    assert (kept.tolist(), cleared.tolist()) == ([5, 5, 5], [[0, 0], [0, 0]])
    assert queue.nbytes == 3 * 4 + 4 * 8
