import pytest
from train_rows import MACHINE, results_of, row

from torch_direct.bench.train.goals import STRONG
from torch_direct.bench.train.picture import draw, speed_up_path, systems_of

SYSTEMS = (
    *("all-in-cpu-stock", "all-in-cpu", "unified-features", "torch-direct"),
    *("graph-in-gpu", "all-in-gpu"),
)
ALL = [row(f"graph-{i}", system) for i in range(7) for system in SYSTEMS[: 5 + i % 2]]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ALL,
        [row("tiny", "torch-direct")],
        [row("tiny", "torch-direct", model="gat")],
        [row("real", "all-in-cpu", stand_in=False), row("real", "one-of-tomorrow", epoch_s=None)],
        [row("g", "all-in-cpu"), row("g", "torch-direct", sample_s=None, transfer_s=None)],
    ],
)
def test_two_pictures_are_drawn(tmp_path, rows):
    draw(results_of(rows), tmp_path / "train.png")
    for name in ("train.png", "train-speed-up.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert speed_up_path(tmp_path / "train.png") == tmp_path / "train-speed-up.png"


@pytest.fixture
def figures(monkeypatch):
    """The figures that a test saves."""
    from matplotlib.figure import Figure

    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, path: (saved.append(f), save(f, path)))
    return saved


@pytest.fixture
def drawn(figures, tmp_path):
    """The figures of a run with one system left out, and a stand-in beside real data."""
    figures_of = {"all-in-cpu": (8.0, 2.0, 6.0, 3.0), "torch-direct": (4.0, 0.5, 1.5, 3.5)}
    rows = [
        row(graph, system, epoch_s=e, sample_s=s, transfer_s=x, train_s=t, stand_in=graph == "b")
        for graph in ("a", "b")
        for system, (e, s, x, t) in figures_of.items()
        if (graph, system) != ("b", "torch-direct")
    ]
    draw(results_of(rows), tmp_path / "p.png")
    return figures


def test_parts_are_stacked_beside_the_epoch(drawn):
    parts, _ = drawn
    bars = {
        (container.get_label(), place): (bar.get_x(), bar.get_width())
        for container in parts.axes[0].containers
        for place, bar in enumerate(container)
    }
    assert bars["sampling alone", 0] == (0, 2)
    assert bars["transfer alone", 0] == (2, 6)
    assert bars["training alone", 0] == (8, 3)
    assert bars["epoch as measured", 0] == (0, 8)
    assert bars["training alone", 1] == (2, 3.5)
    assert [len(container) for container in parts.axes[1].containers] == [1, 1, 1, 1]


@pytest.mark.parametrize(("epoch", "text"), [(7.0, "7 s"), (267.0, "267 s ▸")])
def test_the_stock_loader_dwarfs_no_other(figures, tmp_path, epoch, text):
    alone = {"sample_s": 1.0, "transfer_s": 1.0, "train_s": 1.0}
    epochs = {"all-in-cpu-stock": epoch, "torch-direct": 4.0}
    rows = [row("a", system, epoch_s=seconds, **alone) for system, seconds in epochs.items()]
    draw(results_of([*rows, row("b", "all-in-gpu", epoch_s=1.0, **alone)]), tmp_path / "p.png")
    panel = figures[0].axes[0]
    assert panel.get_xlim() == (0, 1.25 * (epoch if epoch < 8 else 4.0))
    assert [note.get_text() for note in panel.texts] == [text, "4 s", "n/a"]
    assert ("▸" in figures[0].get_suptitle()) == ("▸" in text)


def test_pictures_name_stand_ins_and_the_machine(drawn):
    parts, speed_ups = drawn
    assert [axes.get_title(loc="left") for axes in parts.axes] == ["a", "b (stand-in)"]
    names = [label.get_text() for label in speed_ups.axes[0].get_xticklabels()]
    assert names == ["a", "b\n(stand-in)"]
    for title in (parts.get_suptitle(), speed_ups.axes[0].get_title(loc="left")):
        assert title.endswith("\nNVIDIA H100, PCIe generation 5 x16, 16 cores")


def test_machines_that_differ_stand_with_their_graphs(figures, tmp_path):
    results = results_of([row("a", "all-in-cpu", stand_in=False), row("b", "all-in-cpu")])
    results["runs"]["b"]["machine"] = {**MACHINE, "gpu": None, "cores": 2}
    draw(results, tmp_path / "p.png")
    parts, speed_ups = figures
    titles = [axes.get_title(loc="left") for axes in parts.axes]
    assert titles == ["a\nNVIDIA H100, 16 cores", "b (stand-in)\nno GPU, 2 cores"]
    names = [label.get_text() for label in speed_ups.axes[0].get_xticklabels()]
    assert names == ["a\nNVIDIA H100\n16 cores", "b\n(stand-in)\nno GPU\n2 cores"]
    for title in (parts.get_suptitle(), speed_ups.axes[0].get_title(loc="left")):
        assert "cores" not in title


def test_speed_ups_are_against_all_in_cpu(drawn):
    _, speed_ups = drawn
    (bars,) = speed_ups.axes[0].containers
    assert bars.get_label() == "torch-direct"
    assert [bar.get_height() for bar in bars] == [2, 0]
    assert [text.get_text() for text in speed_ups.axes[0].texts] == ["2.00", "n/a"]


def test_many_graphs_stand_below_each_other(figures, tmp_path):
    draw(results_of(ALL), tmp_path / "p.png")
    lines = figures[1].axes
    names = [label.get_text() for axes in lines for label in axes.get_xticklabels()]
    assert names == [f"graph-{i}\n(stand-in)" for i in range(7)]
    assert [len(axes.get_xticklabels()) for axes in lines] == [4, 3]
    assert {axes.get_xlim() for axes in lines} == {(-0.5, 3.5)}


def test_no_line_strikes_a_number_through(drawn):
    _, speed_ups = drawn
    (line,) = speed_ups.axes[0].lines
    for text in speed_ups.axes[0].texts:
        assert text.get_bbox_patch().get_facecolor() == (1, 1, 1, 1)
        assert text.get_zorder() > line.get_zorder()


def test_systems_are_those_of_any_graph():
    graphs = {"a": {"all-in-gpu": {}, "graph-in-gpu": {}, "torch-direct": {}}, "b": {STRONG: {}}}
    assert systems_of(graphs) == [STRONG, "torch-direct", "graph-in-gpu", "all-in-gpu"]
