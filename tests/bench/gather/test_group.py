import os

import pytest
import torch

import torch_direct as td
from torch_direct.bench.gather import group
from torch_direct.bench.gather.cases import POWER_LAW, Case, Group
from torch_direct.bench.gather.group import fill, measure_group, table_of
from torch_direct.bench.gather.systems import OURS, READERS
from torch_direct.bench.outcome import Absent

MIB = 1 << 20
CASES = (
    Case(20, 500, MIB, "uniform"),
    Case(20, 500, MIB // 2, "sorted"),
    Case(20, 500, MIB, "uniform", dtype="float16"),
    Case(20, 500, MIB, "uniform", dtype="int8"),
    Case(20, None, MIB, f"trace:{POWER_LAW}"),
)
FIELDS = {
    *("system", "dtype", "row_bytes", "rows", "footprint_bytes", "order", "gbps", "limit_gbps"),
    *("correct", "ms", "ms_q1", "ms_q3", "host_us", "rounds"),
}


def measure(cases, options):
    events = list(measure_group(Group(20, tuple(cases)), options))
    rows = [row for event in events if isinstance(event, list) for row in event]
    return rows, [event for event in events if isinstance(event, Absent)]


def test_measures_every_case(options):
    rows, absent = measure(CASES, options)
    assert all(row.keys() == FIELDS and row["correct"] and row["gbps"] > 0 for row in rows)
    assert [row["dtype"] for row in rows if row["system"] == OURS] == [c.dtype for c in CASES]
    assert [row["order"] for row in rows if row["system"].endswith("sorted")] == ["sorted"]
    assert all(row["ms_q1"] <= row["ms"] <= row["ms_q3"] for row in rows)
    assert {row["rounds"] for row in rows if row["order"] == "uniform"} == {8}
    if not torch.cuda.is_available():
        needs = {"limit", "index_select", "cpu-pinned", "cpu-pageable"}
        assert {event.system for event in absent} == needs
        assert {row["limit_gbps"] for row in rows} == {None}


@pytest.mark.parametrize(("few", "rounds"), [(500, 8), (499, 2)])
def test_few_rows_are_read_in_more_rounds(monkeypatch, options, few, rounds):
    monkeypatch.setattr(group, "_FEW_ROWS", few)
    rows, _ = measure(CASES[:1], options)
    assert {row["rounds"] for row in rows} == {rounds}


def test_all_cores_of_the_process_are_used(monkeypatch, options):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    measure(CASES[:1], options)
    assert torch.get_num_threads() == 3


@pytest.mark.gpu
def test_on_a_gpu_all_systems_are_measured(options):
    rows, absent = measure(CASES, options)
    assert not absent
    assert {row["system"] for row in rows} == set(options.systems)
    assert all(row["limit_gbps"] > 0 for row in rows)
    assert {row["host_us"] for row in rows if row["system"].startswith("cpu-")} == {None}


def wrong_row(read):
    rows = td.gather(read.table, read.index, out=read.out)
    rows[3] = 0
    return rows


def no_rows(read):
    return read.out


def raises(read):
    raise RuntimeError("out of luck")


def other_type(read):
    return td.gather(read.table, read.index).double()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (wrong_row, "1 of 500 rows are wrong"),
        (no_rows, "500 of 500 rows are wrong"),
        (raises, "RuntimeError: out of luck"),
        (other_type, "torch.float64 of shape (500, 5)"),
    ],
)
def test_a_wrong_answer_gets_no_speed(monkeypatch, options, broken, words):
    monkeypatch.setitem(READERS, OURS, broken)
    rows, _ = measure(CASES[:1], options)
    (row,) = (row for row in rows if row["system"] == OURS)
    assert (row["correct"], row["gbps"], row["error"]) == (False, None, words)
    assert "ms" not in row


def test_every_reader_reads_the_same_rows(device):
    """Off the GPU as well, though only ours is measured there."""
    table = td.unified(torch.randn(1000, 7), device=device)
    indices = [torch.arange(5, 500, 5), torch.arange(3, 900, 9)]
    reads = group._make_reads(table, [index.to(device) for index in indices])
    for read in reads:
        assert group._check(READERS, read) == {}
    assert not torch.equal(reads[0].run[:5], reads[1].run[:5])


def test_words_of_the_table_tell_their_places():
    memory = torch.empty(160 * MIB, dtype=torch.uint8)
    fill(memory)
    words = memory.view(torch.int32)
    assert words[:3].tolist() == [0, 1, 2]
    chunk = 1 << 24
    assert words[chunk - 1 : chunk + 2].tolist() == [chunk - 1, chunk + 1, chunk + 2]
    assert words[2 * chunk :: 1 << 20].tolist()[0] == 2 * (chunk + 1)


def test_smaller_tables_are_the_head_of_the_memory():
    memory = td.zeros(1000, dtype=torch.uint8)
    table = table_of(memory, Case(12, 5, 100, "uniform", dtype="float16"))
    assert table.shape == (8, 6)
    assert table.dtype == torch.float16
    assert td.is_unified(table)
    assert table.data_ptr() == memory.data_ptr()
