from pathlib import Path

import pytest

from torch_direct.bench.gather.cases import GIB
from torch_direct.bench.gather.goals import judge
from torch_direct.bench.gather.picture import draw, lines_of


def rows_of(row_bytes, rows, gib, speeds, order="uniform", dtype="float32"):
    return [
        {
            "system": system,
            "dtype": dtype,
            "row_bytes": row_bytes,
            "rows": rows,
            "footprint_bytes": gib * GIB,
            "order": order,
            "gbps": gbps,
            "limit_gbps": speeds.get("limit"),
            "correct": gbps is not None,
        }
        for system, gbps in speeds.items()
    ]


def goal(rows, words):
    (found,) = (goal for goal in judge(rows) if words in goal["name"])
    return found


@pytest.mark.parametrize(
    ("row_bytes", "rows", "gib", "words", "target"),
    [
        (512, 1_000_000, 16, "512 bytes, 1,000,000 rows out of 16", 0.85),
        (128, 4_000_000, 16, "128 bytes, 4,000,000 rows out of 16", 0.85),
        (512, 200_000, 24, "512 bytes, 200,000 rows out of 24", 0.60),
        (128, 1_000_000, 16, "128 bytes, 1,000,000 rows out of 16", 0.45),
        (128, 200_000, 24, "128 bytes, 200,000 rows out of 24", 0.20),
        (1028, 100_000, 16, "1 KiB and more", 0.90),
        (4100, 200_000, 64, "1 KiB and more", 0.90),
    ],
)
def test_shares_of_the_limit(row_bytes, rows, gib, words, target):
    for share, met in ((target + 0.01, True), (target - 0.01, False)):
        speeds = {"limit": 50.0, "torch-direct": 50.0 * share}
        found = goal(rows_of(row_bytes, rows, gib, speeds), words)
        assert found["target"] == target
        assert found["reached"] == pytest.approx(share, abs=1e-3)
        assert (found["met"], found["cases"]) == (met, 1)


@pytest.mark.parametrize(
    ("row_bytes", "rows", "gib"), [(512, 100_000, 16), (1024, 10_000, 16), (1024, 100_000, 2)]
)
def test_other_cases_are_not_judged(row_bytes, rows, gib):
    found = goal(rows_of(row_bytes, rows, gib, {"limit": 50.0, "torch-direct": 1.0}), "1 KiB")
    assert (found["cases"], found["met"]) == (0, None)


def test_the_worst_case_decides_whatever_its_order():
    rows = rows_of(1024, 100_000, 16, {"limit": 50.0, "torch-direct": 49.0})
    rows += rows_of(4096, 480_000, 16, {"limit": 50.0, "torch-direct": 30.0}, "trace:power-law")
    found = goal(rows, "1 KiB")
    assert (found["worst"], found["median"], found["met"]) == (0.6, 0.79, False)
    assert found["worst_case"] == "4096 B x 480,000 out of 16 GiB, trace:power-law, float32"


def test_peers_are_the_better_of_those_that_were_measured():
    rows = rows_of(512, 1000, 16, {"torch-direct": 30.0, "index_select": 10.0, "wholegraph": 20.0})
    rows += rows_of(128, 1000, 16, {"torch-direct": 9.0, "index_select": 10.0})
    rows += rows_of(64, 1000, 16, {"torch-direct": 40.0, "index_select": 10.0})
    worst = goal(rows, "index_select: speed, worst")
    median = goal(rows, "index_select: speed, median")
    assert (worst["reached"], worst["met"], worst["cases"]) == (0.9, False, 3)
    assert (median["reached"], median["met"]) == (1.5, True)


def test_time_against_the_cpu():
    rows = rows_of(128, 1000, 16, {"torch-direct": 5.0, "cpu-pinned": 10.0})
    rows += rows_of(512, 1000, 16, {"torch-direct": 40.0, "cpu-pinned": 10.0})
    wide, cut = goal(rows, "256 bytes and more"), goal(rows, "time cut")
    assert (wide["reached"], wide["met"], wide["cases"]) == (4.0, True, 1)
    assert (cut["reached"], cut["met"]) == (-0.125, False)


def test_a_wrong_answer_is_not_judged():
    rows = rows_of(512, 200_000, 24, {"limit": 50.0, "torch-direct": None, "index_select": 10.0})
    assert all(found["cases"] == 0 for found in judge(rows))


def test_nothing_measured():
    assert all(found["met"] is None for found in judge([]))


MACHINE = {"gpu": "NVIDIA H100", "pcie": "generation 5 x16", "cores": 16}


def test_the_picture_shows_the_most_rows_of_each_size_at_16_gib():
    rows = rows_of(512, 1000, 16, {"limit": 9.0, "torch-direct": 8.0})
    rows += rows_of(512, 1_000_000, 16, {"limit": 50.0, "torch-direct": 44.0})
    rows += rows_of(128, 1_000_000, 16, {"limit": 50.0, "torch-direct": 30.0})
    rows += rows_of(512, 4_000_000, 64, {"limit": 50.0, "torch-direct": 1.0})
    rows += rows_of(512, 4_000_000, 16, {"torch-direct": 2.0}, order="sorted")
    rows += rows_of(512, 4_000_000, 16, {"torch-direct": 3.0}, dtype="int8")
    rows += rows_of(1024, 4_000_000, 16, {"torch-direct": None})
    footprint, lines = lines_of(rows)
    assert footprint == 16 * GIB
    assert lines == {
        "limit": [(128, 50.0), (512, 50.0)],
        "torch-direct": [(128, 30.0), (512, 44.0)],
    }


@pytest.mark.parametrize("rows", [[], rows_of(512, 1000, 2, {"torch-direct": 8.0})])
def test_a_picture_is_drawn_of_little_or_nothing(tmp_path: Path, rows):
    draw({"machine": {**MACHINE, "gpu": None, "pcie": None}, "rows": rows}, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
