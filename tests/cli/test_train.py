import errno
import json
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import torch_direct.datasets
from torch_direct.cli.main import app
from torch_direct.cli.train import _View
from torch_direct.errors import CheckpointError, DatasetError, TorchDirectError

runner = CliRunner()
SMALL = ["train", "--nodes", "400", "--features", "8", "--hidden", "8", "--batch-size", "50"]
SMALL += ["--device", "cpu"]


def words_of(result) -> str:
    """Return what was printed without the frame and the line breaks of typer."""
    return " ".join(result.output.replace("│", " ").split())


def press_ctrl_c_while_opening(monkeypatch):
    open_dataset = torch_direct.datasets.open_dataset

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return open_dataset(*arguments, **options)

    monkeypatch.setattr(torch_direct.datasets, "open_dataset", interrupted)


def press_ctrl_c_after_a_batch(monkeypatch, times=1):
    def interrupted(*_arguments):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_View, "batch_done", interrupted)


def fill_the_disk(monkeypatch):
    def fail(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)


def timeless(path) -> dict:
    """Read a report, without what no two runs have in common."""
    report = json.loads((path / "report.json").read_text())
    for record in [report, *report["epochs"]]:
        for name in ("seconds", "validation_seconds"):
            del record[name]
    return report


def test_trains_prints_and_writes(tmp_path):
    result = runner.invoke(app, [*SMALL, "--epochs", "3", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "GraphSAGE on synthetic: 400 nodes" in result.output
    assert result.output.count("runs on the CPU") == 1
    assert "3/3" in result.output
    assert "seed 0: test accuracy " in result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["epochs"]) == 3
    assert (tmp_path / "report.png").exists()


def test_without_out_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runner.invoke(app, [*SMALL, "--epochs", "1"]).exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_log_has_about_twenty_lines_the_last_included():
    result = runner.invoke(app, [*SMALL, "--epochs", "63", "--patience", "0"])
    lines = [line.split("/63")[0].strip() for line in result.output.splitlines() if "/63" in line]
    assert lines == ["1", *(str(epoch) for epoch in range(4, 63, 4)), "63"]


def test_several_seeds(tmp_path):
    options = ["--epochs", "2", "--seed", "5", "--seeds", "3", "--out", str(tmp_path)]
    result = runner.invoke(app, [*SMALL, *options])
    assert result.exit_code == 0, result.output
    assert "mean over 3 seeds: test accuracy" in result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert [run["seed"] for run in report["runs"]] == [5, 6, 7]
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == [
        "seed-5.pt",
        "seed-6.pt",
        "seed-7.pt",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "mlp"], "expected one of sage"),
        (["--fanout", "a"], "expected integers"),
        (["--fanout", "5,5", "--layers", "3"], "2 entries for 3 layers"),
        (["--placement", "disk"], "expected one of unified"),
        (["--device", "tpu"], "expected cpu"),
        (["--resume"], "--resume needs"),
        (["--data", "x.npz", "--nodes", "5"], "shape synthetic data"),
        (["--feature-dtype", "int3"], "expected one of float32"),
        (["--seeds", "0"], "seeds"),
        (["--lr", "0"], "expected more than 0"),
        (["--data", ""], "--data is empty"),
        (["--out", ""], "the name is empty"),
        (["--checkpoint", ""], "the name is empty"),
    ],
)
def test_a_bad_option_is_a_usage_error(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["train", *options])
    assert result.exit_code == 2
    assert words in words_of(result)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--data", "no-such-data"], DatasetError),
        ([*SMALL[1:], "--placement", "gpu"], TorchDirectError),
    ],
)
def test_our_errors_reach_the_entry_point(options, error):
    result = runner.invoke(app, ["train", *options])
    assert isinstance(result.exception, error)


@pytest.mark.parametrize("option", ["--out", "--checkpoint"])
def test_a_folder_that_cannot_be_made_is_seen_before_the_training(tmp_path, option):
    (tmp_path / "file").touch()
    result = runner.invoke(app, ["train", option, str(tmp_path / "file" / "runs")])
    assert result.exit_code == 2
    assert "cannot be written (Not a directory)" in words_of(result)
    assert "epoch" not in result.output


@pytest.mark.parametrize(
    "name",
    ["report.json", "report.png", "report.json.partial"]
    + [f"checkpoint/seed-1{end}" for end in (".pt", ".previous.pt", ".damaged.pt", ".partial")],
)
def test_a_folder_in_the_way_of_a_file_is_seen_before_the_training(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    result = runner.invoke(app, [*SMALL, "--seeds", "2", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "is a folder; expected a file" in words_of(result)
    assert "epoch" not in result.output


def test_a_last_checkpoint_that_cannot_be_written_comes_after_the_result(tmp_path, monkeypatch):
    fill_the_disk(monkeypatch)
    result = runner.invoke(app, [*SMALL, "--epochs", "2", "--out", str(tmp_path)])
    assert isinstance(result.exception, CheckpointError)
    assert "seed 0: test accuracy " in result.output
    assert len(json.loads((tmp_path / "report.json").read_text())["epochs"]) == 2


def test_a_report_that_cannot_be_written_comes_after_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr("torch_direct.cli.train.check_no_folders", lambda _files: None)
    (tmp_path / "report.json").mkdir()
    result = runner.invoke(app, [*SMALL, "--epochs", "1", "--out", str(tmp_path)])
    assert "cannot write the report" in str(result.exception)
    assert "seed 0: test accuracy " in result.output


def test_no_run_follows_one_whose_checkpoint_cannot_be_written(tmp_path, monkeypatch):
    fill_the_disk(monkeypatch)
    options = ["--epochs", "2", "--seeds", "2", "--out", str(tmp_path)]
    result = runner.invoke(app, [*SMALL, *options])
    assert isinstance(result.exception, CheckpointError)
    assert "seed 0: test accuracy " in result.output
    assert "seed 1" not in result.output


def test_a_checkpoint_that_cannot_be_written_during_training_ends_it(tmp_path, monkeypatch):
    fill_the_disk(monkeypatch)
    options = ["--epochs", "2", "--checkpoint-every", "0", "--out", str(tmp_path)]
    result = runner.invoke(app, [*SMALL, *options])
    assert isinstance(result.exception, CheckpointError)
    assert "test accuracy" not in result.output


def test_resume_without_a_checkpoint(tmp_path):
    result = runner.invoke(app, [*SMALL, "--checkpoint", str(tmp_path), "--resume"])
    assert isinstance(result.exception, CheckpointError)
    assert "there is no checkpoint" in str(result.exception)


def test_a_run_anew_keeps_the_checkpoints_of_the_one_before(tmp_path):
    options = [*SMALL, "--checkpoint", str(tmp_path)]
    runner.invoke(app, [*options, "--seeds", "2", "--epochs", "3"])
    before = [(tmp_path / f"seed-{seed}.pt").read_bytes() for seed in range(2)]
    assert runner.invoke(app, [*options, "--device", "cuda:99"]).exit_code != 0
    assert (tmp_path / "seed-0.pt").read_bytes() == before[0]
    result = runner.invoke(app, [*options, "--seeds", "2", "--epochs", "1"])
    assert result.exit_code == 0, result.output
    for seed, content in enumerate(before):
        kept = tmp_path / f"seed-{seed}.earlier.pt"
        assert f"the checkpoint of an earlier run is kept as {kept}" in result.output
        assert kept.read_bytes() == content


def test_runs_started_by_mistake_lose_no_checkpoint(tmp_path, monkeypatch):
    command = [*SMALL, "--epochs", "3", "--checkpoint", str(tmp_path)]
    assert runner.invoke(app, command).exit_code == 0
    newest, earlier = tmp_path / "seed-0.pt", tmp_path / "seed-0.earlier.pt"
    finished = newest.read_bytes()

    with monkeypatch.context() as patch:
        press_ctrl_c_while_opening(patch)
        for _ in range(2):
            result = runner.invoke(app, command)
            assert result.exit_code == 130
            assert "stopped before the first batch; nothing was written" in result.output
    assert list(tmp_path.iterdir()) == [newest]

    with monkeypatch.context() as patch:
        press_ctrl_c_after_a_batch(patch, times=2)
        assert runner.invoke(app, command).exit_code != 0
    assert list(tmp_path.iterdir()) == [newest]
    assert newest.read_bytes() == finished

    press_ctrl_c_after_a_batch(monkeypatch)
    for _ in range(2):
        assert runner.invoke(app, command).exit_code == 130
    assert earlier.read_bytes() == finished
    assert (tmp_path / "seed-0.earlier-2.pt").exists()


def test_one_seed_of_a_run_anew_sets_the_checkpoints_of_all_aside(tmp_path, monkeypatch):
    command = [*SMALL, "--epochs", "2", "--seeds", "2", "--checkpoint", str(tmp_path)]
    assert runner.invoke(app, command).exit_code == 0
    press_ctrl_c_after_a_batch(monkeypatch)
    assert runner.invoke(app, command).exit_code == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "seed-0.earlier.pt",
        "seed-0.pt",
        "seed-1.earlier.pt",
    ]


def test_resume_with_another_model(tmp_path):
    options = ["--epochs", "1", "--checkpoint", str(tmp_path)]
    assert runner.invoke(app, [*SMALL, *options]).exit_code == 0
    result = runner.invoke(app, [*SMALL, *options, "--resume", "--model", "gcn"])
    assert "model was 'sage' and is now 'gcn'" in str(result.exception)


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path):
    options = ["--epochs", "3", "--out", str(tmp_path), "--checkpoint-every", "0"]
    assert runner.invoke(app, [*SMALL, *options]).exit_code == 0
    before = timeless(tmp_path)
    newest = tmp_path / "checkpoint" / "seed-0.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    result = runner.invoke(app, [*SMALL, *options, "--resume"])
    assert result.exit_code == 0, result.output
    assert "warning: " in result.output
    assert "is damaged" in result.output
    assert "going on after epoch 2" in result.output
    assert timeless(tmp_path) == before


def test_ctrl_c_stops_with_a_checkpoint_and_resume_ends_where_an_unbroken_run_does(tmp_path):
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    options = [*SMALL, "--epochs", "150", "--patience", "0"]
    command = [sys.executable, "-c", "from torch_direct.cli.main import run; run()", *options]
    with subprocess.Popen(
        [*command, "--epochs", "100000", "--out", str(broken)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        while "1/100000" not in printed:
            printed = process.stdout.readline()
            assert printed, "the command ended before its first epoch"
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping as soon as a batch is done; Ctrl-C again leaves at once" in said
    assert "go on with --resume" in rest
    assert not (broken / "report.json").exists()
    for folder, more in ((broken, ["--resume"]), (unbroken, [])):
        result = runner.invoke(app, [*options, "--out", str(folder), *more])
        assert result.exit_code == 0, result.output
    assert timeless(broken) == timeless(unbroken)


def test_stopping_between_seeds_keeps_those_that_are_done(tmp_path):
    options = [*SMALL, "--epochs", "2", "--out", str(tmp_path)]
    assert runner.invoke(app, options).exit_code == 0
    result = runner.invoke(app, [*options, "--seeds", "2", "--resume"])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert [run["seed"] for run in report["runs"]] == [0, 1]
    assert "earlier run" not in result.output


def test_a_mean_names_the_seeds_that_an_earlier_run_trained_for_longer(tmp_path):
    options = [*SMALL, "--patience", "0", "--out", str(tmp_path)]
    assert runner.invoke(app, [*options, "--epochs", "4"]).exit_code == 0
    result = runner.invoke(app, [*options, "--epochs", "2", "--seeds", "2", "--resume"])
    assert "trained for more than 2 epochs by an earlier run: seed 0\n" in result.output
