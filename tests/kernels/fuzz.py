"""Random gathers and scatters against PyTorch's own, as many as asked for, on one device.

    python tests/kernels/fuzz.py --cases 2000000 --device cuda

A case costs a few launches: tables and row numbers are drawn rarely and sliced often, and what is
wrong is counted on the device.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor

from torch_direct.kernels import plan
from torch_direct.kernels.gather import gather_rows
from torch_direct.kernels.scatter import scatter_rows

DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)
CASES_PER_TABLE = 500
POOL = 20_000


@dataclass
class Counts:
    cases: int = 0
    wrong_rows: int = 0
    wrong_records: int = 0

    @property
    def wrong(self) -> int:
        return self.wrong_rows + self.wrong_records


@dataclass
class Table:
    """A table of any layout, the row numbers drawn for it, and what they should read."""

    rows: Tensor
    reference: Tensor
    """The rows side by side, then one of zeros for rows out of range."""
    index: Tensor
    expected: Tensor
    """Row numbers of the reference."""
    bad_before: list[int]
    """How many row numbers before each position of the index are out of range."""


def draw_table(rng: random.Random, device: torch.device) -> Table:
    dtype = rng.choice(DTYPES)
    num_rows = rng.choice([1, 2, 33, 1000, 5000])
    width = rng.choice([1, 3, 8, 16, 31, 32, 64, 100, 128, 257, 602, 1024, 1025])
    pitch = width + rng.choice([0, 0, 0, 1, 3, 8])
    start = rng.choice([0, 0, 1, 2, 5, 16])
    seed = torch.Generator(device=device).manual_seed(rng.randrange(1 << 40))
    memory = torch.randint(
        0, 127, (start + num_rows * pitch,), dtype=dtype, device=device, generator=seed
    )
    rows = memory.as_strided((num_rows, width), (pitch, 1), start)
    slack = rng.choice([0, 0, 5])
    index = torch.randint(
        -num_rows - slack, num_rows + slack, (POOL,), device=device, generator=seed
    ).to(rng.choice([torch.int32, torch.int64]))
    row = torch.where(index < 0, index + num_rows, index).long()
    bad = (row < 0) | (row >= num_rows)
    return Table(
        rows,
        torch.cat([rows, rows.new_zeros(1, width)]),
        index,
        torch.where(bad, num_rows, row),
        [0, *bad.cumsum(0).tolist()],
    )


def check_gathers(rng: random.Random, table: Table, cases: int, counts: Counts) -> None:
    device = table.rows.device
    records = torch.zeros(cases, 4, dtype=torch.int64, device=device)
    wrong = torch.zeros((), dtype=torch.int64, device=device)
    has_bad = []
    for case in range(cases):
        size = rng.choice([0, 1, 7, 64, 300, 2000])
        begin = rng.randrange(POOL - size)
        named = slice(begin, begin + size)
        out = table.rows.new_full((size, table.rows.shape[1]), 99)
        gather_rows(
            table.rows, table.index[named], out, records[case], over_link=rng.random() < 0.8
        )
        wrong += (out != table.reference[table.expected[named]]).any()
        has_bad.append(table.bad_before[begin + size] > table.bad_before[begin])
    state, row, num_rows, _ = records.T
    expected = torch.tensor(has_bad, device=device)
    limit = table.rows.shape[0]
    right = torch.where(
        expected,
        (state == 2) & (num_rows == limit) & ((row < -limit) | (row >= limit)),
        (records == 0).all(1),
    )
    counts.cases += cases
    counts.wrong_rows += int(wrong)
    counts.wrong_records += int((~right).sum())


def check_scatters(rng: random.Random, table: Table, cases: int, counts: Counts) -> None:
    device, (num_rows, width) = table.rows.device, table.rows.shape
    wrong = torch.zeros((), dtype=torch.int64, device=device)
    record = torch.zeros(4, dtype=torch.int64, device=device)
    for _ in range(cases):
        index = torch.randperm(num_rows, device=device)[: rng.randrange(num_rows + 1)]
        values = table.reference.new_ones(index.shape[0], width) * (index % 100)[:, None]
        values = values.to(table.rows.dtype)
        scatter_rows(table.rows, index, values, record)
        table.reference[index] = values
        wrong += (table.rows != table.reference[:-1]).any()
    counts.cases += cases
    counts.wrong_rows += int(wrong)
    counts.wrong_records += int(record[0])


def fuzz(cases: int, device: torch.device, seed: int) -> Counts:
    """Run at least this many cases and count what was wrong."""
    rng = random.Random(seed)
    counts = Counts()
    while counts.cases < cases:
        table = draw_table(rng, device)
        left = min(CASES_PER_TABLE, cases - counts.cases)
        order_pays = mock.patch.object(plan.Seconds, "order_pays", rng.random() < 0.4)
        with order_pays:
            check_gathers(rng, table, max(1, left - left // 20), counts)
            check_scatters(rng, table, left // 20, counts)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2_000_000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts = fuzz(options.cases, torch.device(options.device), options.seed)
    print(
        f"{counts.cases} cases, {counts.wrong_rows} with wrong rows, {counts.wrong_records} "
        "with a wrong record of rows out of range"
    )
    raise SystemExit(counts.wrong > 0)


if __name__ == "__main__":
    main()
