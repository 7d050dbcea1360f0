"""What goes into the file for one system with one model on one graph."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from torch_direct.bench.outcome import Row
from torch_direct.bench.results import rounded
from torch_direct.bench.train.block import Block
from torch_direct.bench.train.system import PAGEABLE, TRANSFER

SAMPLE, TRAIN = "sample_s", "train_s"
ALONE = (TRANSFER, PAGEABLE, SAMPLE, TRAIN)
"""Fields of a row that are measured with nothing else running."""

_SPREAD = {
    TRANSFER: ("transfer_q1_s", "transfer_q3_s"),
    PAGEABLE: ("transfer_pageable_q1_s", "transfer_pageable_q3_s"),
    SAMPLE: ("sample_q1_s", "sample_q3_s"),
    TRAIN: ("train_q1_s", "train_q3_s"),
}
"""Fields of their quartiles."""

_FIGURES = (
    *("epoch_s", *ALONE, *chain(*_SPREAD.values())),
    *("exposed_s", "link_gb", "cpu_s", "host_peak_bytes"),
    *("gpu_j", "gpu_w", "cpu_j", "ms_per_batch", "ms_q1", "ms_q3", "workers", "ahead"),
)


def no_figures(error: str) -> Row:
    """Return what is said of a system that was wrong, or failed."""
    return {**dict.fromkeys(_FIGURES), "batches": 0, "correct": False, "error": error}


def figures_of(
    blocks: Sequence[Block],
    alone: Mapping[str, Sequence[float]],
    *,
    batches: int,
    host_bytes: int,
    workers: int | None,
    ahead: int,
    over_link: bool,
) -> Row:
    """Return the figures of a system, those of an epoch as if all its batches were like these.

    Args:
        blocks: That were timed, one at least.
        alone: Seconds a batch by field, out of `ALONE`, of each turn; those that are missing are
            null.
        batches: Of an epoch.
        host_bytes: Of the data, and that the system holds while it rests.
        workers: Processes that work for it.
        ahead: Batches that it makes in advance.
        over_link: Whether there is a link between host and device.
    """
    seconds = [block.seconds for block in blocks]
    epoch = statistics.median(seconds) * batches
    lower, upper = _quartiles(seconds)
    link = statistics.fmean(block.link_bytes for block in blocks) * batches / 1e9
    gpu = _mean(block.gpu_watts for block in blocks)
    cpu = _mean(block.cpu_watts for block in blocks)
    figures = {
        "epoch_s": epoch,
        **{
            field: statistics.median(alone[field]) * batches if field in alone else None
            for field in ALONE
        },
        **{
            name: _times(value, batches)
            for field, names in _SPREAD.items()
            for name, value in zip(names, _quartiles(alone.get(field, ())), strict=True)
        },
        "exposed_s": statistics.median(block.exposed for block in blocks) * batches,
        "link_gb": link if over_link else None,
        "cpu_s": statistics.fmean(block.cores for block in blocks) * epoch,
        "host_peak_bytes": host_bytes + max(block.host_bytes for block in blocks),
        "gpu_j": None if gpu is None else gpu * epoch,
        "gpu_w": gpu,
        "cpu_j": None if cpu is None else cpu * epoch,
        "ms_per_batch": statistics.median(seconds) * 1000,
        "ms_q1": _times(lower, 1000),
        "ms_q3": _times(upper, 1000),
    }
    return {
        **{
            name: rounded(value) if isinstance(value, float) else value
            for name, value in figures.items()
        },
        "workers": workers,
        "ahead": ahead,
        "batches": sum(block.batches for block in blocks),
        "correct": True,
    }


def _quartiles(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Return the quartiles of two values or more."""
    if len(values) < 2:
        return None, None
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean, None where one is None."""
    known = list(values)
    found = [value for value in known if value is not None]
    return statistics.fmean(found) if len(found) == len(known) else None
