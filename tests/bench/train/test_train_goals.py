import pytest
from train_rows import row

from torch_direct.bench.train.goals import judge

STOCK, STRONG, TWO_LINES, OURS = (
    "all-in-cpu-stock",
    "all-in-cpu",
    "unified-features",
    "torch-direct",
)


def test_a_tiny_graph_is_not_judged():
    found = judge([row("tiny", system) for system in (STOCK, STRONG, TWO_LINES, OURS)])
    assert {(one["cases"], one["met"]) for one in found} == {(0, None)}


def goal(rows, *words):
    """The one goal whose name has all the words."""
    (found,) = (goal for goal in judge(rows) if all(word in goal["name"] for word in words))
    return found


def pairs(system, other, field, figures, field_of_other=None):
    """A graph for each pair of figures, and nothing else that could be judged by the field."""
    return [
        row(f"graph {number}", name, **{key: figure})
        for number, (figure_of_system, figure_of_other) in enumerate(figures)
        for name, key, figure in (
            (system, field, figure_of_system),
            (other, field_of_other or field, figure_of_other),
        )
    ]


@pytest.mark.parametrize(
    ("words", "other", "field", "field_of_other", "figures", "reached", "met"),
    [
        (("pinned",), STRONG, "transfer_s", None, [(1, 4), (3, 4)], 0.5, True),
        (("pinned",), STRONG, "transfer_s", None, [(1, 4), (3.1, 4)], 0.4875, False),
        (("pageable",), STOCK, "transfer_s", "transfer_pageable_s", [(1, 10), (2, 10)], 0.85, True),
        (("pageable",), STOCK, "transfer_s", "transfer_pageable_s", [(1, 10), (3, 10)], 0.8, False),
        (("wait",), STRONG, "exposed_s", None, [(1, 10), (0, 1)], 0.9, True),
        (("wait",), STRONG, "exposed_s", None, [(2, 10), (0, 1)], 0.8, False),
        (("epoch against all-in-cpu:",), STRONG, "epoch_s", None, [(1, 2), (1, 9)], 2, True),
        (("epoch against all-in-cpu:",), STRONG, "epoch_s", None, [(1, 1.9), (1, 9)], 1.9, False),
        (("median",), STOCK, "epoch_s", None, [(1, 1), (1, 4), (1, 9)], 4, True),
        (("median",), STOCK, "epoch_s", None, [(1, 1), (1, 3), (1, 9)], 3, False),
        (("CPU seconds",), STRONG, "cpu_s", None, [(1, 10), (1, 100)], 0.1, True),
        (("CPU seconds",), STRONG, "cpu_s", None, [(2, 10), (1, 100)], 0.2, False),
        (("joules",), STRONG, "gpu_j", None, [(2, 3), (1, 3)], 1 / 3, True),
        (("joules",), STRONG, "gpu_j", None, [(2.1, 3), (1, 3)], 0.3, False),
    ],
)
def test_against_other_systems(words, other, field, field_of_other, figures, reached, met):
    found = goal(pairs(OURS, other, field, figures, field_of_other), *words)
    # To the last digit but one: what is rounded here would be rounded again where it is printed.
    assert found["reached"] == pytest.approx(reached, rel=1e-12)
    assert (found["met"], found["cases"]) == (met, len(figures))


@pytest.mark.parametrize(
    ("speed_ups", "reached", "met"),
    [([1.6], 1.6, True), ([1.1, 1.6], 1.6, True), ([1, 1.5, 2], 1.5, False)],
)
def test_the_two_lines_are_judged_on_half_of_the_graphs(speed_ups, reached, met):
    rows = pairs(TWO_LINES, STOCK, "epoch_s", [(1, speed_up) for speed_up in speed_ups])
    found = goal(rows, TWO_LINES, "half")
    assert (found["reached"], found["met"]) == (reached, met)


@pytest.mark.parametrize(("slowest", "met"), [(1, True), (0.99, False)])
def test_the_two_lines_are_never_slower(slowest, met):
    rows = pairs(TWO_LINES, STOCK, "epoch_s", [(1, slowest), (1, 3)])
    found = goal(rows, TWO_LINES, "never")
    assert (found["met"], found["worst_case"]) == (met, "graph 0 (stand-in)")


@pytest.mark.parametrize(
    ("epoch", "train", "sample", "transfer", "reached", "met"),
    [
        (11.5, 10, 5, 4, 1.15, True),
        (11.6, 10, 5, 4, 1.16, False),
        (11, 5, 6, 4, 1.1, True),
        (12, 5, 6, 4, 1.2, False),
    ],
)
def test_everything_overlaps(epoch, train, sample, transfer, reached, met):
    parts = {"train_s": train, "sample_s": sample, "transfer_s": transfer}
    easy = row("easy", OURS, epoch_s=10, train_s=10)
    found = goal([easy, row("hard", OURS, epoch_s=epoch, **parts)], "longest")
    assert (found["reached"], found["met"]) == (reached, met)
    assert (found["at_most"], found["worst_case"]) == (True, "hard (stand-in)")


@pytest.mark.parametrize(
    "others",
    [
        {"model": "gat"},
        {"model": "sage-small"},
        {"epoch_s": None},
        {"correct": False, "epoch_s": None, "transfer_s": None},
        {"correct": False},
        {"graph": "another"},
    ],
)
def test_what_cannot_be_compared_is_not_judged(others):
    rows = [row("graph", OURS), {**row("graph", STRONG), **others}]
    found = goal(rows, "epoch against all-in-cpu:")
    assert (found["cases"], found["reached"], found["met"]) == (0, None, None)


def test_without_rows_every_goal_is_there():
    found = judge([])
    assert len(found) == 10
    assert {entry["met"] for entry in found} == {None}


def test_a_system_that_never_waited_leaves_nothing_to_cut():
    rows = [row("graph", OURS), row("graph", STRONG, exposed_s=0.0)]
    assert goal(rows, "wait")["met"] is None
