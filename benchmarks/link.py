"""What sets the speed of reads from host memory: the measurements behind docs/design/gather.md.

    python benchmarks/link.py --out benchmarks/results/link-h100.json
    ncu --profile-from-start off --csv --cache-control none --metrics METRICS \
        python benchmarks/link.py --counters

where METRICS is what `--counters` prints when it runs without ncu.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import torch_direct as td
from torch_direct.bench.machine import describe_machine
from torch_direct.bench.results import header, write_results
from torch_direct.kernels.plan import Plan, plan_for
from torch_direct.kernels.rows import row_layout
from torch_direct.kernels.triton_rows import move_rows

GIB = 1 << 30
LINE = 128
PAGE = 64 << 10
FIXED, NO_RESERVE = 0x10, 0x4000
"""Flags of mmap(2) on Linux that Python does not name everywhere."""
METRICS = (
    "gpu__time_duration.sum",
    "lts__t_requests_aperture_sysmem_op_read.sum",
    "lts__t_sectors_aperture_sysmem_op_read.sum",
    "lts__t_requests.sum",
    "lts__t_requests_srcnode_gpc.sum",
    "dram__sectors_read.sum",
    "pcie__read_bytes.sum",
)


def seconds(run: Callable[[Tensor], None], sets: list[Tensor], *, flush: Tensor | None) -> float:
    """Median GPU time over all sets but the first."""
    times = []
    for named in sets:
        if flush is not None:
            flush.fill_(1)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(named)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3)
    return statistics.median(times[1:])


class Reader:
    """Reads rows of `row_bytes` that begin every `pitch` bytes of host memory."""

    def __init__(self, memory: Tensor, row_bytes: int, pitch: int) -> None:
        words = memory.view(torch.int32)
        self.num_rows = memory.numel() // pitch
        self.table = words.as_strided((self.num_rows, row_bytes // 4), (pitch // 4, 1))
        self.fault = torch.zeros(4, dtype=torch.int64, device=memory.device)

    def plan(self, rows: int, out: Tensor) -> Plan:
        """What the gather itself would do with rows in order."""
        layout = row_layout(self.table, out)
        assert layout is not None
        return plan_for(layout, rows, self.num_rows, is_sorted=True, over_link=True)

    def rows_a_second(
        self, sets: list[Tensor], *, programs: int | None = None, flush: Tensor | None = None
    ) -> float:
        """The median over all sets but the first."""
        rows = sets[0].numel()
        out = torch.empty(rows, self.table.shape[1], dtype=torch.int32, device=self.table.device)
        plan = self.plan(rows, out)
        if programs is not None:
            plan = plan._replace(programs=programs)
        layout = row_layout(self.table, out)

        def read(index: Tensor) -> None:
            move_rows(self.table, out, index, self.fault, layout, plan, to_table=False)

        return rows / seconds(read, sets, flush=flush)


def drawn(num_rows: int, rows: int, *, in_order: bool, sets: int = 6) -> list[Tensor]:
    """Index sets, each another draw."""
    draws = [torch.randint(0, num_rows, (rows,), device="cuda") for _ in range(sets)]
    return [draw.sort().values for draw in draws] if in_order else draws


def reach(memory: Tensor) -> Iterator[dict[str, Any]]:
    """One line every so many bytes, in order: how far does one translation carry?"""
    for stride in (128, 4 << 10, 16 << 10, 32 << 10, PAGE, 128 << 10):
        reader = Reader(memory, LINE, stride)
        rows = min(100_000, reader.num_rows // 7)
        sets = [torch.arange(rows, device="cuda") + k * rows for k in range(7)]
        rate = reader.rows_a_second(sets)
        yield {"stride_bytes": stride, "rows": rows, "lines_per_s": rate}


def footprints(memory: Tensor) -> Iterator[dict[str, Any]]:
    """Lines drawn from more and more memory, with the page table in the L2 cache or flushed."""
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    for gib in (0.125, 0.5, 1, 2, 4, 8, 16, 24):
        if gib * GIB > memory.numel():
            continue
        reader = Reader(memory[: int(gib * GIB)], LINE, LINE)
        for in_order in (False, True):
            sets = drawn(reader.num_rows, 200_000, in_order=in_order)
            yield {
                "footprint_bytes": int(gib * GIB),
                "in_order": in_order,
                "lines_per_s": reader.rows_a_second(sets),
                "lines_per_s_flushed": reader.rows_a_second(sets, flush=flush),
            }


def widths(memory: Tensor) -> Iterator[dict[str, Any]]:
    """The same sparse rows on narrow and on wide grids."""
    for row_bytes in (128, 512, 1024):
        reader = Reader(memory, row_bytes, row_bytes)
        sets = drawn(reader.num_rows, 200_000, in_order=True)
        for programs in (3, 6, 12, 24, 48, 132, 528):
            rate = reader.rows_a_second(sets, programs=programs)
            yield {"row_bytes": row_bytes, "programs": programs, "rows_per_s": rate}


def requests(memory: Tensor) -> Iterator[dict[str, Any]]:
    """Parts of a line, line after line: what a short request costs."""
    for row_bytes in (32, 64, 96, 128):
        reader = Reader(memory[: GIB // 2], row_bytes, LINE)
        rows = 500_000
        sets = [torch.arange(rows, device="cuda") + k * rows for k in range(7)]
        yield {"row_bytes": row_bytes, "requests_per_s": reader.rows_a_second(sets)}


def hot_rows(memory: Tensor) -> Iterator[dict[str, Any]]:
    """Nine reads of ten go to one row of a hundred: strewn over the table, or laid out together."""
    row_bytes = 512
    reader = Reader(memory, row_bytes, row_bytes)
    hot = reader.num_rows // 100
    for together in (False, True):
        sets = []
        for draw in drawn(reader.num_rows, 200_000, in_order=False):
            is_hot = torch.rand(draw.shape, device="cuda") < 0.9
            place = torch.randint(0, hot, draw.shape, device="cuda") * (1 if together else 100)
            sets.append(torch.where(is_hot, place, draw).sort().values)
        rate = reader.rows_a_second(sets)
        yield {"together": together, "rows_per_s": rate, "gbps": rate * row_bytes / 1e9}


def aliases(window: int = 256 << 20, copies: int = 64) -> Iterator[dict[str, Any]]:
    """The same memory under many addresses: are addresses the wall, or the memory behind them?

    The host's own translation (IOMMU) sees 256 MiB in both cases, the GPU's 256 MiB or 16 GiB.
    """
    file = os.memfd_create("aliases")
    os.ftruncate(file, window)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    arguments = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mmap.argtypes = arguments
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    begin = libc.mmap(None, window * copies, mmap.PROT_READ, private, -1, 0)
    for copy in range(copies):
        at = begin + copy * window
        libc.mmap(at, window, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | FIXED, file, 0)
    raw = (ctypes.c_uint8 * (window * copies)).from_address(begin)
    host = torch.frombuffer(raw, dtype=torch.uint8)
    host[:window].fill_(1)
    for span in (window, window * copies):
        reader = Reader(td.unified(host[:span]).alias, LINE, LINE)
        sets = drawn(reader.num_rows, 1_000_000, in_order=False)
        yield {
            "memory_bytes": window,
            "address_bytes": span,
            "lines_per_s": reader.rows_a_second(sets),
        }


def counters(memory: Tensor) -> None:
    """One kernel each for ncu to count: PyTorch's and ours, row by row size, in order and not."""
    for row_bytes, rows, in_order in (
        (128, 200_000, False),
        (128, 200_000, True),
        (512, 200_000, False),
        (512, 200_000, True),
        *((row_bytes, 50_000, False) for row_bytes in (1024, 1028, 2052, 2408, 4096, 4100)),
    ):
        reader = Reader(memory, row_bytes, row_bytes)
        (named,) = drawn(reader.num_rows, rows, in_order=in_order, sets=1)
        out = torch.empty(rows, row_bytes // 4, dtype=torch.int32, device="cuda")
        layout, plan = row_layout(reader.table, out), reader.plan(rows, out)
        for system in ("torch-direct", "index_select"):
            torch.cuda.synchronize()
            print(f"# {system} {row_bytes} {rows} {'in order' if in_order else 'random'}")
            torch.cuda.profiler.start()
            if system == "index_select":
                torch.index_select(reader.table, 0, named, out=out)
            else:
                move_rows(reader.table, out, named, reader.fault, layout, plan, to_table=False)
            torch.cuda.synchronize()
            torch.cuda.profiler.stop()


MEASUREMENTS = {
    measure.__name__: measure for measure in (reach, footprints, widths, requests, hot_rows)
}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=int, default=24, help="host memory to read from")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--counters", action="store_true")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("there is no GPU whose reads could be timed; run this where PyTorch sees one")
    memory = td.empty(options.gib * GIB, dtype=torch.uint8)
    memory.host.fill_(1)
    if options.counters:
        print(",".join(METRICS))
        counters(memory.alias)
        return
    results = header(describe_machine(), f"python benchmarks/link.py --gib {options.gib}")
    for name, measure in MEASUREMENTS.items():
        results[name] = list(measure(memory.alias))
        print(name, json.dumps(results[name], indent=1))
    results["aliases"] = list(aliases())
    print("aliases", results["aliases"])
    if options.out is not None:
        write_results(results, options.out)


if __name__ == "__main__":
    main()
