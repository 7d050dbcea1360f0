import os

import pytest

from torch_direct.bench.gather import run
from torch_direct.bench.gather.cases import GIB, Case, Group, all_cases
from torch_direct.bench.gather.group import Created, Overlap
from torch_direct.bench.gather.run import (
    GatherOutcome,
    default_systems,
    run_group,
    select_cases,
)
from torch_direct.bench.outcome import Absent

CASE = Case(64, 10, 6400, "uniform")
GROUPS = [Group(64, (CASE,)), Group(128, (CASE,)), Group(512, (CASE,))]


def pretend(group, options):
    """Stands in for measuring: the second group dies after its first case."""
    yield Absent("wholegraph", "is not installed")
    yield [{"system": "torch-direct", "row_bytes": group.row_bytes, "correct": True}]
    if group.row_bytes == 128:
        os._exit(9)
    yield Created("wholegraph", GIB, 1.234)
    yield Overlap({"rows": 5})


def test_a_group_that_dies_is_reported_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(run, "measure_group", pretend)
    found = GatherOutcome()
    for group in GROUPS:
        found.merge(run_group(group, ("torch-direct",), 1, None))
    assert [row["row_bytes"] for row in found.rows] == [64, 128, 512]
    (failure,) = found.failures
    assert failure["row_bytes"] == 128
    assert "exit status 9" in failure["reason"]
    assert found.absent == {"wholegraph": "is not installed"}
    assert found.overlap == {"rows": 5}
    created = {"system": "wholegraph", "footprint_bytes": GIB, "seconds": 1.23}
    assert found.created == [created, created]


def select(**options):
    given = {"quick": False, "row_bytes": None, "footprint_limit": 1 << 40, "graphs": None}
    return select_cases(**{**given, **options})


def test_selects_by_row_size_and_footprint():
    selection = select(row_bytes=[128], footprint_limit=2 * GIB)
    assert [group.row_bytes for group in selection.groups] == [128]
    assert selection.groups[0].footprint_bytes == 2 * GIB
    ((reason, number),) = selection.left_out
    assert reason == "tables of more than 2 GiB"
    left = sum(case.row_bytes == 128 for case in all_cases()) - number
    assert left == len(selection.groups[0].cases)


def test_leaves_20_gib_free_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(run, "available_memory", lambda: 36 * GIB)
    groups = select(footprint_limit=None).groups
    assert max(group.footprint_bytes for group in groups) == 16 * GIB


def test_traces_of_real_graphs_need_their_folder(tmp_path):
    cases = [case for group in select(graphs=tmp_path).groups for case in group.cases]
    assert {case.graph for case in cases} == {None, "power-law"}


@pytest.mark.parametrize("quick", [False, True])
def test_wholegraph_is_for_full_runs(quick):
    assert ("wholegraph" in default_systems(quick=quick)) is not quick
