"""At the sizes that users have: tens of GiB, and loaders with many workers."""

from __future__ import annotations

import time
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import torch_direct as td
from torch_direct.memory import pages

GIB = 1 << 30
LARGE = 24 * GIB
WORKERS = 16


class Rows(Dataset):
    """Something for workers to do that touches no unified memory."""

    def __init__(self, held: list[torch.Tensor]) -> None:
        self.held = held

    def __len__(self) -> int:
        return 4 * WORKERS

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((4,), index)


@pytest.mark.gpu
@pytest.mark.slow
def test_forking_many_workers_over_large_memory_is_fast_and_doubles_nothing() -> None:
    if pages.available_memory() < 2 * LARGE + 8 * GIB:
        pytest.skip("needs 56 GiB of free host memory")
    source = torch.empty(LARGE, dtype=torch.uint8)
    source.fill_(1)
    held = [td.unified(source), td.empty(LARGE, dtype=torch.uint8)]
    free_before = pages.available_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads
        begin = time.perf_counter()
        batches = iter(DataLoader(Rows(held), batch_size=4, num_workers=WORKERS))
        seconds = time.perf_counter() - begin
        first = next(batches)
        taken = free_before - pages.available_memory()
        rest = list(batches)
    assert first.shape == (4, 4)
    assert len(rest) == WORKERS - 1
    assert seconds / WORKERS < 0.1
    assert taken < 4 * GIB
    assert int(held[0][LARGE - 1]) == 1


@pytest.mark.gpu
@pytest.mark.slow
def test_allocating_is_much_faster_than_pinning() -> None:
    if pages.available_memory() < 24 * GIB:
        pytest.skip("needs 24 GiB of free host memory")
    td.empty(1)
    begin = time.perf_counter()
    ours = td.empty(8 * GIB, dtype=torch.uint8)
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    pinned = torch.empty(8 * GIB, dtype=torch.uint8, pin_memory=True)
    pinning = time.perf_counter() - begin
    assert ours.numel() == pinned.numel()
    assert seconds < pinning
