import json

import pytest
import torch
from typer.testing import CliRunner

from torch_direct.bench import outcome
from torch_direct.bench.outcome import Absent
from torch_direct.bench.train import run
from torch_direct.bench.train.figures import no_figures
from torch_direct.bench.train.group import ModelRows, measure_graph
from torch_direct.bench.train.ours import _Loaded
from torch_direct.bench.train.systems import OURS
from torch_direct.cli.main import app
from torch_direct.errors import FileFormatError

runner = CliRunner()
ROW = {
    **no_figures(""),
    "graph": "tiny",
    "stand_in": True,
    "model": "sage",
    "system": OURS,
    "correct": True,
}
TRAIN = ["bench", "train", "--graph", "tiny", "--batches", "2", "--quick"]


@pytest.fixture
def in_this_process(monkeypatch):
    """Run the measurement here, where tests can break a system."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(run, "in_child", lambda work, *arguments, seconds: work(*arguments))
    yield
    torch.set_num_threads(threads)


def test_measures_prints_and_merges(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "train.json"
    first = [*TRAIN, "--models", "sage-small", "--systems", OURS, "--save", str(tmp_path / "kept")]
    result = runner.invoke(app, [*first, "--out", str(out)])
    assert result.exit_code == 0, result.output
    for words in (
        "tiny is in host memory",
        "sage-small: torch-direct is ready and checked",
        "sage-small on tiny (stand-in), an epoch",
        "transfer alone against x[idx].to('cuda')",
        "a step of sage-small takes",
    ):
        assert words in result.output
    again = ["--systems", OURS, "--data", str(tmp_path / "kept"), "--out", str(out)]
    result = runner.invoke(app, [*TRAIN, *again])
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert str(tmp_path) not in text
    results = json.loads(text)
    assert [(row["model"], row["stand_in"]) for row in results["rows"]] == [
        ("sage-small", True),
        ("sage", True),
    ]
    small, large = (results["runs"]["tiny"]["models"][name] for name in ("sage-small", "sage"))
    assert small["command"] == (
        "torch-direct bench train --graph tiny --save kept --models sage-small "
        "--systems torch-direct --batches 2 --seeds 1 --seconds-each 20.0 --quick"
    )
    assert large["command"] == (
        "torch-direct bench train --graph tiny --data kept --systems torch-direct --batches 2 "
        "--seeds 1 --seconds-each 20.0 --quick"
    )
    assert list(small["step_ms"]) == ["sage-small"]
    assert out.with_suffix(".png").exists()
    assert out.with_name("train-speed-up.png").exists()


def test_a_partial_run_does_not_take_the_place_of_a_full_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*TRAIN, "--models", "sage-small", "--systems", OURS])
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "benchmarks" / "results").glob("*.json")
    assert path.name.endswith("-partial.json")


@pytest.mark.parametrize(
    ("graph", "options", "partial"),
    [
        ("reddit", ["--batches", "1"], True),
        ("reddit", ["--seconds-each", "1"], True),
        ("reddit", ["--systems", OURS], True),
        ("reddit", ["--quick"], True),
        ("tiny", [], True),
        ("reddit", ["--models", "sage"], False),
        ("reddit", [], False),
    ],
)
def test_less_than_a_full_run_is_partial(graph, options, partial, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ModelRows("sage", [{**ROW, "graph": graph}], {}, None)
    monkeypatch.setattr(run, "in_child", pretended(rows))
    result = runner.invoke(app, ["bench", "train", "--graph", graph, *options])
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "benchmarks" / "results").glob("*.json")
    assert path.name.endswith("-partial.json") == partial


def pretended(*events):
    """What takes the place of a measurement in a process of its own."""

    def in_child(*arguments, seconds):
        yield from events

    return in_child


def test_a_run_that_measured_nothing_leaves_the_file_as_it_was(tmp_path):
    out, empty = tmp_path / "here.json", tmp_path / "empty"
    empty.mkdir()
    text = json.dumps({"runs": {"tiny": {"machine": {}, "models": {}}}, "rows": [ROW], "goals": []})
    out.write_text(text)
    result = runner.invoke(app, [*TRAIN, "--data", str(empty), "--out", str(out)])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("failed: tiny: DatasetError: ")
    assert "has neither meta.json nor tiny" in line
    assert out.read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "here.json"]


def test_a_run_without_any_system_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    out = tmp_path / "here.json"
    text = json.dumps({"runs": {"tiny": {"machine": {}, "models": {}}}, "rows": [ROW], "goals": []})
    out.write_text(text)
    events = Absent(OURS, "needs luck"), ModelRows("sage", [], {}, None)
    monkeypatch.setattr(run, "in_child", pretended(*events))
    result = runner.invoke(app, [*TRAIN, "--out", str(out)])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"absent: {OURS} needs luck",
        f"nothing was measured; not written: {out}",
    ]
    assert out.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["here.json"]


def test_epochs_are_in_the_file_before_their_table_is_printed(tmp_path, monkeypatch):
    def died(*arguments, seconds):
        yield ModelRows("sage", [ROW], {}, None, complete=False)
        texts.append(out.read_text())
        raise ChildProcessError("its process died")

    out, texts = tmp_path / "here.json", []
    monkeypatch.setattr(run, "in_child", died)
    result = runner.invoke(app, [*TRAIN, "--out", str(out)])
    assert result.exit_code == 1
    assert result.output.count("ms/batch") == 1
    assert "failed: tiny: its process died" in result.output
    assert [row["epoch_s"] for row in json.loads(texts[0])["rows"]] == [ROW["epoch_s"]]
    assert [row["epoch_s"] for row in json.loads(out.read_text())["rows"]] == [ROW["epoch_s"]]


def test_a_step_that_did_not_fit_is_said(tmp_path, monkeypatch):
    rows = ModelRows("sage", [ROW], {"sage": None}, None)
    monkeypatch.setattr(run, "in_child", pretended(rows))
    result = runner.invoke(app, [*TRAIN, "--out", str(tmp_path / "here.json")])
    assert "a step of sage did not fit into memory" in result.output


def test_what_a_model_learned_is_said(tmp_path, monkeypatch):
    rows = ModelRows("sage", [ROW], {"sage": 1.0}, 0.75)
    monkeypatch.setattr(run, "in_child", pretended(rows))
    result = runner.invoke(app, [*TRAIN, "--out", str(tmp_path / "here.json")])
    assert "sage predicts 0.750 of validation nodes" in result.output


def never(*arguments, seconds):
    raise AssertionError("it was measured")


def test_another_file_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "in_child", never)
    out = tmp_path / "sample.json"
    out.write_text('{"rows": [{"graph": "a", "system": "b"}]}')
    result = runner.invoke(app, [*TRAIN, "--out", str(out)])
    assert isinstance(result.exception, FileFormatError)


@pytest.mark.parametrize("command", ["gather", "sample", "train"])
@pytest.mark.parametrize("out", ["file/here.json", "folder"])
def test_where_nothing_can_be_written_nothing_is_measured(command, out, tmp_path, monkeypatch):
    for module in (run, outcome):
        monkeypatch.setattr(module, "in_child", never)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    result = runner.invoke(app, ["bench", command, "--quick", "--out", str(tmp_path / out)])
    assert result.exit_code == 2, result.output


@pytest.mark.parametrize(
    ("option", "given", "words"),
    [
        ("--data", "file", "expected a folder that is there"),
        ("--data", "nothing", "expected a folder that is there"),
        ("--save", "file", "expected a new or an empty folder"),
        ("--save", "full", "expected a new or an empty folder"),
        ("--save", "file/new", "cannot be written"),
    ],
)
def test_folders_are_looked_at_first(option, given, words, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "in_child", never)
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "meta.json").write_text("")
    result = runner.invoke(app, [*TRAIN, option, str(tmp_path / given)])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


def test_a_wrong_answer_ends_with_status_1(in_this_process, tmp_path, monkeypatch):
    def fail(self, numbers):
        raise ValueError("no luck")

    monkeypatch.setattr(_Loaded, "batches", fail)
    out = tmp_path / "here.json"
    options = ["--models", "sage-small", "--systems", OURS, "--out", str(out)]
    result = runner.invoke(app, [*TRAIN, *options])
    assert result.exit_code == 1, result.output
    assert "wrong: torch-direct, sage-small on tiny: ValueError: no luck" in result.output
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["correct"], row["epoch_s"]) == (False, None)


def test_a_run_that_is_cut_off_leaves_the_models_before(in_this_process, tmp_path, monkeypatch):
    def cut_off(*arguments):
        yield from measure_graph(*arguments)
        raise TimeoutError("it took too long")

    monkeypatch.setattr(run, "measure_graph", cut_off)
    out = tmp_path / "here.json"
    options = ["--models", "sage-small", "--systems", OURS, "--out", str(out)]
    result = runner.invoke(app, [*TRAIN, *options])
    assert result.exit_code == 1, result.output
    assert "failed: tiny: it took too long" in result.output
    assert len(json.loads(out.read_text())["rows"]) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--graph", "cora"], "--graph has 'cora'; expected one of mag240m-papers, reddit"),
        (["--graph", "tiny,reddit"], "--graph has 'tiny,reddit'; expected one of"),
        (["--models", "gcn"], "--models has 'gcn'; expected some of sage, gat, sage-small"),
        (["--systems", "dgl"], "--systems has 'dgl'; expected some of all-in-cpu-stock"),
        (["--batches", "0"], "batches"),
    ],
)
def test_a_bad_option_is_a_usage_error(options, words):
    result = runner.invoke(app, ["bench", "train", *options])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
