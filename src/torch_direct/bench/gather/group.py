"""Measure the cases of one row size, in one process, over one piece of host memory."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from torch_direct.bench.gather import wholegraph
from torch_direct.bench.gather.cases import (
    OVERLAP_ROW_BYTES,
    WHOLEGRAPH_FOOTPRINT,
    WHOLEGRAPH_ROW_BYTES,
    Case,
    Group,
)
from torch_direct.bench.gather.overlap import measure_overlap
from torch_direct.bench.gather.rows import draw_rows
from torch_direct.bench.gather.systems import (
    LIMIT,
    ON_CPU,
    OURS,
    OURS_SORTED,
    READERS,
    WHOLEGRAPH,
    Read,
    Reader,
    takes_part,
)
from torch_direct.bench.measure import Timing, take_turns
from torch_direct.bench.outcome import Absent, Row
from torch_direct.bench.results import rounded
from torch_direct.bench.wholegraph import why_absent
from torch_direct.tensor.create import empty
from torch_direct.tensor.unified import UnifiedTensor

_FILL_CHUNK = 1 << 24
_FLUSHED_BYTES = 256 << 20
"""More than the L2 cache of any GPU."""
_POISON = 0x5A
_FEW_ROWS = 10_000
_ROUNDS_OF_FEW_ROWS = 4
"""Reads of few rows are over in no time, and vary more."""


@dataclass(frozen=True)
class Options:
    """How to measure, for all groups alike."""

    systems: tuple[str, ...]
    rounds: int
    """Rounds of a case, four times as many where it reads few rows."""
    seconds_each: float
    """A system that is slow drops out of a case after as long, and after 3 rounds."""
    graphs: Path | None
    """Folder of the real graphs."""


@dataclass(frozen=True)
class Created:
    """A system has made its memory."""

    system: str
    footprint_bytes: int
    seconds: float


@dataclass(frozen=True)
class Overlap:
    """How a training step and a gather slow each other down."""

    figures: dict[str, Any]


Event = Absent | Created | Overlap | list[Row]
"""What a group yields; a list holds the rows of one case."""


def measure_group(group: Group, options: Options) -> Iterator[Event]:
    """Measure every case of a group, and the overlap where it is this group's.

    Without a GPU only `torch_direct.gather` is measured, on the CPU.

    Args:
        group: Its cases must fit into host memory.
        options: Of the run.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    memory = empty(group.footprint_bytes, dtype=torch.uint8)
    fill(memory.host)
    readers = {name: READERS[name] for name in options.systems if name in READERS}
    if not memory.is_cuda:
        for name in [name for name in readers if name not in (OURS, OURS_SORTED)]:
            del readers[name]
            yield Absent(name, "needs a GPU")
    if WHOLEGRAPH in options.systems and group.row_bytes in WHOLEGRAPH_ROW_BYTES:
        yield from _prepare_wholegraph(group, memory, readers)
    for number, case in enumerate(group.cases):
        seed = group.row_bytes << 16 | number
        yield _measure_case(case, table_of(memory, case), readers, options, seed)
    if memory.is_cuda and OURS in readers and group.row_bytes == OVERLAP_ROW_BYTES:
        case = max(group.cases, key=lambda case: case.footprint_bytes)
        yield Overlap(measure_overlap(table_of(memory, case)))


def fill(memory: Tensor) -> None:
    """Fill memory, whose bytes are a multiple of 4, so that rows can be told apart.

    Every 4-byte word is its own number, and one more for each 64 MiB: words that lie a power of two
    apart, as a number that overflowed leads to, differ.
    """
    words = memory.view(torch.int32)
    count = torch.arange(_FILL_CHUNK, dtype=torch.int32)
    for number, chunk in enumerate(words.split(_FILL_CHUNK)):
        first = number * (_FILL_CHUNK + 1) % (1 << 32)
        signed = first - (1 << 32) if first >= 1 << 31 else first
        torch.add(count[: chunk.numel()], signed, out=chunk)


def table_of(memory: UnifiedTensor, case: Case) -> UnifiedTensor:
    """Return the table of a case: the head of the memory as rows."""
    head = memory[: case.table_rows * case.row_bytes]
    table = head.view(getattr(torch, case.dtype)).view(case.table_rows, -1)
    return cast("UnifiedTensor", table)


def _prepare_wholegraph(
    group: Group, memory: UnifiedTensor, readers: dict[str, Reader]
) -> Iterator[Event]:
    case = next((case for case in group.cases if takes_part(WHOLEGRAPH, case)), None)
    if case is None:
        return
    reason = why_absent()
    if reason is None:
        try:
            table = table_of(memory, case).host
            readers[WHOLEGRAPH], seconds = wholegraph.copy_into_wholegraph(table)
        except RuntimeError as error:
            reason = f"cannot be set up: {error}"
    if reason is None:
        yield Created(WHOLEGRAPH, WHOLEGRAPH_FOOTPRINT, seconds)
    else:
        yield Absent(WHOLEGRAPH, reason)


def _measure_case(
    case: Case,
    table: UnifiedTensor,
    readers: dict[str, Reader],
    options: Options,
    seed: int,
) -> list[Row]:
    few = case.rows is not None and case.rows <= _FEW_ROWS
    rounds = options.rounds * (_ROUNDS_OF_FEW_ROWS if few else 1)
    indices = draw_rows(case, rounds + 1, table.device, options.graphs, seed=seed)
    reads = _make_reads(table, indices)
    taking_part = {name: reader for name, reader in readers.items() if takes_part(name, case)}
    errors = _check(taking_part, reads[0])
    calls = {
        name: (lambda number, reader=reader: reader(reads[number]))
        for name, reader in taking_part.items()
        if name not in errors
    }
    flush = _cache_flush(table.device)
    timings = take_turns(calls, rounds=rounds, seconds_each=options.seconds_each, before=flush)
    rows = int(statistics.median(index.numel() for index in indices))
    limit = timings.get(LIMIT)
    return [
        _row(case, rows, name, timings.get(name), limit, errors.get(name)) for name in taking_part
    ]


def _cache_flush(device: torch.device) -> Callable[[], object]:
    """Return what overwrites the L2 cache of a GPU, of rows and page tables, as training does."""
    if device.type != "cuda":
        return lambda: None
    return torch.empty(_FLUSHED_BYTES, dtype=torch.uint8, device=device).zero_


def _make_reads(table: UnifiedTensor, indices: Sequence[Tensor]) -> list[Read]:
    most = max(index.numel() for index in indices)
    out = torch.empty((most, table.shape[1]), dtype=table.dtype, device=table.device)
    host, staging = table.host, empty(out.shape, dtype=table.dtype).host
    reads = []
    for number, index in enumerate(indices):
        rows = index.numel()
        # The limit, too, reads other bytes in every round.
        start = number * rows % max(1, table.shape[0] - rows)
        reads.append(
            Read(
                table=table,
                host=host,
                run=host[start : start + rows],
                index=index,
                host_index=index.cpu(),
                out=out[:rows],
                staging=staging[:rows],
            )
        )
    return reads


def _check(readers: dict[str, Reader], read: Read) -> dict[str, str]:
    """Return what is wrong with the answers of systems, compared bit for bit with the CPU's."""
    errors = {}
    device = read.index.device
    answers = {False: read.host[read.host_index].to(device), True: read.run.to(device)}
    for name, reader in readers.items():
        _bytes(read.out).fill_(_POISON)
        _bytes(read.staging).fill_(_POISON)
        try:
            answer = reader(read)
            expected = answers[name == LIMIT]
            if answer.dtype != expected.dtype or answer.shape != expected.shape:
                errors[name] = f"{answer.dtype} of shape {tuple(answer.shape)}"
            elif not torch.equal(_bytes(answer), _bytes(expected)):
                wrong = (_bytes(answer) != _bytes(expected)).any(dim=1)
                errors[name] = f"{int(wrong.sum())} of {wrong.numel()} rows are wrong"
        except (RuntimeError, IndexError) as error:
            errors[name] = f"{type(error).__name__}: {error}"
    return errors


def _bytes(rows: Tensor) -> Tensor:
    return rows.view(torch.uint8)


def _row(
    case: Case,
    rows: int,
    system: str,
    timing: Timing | None,
    limit: Timing | None,
    error: str | None,
) -> Row:
    useful = rows * case.row_bytes
    row: Row = {
        "system": system,
        **{key: value for key, value in asdict(case).items() if key != "rows"},
        "rows": rows,
        "gbps": _rate(useful, timing),
        "limit_gbps": _rate(useful, limit),
        "correct": error is None,
    }
    if error is not None:
        return {**row, "error": error}
    if timing is None:
        return row
    return {
        **row,
        "ms": _milli(timing.median),
        "ms_q1": _milli(timing.lower),
        "ms_q3": _milli(timing.upper),
        "host_us": None if system in ON_CPU else _milli(timing.host * 1000),
        "rounds": timing.rounds,
    }


def _rate(useful_bytes: int, timing: Timing | None) -> float | None:
    """Return GB/s, to four digits."""
    return None if timing is None else rounded(useful_bytes / timing.median / 1e9)


def _milli(value: float) -> float:
    return rounded(value * 1000)
