import json

import pytest
import torch
from typer.testing import CliRunner

from torch_direct.bench import outcome
from torch_direct.bench.gather import run
from torch_direct.bench.gather.cases import Group
from torch_direct.bench.gather.group import measure_group
from torch_direct.bench.gather.run import Selection
from torch_direct.bench.gather.systems import OURS, READERS
from torch_direct.cli.main import app

runner = CliRunner()
SMALL = ["bench", "gather", "--footprint-limit", "0.25", "--row-bytes", "128", "--repeats", "1"]


@pytest.fixture
def in_this_process(monkeypatch):
    """Run groups here, where tests can break a system."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(outcome, "in_child", lambda work, *arguments, seconds: work(*arguments))
    yield
    torch.set_num_threads(threads)


def test_measures_prints_and_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*SMALL, "--graphs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "rows of 128 bytes, GB/s" in result.output
    assert "left out: " in result.output
    (path,) = (tmp_path / "benchmarks" / "results").glob("gather-*-partial.json")
    assert path.with_suffix(".png").exists()
    text = path.read_text()
    assert str(tmp_path) not in text
    results = json.loads(text)
    assert list(results)[:4] == ["machine", "command", "date", "rows"]
    assert results["command"] == (
        "torch-direct bench gather --row-bytes 128 --repeats 1 --footprint-limit 0.25 "
        f"--graphs {tmp_path.name}"
    )
    (row,) = (row for row in results["rows"] if row["system"] == OURS)
    assert row["correct"]
    assert row["gbps"] > 0
    assert len(results["goals"]) == 10
    assert results["failures"] == []
    if not torch.cuda.is_available():
        assert "absent: limit needs a GPU" in result.output


def test_a_wrong_answer_ends_with_status_1(in_this_process, tmp_path, monkeypatch):
    monkeypatch.setitem(READERS, OURS, lambda read: read.out.zero_())
    out = tmp_path / "here.json"
    result = runner.invoke(app, [*SMALL, "--systems", OURS, "--out", str(out)])
    assert result.exit_code == 1, result.output
    assert "wrong: torch-direct, 128 B x 100,000, uniform, float32" in result.output
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["correct"], row["gbps"]) == (False, None)
    assert out.with_suffix(".png").exists()


def test_a_picture_that_cannot_be_written_is_said(in_this_process, tmp_path):
    out = tmp_path / "here.json"
    out.with_suffix(".png").mkdir()
    result = runner.invoke(app, [*SMALL, "--systems", OURS, "--out", str(out)])
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.output.splitlines() if line.startswith("no picture: "))
    assert "Is a directory" in line
    assert json.loads(out.read_text())["rows"]


@pytest.mark.parametrize(
    ("command", "options", "partial"),
    [
        ("gather", [], False),
        ("gather", ["--repeats", "6"], False),
        ("gather", ["--repeats", "4"], True),
        ("gather", ["--row-bytes", "64"], True),
        ("sample", [], False),
        ("sample", ["--repeats", "4"], True),
        ("sample", ["--kinds", "uniform"], True),
    ],
)
def test_less_than_a_full_run_is_partial(command, options, partial, tmp_path, monkeypatch):
    def fail(*arguments, seconds):
        raise ChildProcessError("its process died")

    nothing = Selection([Group(64, ())], [])
    monkeypatch.setattr(run, "select_cases", lambda **_: nothing)
    monkeypatch.setattr(outcome, "in_child", fail)
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["bench", command, *options])
    assert "its process died" in result.output
    (path,) = (tmp_path / "benchmarks" / "results").glob("*.json")
    assert path.name.endswith("-partial.json") == partial


@pytest.mark.parametrize("name", ["here.png", "notes.md", "here"])
def test_results_go_to_a_file_that_its_picture_does_not_replace(tmp_path, name):
    result = runner.invoke(app, [*SMALL, "--out", str(tmp_path / name)])
    assert result.exit_code == 2
    assert "ends in .json" in " ".join(result.output.split())
    assert not [*tmp_path.iterdir()]


def test_a_group_that_fails_ends_with_status_1(in_this_process, tmp_path, monkeypatch):
    def fail(group, options):
        yield []
        raise ChildProcessError("its process died")

    monkeypatch.setattr(run, "measure_group", fail)
    out = tmp_path / "here.json"
    result = runner.invoke(app, [*SMALL, "--out", str(out)])
    assert result.exit_code == 1, result.output
    assert "failed: rows of 128 bytes: its process died" in result.output
    (failure,) = json.loads(out.read_text())["failures"]
    assert failure == {"row_bytes": 128, "reason": "its process died"}


def test_what_was_measured_before_an_interruption_is_kept(in_this_process, tmp_path, monkeypatch):
    def interrupted(group, options):
        if group.row_bytes == 512:
            raise KeyboardInterrupt
        yield from measure_group(group, options)

    monkeypatch.setattr(run, "measure_group", interrupted)
    out = tmp_path / "here.json"
    options = ["--row-bytes", "128,512", "--systems", OURS, "--out", str(out)]
    result = runner.invoke(app, [*SMALL, *options])
    assert result.exit_code != 0
    (kept,) = tmp_path.iterdir()
    assert kept.name == "here-so-far.json"
    assert {row["row_bytes"] for row in json.loads(kept.read_text())["rows"]} == {128}
    runner.invoke(app, [*SMALL, "--systems", OURS, "--out", str(out)])
    assert {path.name for path in tmp_path.iterdir()} == {"here.json", "here.png"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--systems", "dgl"], "--systems has 'dgl'; expected some of limit, torch-direct"),
        (["--row-bytes", "5"], "--row-bytes has '5'; expected some of 4, 64, 128"),
        (["--repeats", "0"], "repeats"),
        (["--footprint-limit", "0.001"], "no case is left"),
        (["--graphs", "nowhere"], "--graphs has nowhere; expected a folder that is there"),
    ],
)
def test_a_bad_option_is_a_usage_error(options, words):
    result = runner.invoke(app, ["bench", "gather", *options])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


SAMPLE = ["bench", "sample", "--repeats", "1", "--quick"]
tiny = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the graphs are large")


@tiny
def test_samples_prints_and_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*SAMPLE, "--systems", f"{OURS},wholegraph"])
    assert result.exit_code == 0, result.output
    assert "power-law-tiny, ms a batch" in result.output
    assert "absent: wholegraph needs a GPU" in result.output
    path = tmp_path / "benchmarks" / "results" / "sample-cpu-partial.json"
    assert path.with_suffix(".png").exists()
    results = json.loads(path.read_text())
    assert list(results) == [
        *("machine", "command", "date", "rows", "goals", "absent", "failures", "seconds")
    ]
    assert results["command"] == (
        "torch-direct bench sample --quick --systems torch-direct,wholegraph --repeats 1"
    )
    assert {row["fanout"] for row in results["rows"]} == {"15,10,5"}
    assert all(row["correct"] for row in results["rows"])
    assert len(results["goals"]) == 10


@pytest.mark.parametrize("command", [SMALL, pytest.param(SAMPLE, marks=tiny)])
def test_a_run_that_measured_nothing_leaves_the_file_as_it_was(command, tmp_path):
    out = tmp_path / "here.json"
    out.write_text("what was there")
    result = runner.invoke(app, [*command, "--systems", "wholegraph", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"nothing was measured; not written: {out}" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["here.json"]
    assert out.read_text() == "what was there"


@tiny
def test_a_wrong_batch_ends_with_status_1(in_this_process, tmp_path, monkeypatch):
    def fail(self, *arguments, **named):
        raise ValueError("no luck")

    monkeypatch.setattr("torch_direct.sampler.NeighborSampler.sample", fail)
    out = tmp_path / "here.json"
    options = ["--systems", OURS, "--kinds", "uniform", "--out", str(out)]
    result = runner.invoke(app, [*SAMPLE, *options])
    assert result.exit_code == 1, result.output
    assert (
        "wrong: torch-direct cpu, power-law-tiny, uniform, 15,10,5, 32 seeds: ValueError: no luck"
    ) in result.output
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["correct"], row["edges_per_s"]) == (False, None)


@tiny
def test_a_graph_that_fails_ends_with_status_1(in_this_process, tmp_path, monkeypatch):
    def fail(group, options):
        yield []
        raise TimeoutError("it took too long")

    monkeypatch.setattr("torch_direct.bench.sample.run.measure_group", fail)
    result = runner.invoke(app, [*SAMPLE, "--out", str(tmp_path / "here.json")])
    assert result.exit_code == 1, result.output
    assert "failed: power-law-tiny: it took too long" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--systems", "dgl"], "--systems has 'dgl'; expected some of torch-direct, wholegraph"),
        (["--graphs", "reddit"], "has 'reddit'; expected some of power-law-"),
        (["--kinds", "labor"], "--kinds has 'labor'; expected some of uniform"),
    ],
)
def test_a_bad_option_of_sample_is_a_usage_error(options, words):
    result = runner.invoke(app, ["bench", "sample", *options])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


@tiny
def test_a_graph_that_needs_a_gpu_is_refused_for_that():
    result = runner.invoke(app, ["bench", "sample", "--graphs", "power-law-250m"])
    assert result.exit_code == 2
    assert (
        "--graphs, without a GPU, has 'power-law-250m'; expected some of power-law-tiny"
    ) in " ".join(result.output.replace("│", " ").split())


def test_bench_alone_names_what_can_be_measured():
    result = runner.invoke(app, ["bench", "--help"])
    assert result.exit_code == 0
    assert "gather" in result.output
    assert "sample" in result.output
