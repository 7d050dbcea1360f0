import pytest

from torch_direct.bench.sample.goals import judge
from torch_direct.bench.sample.picture import draw, speeds_of

SMALL, LARGE = "power-law-250m", "power-law-1.6b"


def row(system, placement, edges_per_s, *, graph=SMALL, kind="uniform", ms=2.0, **others):
    return {
        "system": system,
        "graph": graph,
        "placement": placement,
        "kind": kind,
        "fanout": "15,10,5",
        "batch_size": 1024,
        "ms_per_batch": ms,
        "edges_per_s": edges_per_s,
        "cpu_ms_per_batch": 1.0,
        "correct": edges_per_s is not None,
        **others,
    }


def goals(rows):
    return {goal["name"]: goal for goal in judge(rows)}


@pytest.mark.parametrize(
    ("graph", "other", "name", "target"),
    [
        (SMALL, ("wholegraph", "unified"), "unified against wholegraph", 2),
        (LARGE, ("wholegraph", "unified"), "unified against wholegraph", 2),
        (SMALL, ("pyg", "cpu"), "unified against PyG", 10),
        (LARGE, ("pyg", "cpu"), "unified against PyG", 3),
        (SMALL, ("torch-direct", "gpu"), "unified against the graph in GPU memory", 0.5),
        (LARGE, ("torch-direct", "gpu"), "unified against the graph in GPU memory", 0.25),
    ],
)
def test_ratios_of_edges_a_second(graph, other, name, target):
    for share, met in ((1.01, True), (0.99, False)):
        ours = row("torch-direct", "unified", round(1e8 * target * share), graph=graph)
        found = goals([ours, row(*other, 10**8, graph=graph)])
        goal = found[f"{graph}: {name}, edges a second"]
        assert (goal["target"], goal["met"], goal["cases"]) == (target, met, 1)
        assert goal["reached"] == pytest.approx(target * share, abs=1e-3)
        judged = [name for name, goal in found.items() if goal["cases"] and "CPU" not in name]
        assert len(judged) == 1


@pytest.mark.parametrize(("edges", "met"), [(51, True), (49, False)])
def test_weighted_against_uniform(edges, met):
    rows = [
        row("torch-direct", "unified", 100),
        row("torch-direct", "unified", edges, kind="weighted"),
    ]
    goal = goals(rows)[f"{SMALL}: weighted against uniform, edges a second"]
    assert (goal["met"], goal["reached"]) == (met, edges / 100)


def test_cpu_time_is_that_of_the_worse_kind():
    rows = [
        row("torch-direct", "unified", 100, cpu_ms_per_batch=1.0),
        row("torch-direct", "unified", 90, kind="weighted", ms=3.0, cpu_ms_per_batch=4.0),
        row("torch-direct", "gpu", 90, cpu_ms_per_batch=40.0),
    ]
    goal = goals(rows)[f"{SMALL}: time over CPU time, above 1 with under 1 core"]
    assert (goal["met"], goal["reached"], goal["cases"]) == (False, 0.75, 2)
    assert goal["worst_case"] == "15,10,5, batch 1024, weighted"


@pytest.mark.parametrize(
    "other", [{"fanout": "10,25"}, {"batch_size": 8192}, {"edges_per_s": None, "correct": False}]
)
def test_other_batches_and_wrong_ones_are_not_judged(other):
    rows = [row("torch-direct", "unified", 100), {**row("pyg", "cpu", 10), **other}]
    found = goals(rows)
    assert found[f"{SMALL}: unified against PyG, edges a second"]["met"] is None
    assert all(goal["met"] is None for name, goal in found.items() if LARGE in name)


MACHINE = {"gpu": "NVIDIA H100", "pcie": "generation 5 x16", "cores": 16}


def test_the_picture_shows_uniform_sampling_by_graph_and_batch_size():
    rows = [
        row("torch-direct", "unified", 2_000_000),
        row("torch-direct", "unified", 3_000_000, batch_size=8192),
        row("torch-direct", "unified", 1_000_000, kind="weighted"),
        row("pyg", "cpu", 500_000, graph=LARGE),
        row("wholegraph", "unified", None),
    ]
    assert speeds_of(rows) == {
        (SMALL, 1024): {"torch-direct unified": {"15,10,5": 2.0}},
        (SMALL, 8192): {"torch-direct unified": {"15,10,5": 3.0}},
        (LARGE, 1024): {"pyg cpu": {"15,10,5": 0.5}},
    }


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row("torch-direct", "cpu", 1_000_000, graph="power-law-tiny")],
        [
            row(*system, 10**6 * (i + 1), graph=graph, fanout=fanout)
            for graph in (SMALL, LARGE)
            for fanout in ("15,10,5", "10,25")
            for i, system in enumerate(
                [("torch-direct", "unified"), ("torch-direct", "gpu"), ("pyg", "cpu")]
            )
        ],
    ],
)
def test_a_picture_is_drawn(tmp_path, rows):
    draw({"machine": MACHINE, "rows": rows}, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_bars_stand_in_a_panel_for_each_graph_and_batch_size(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda f, path: saved.append(f))
    rows = [
        row("torch-direct", "unified", 2_000_000),
        row("torch-direct", "unified", 3_000_000, fanout="10,25"),
        row("pyg", "cpu", 1_000_000, fanout="10,25"),
        row("wholegraph", "unified", 4_000_000, batch_size=8192, graph=LARGE),
    ]
    draw({"machine": MACHINE, "rows": rows}, tmp_path / "p.png")
    (figure,) = saved
    first, *empty, last = figure.axes
    assert first.get_title(loc="left") == "power-law-250m, 1,024 seed nodes"
    assert [label.get_text() for label in first.get_xticklabels()] == ["15,10,5", "10,25"]
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in first.containers}
    assert heights == {"pyg cpu": [0, 1], "torch-direct unified": [2, 3]}
    assert first.lines[:] == []
    assert [bars.get_label() for bars in last.containers] == ["wholegraph unified"]
    assert not any(axes.containers for axes in empty)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["pyg cpu", "torch-direct unified", "wholegraph unified"]
