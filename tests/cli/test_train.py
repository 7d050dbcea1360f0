import json
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from torch_direct.cli.main import app
from torch_direct.errors import CheckpointError, DatasetError, TorchDirectError

runner = CliRunner()
SMALL = ["train", "--nodes", "400", "--features", "8", "--hidden", "8", "--batch-size", "50"]
SMALL += ["--device", "cpu"]


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
    ],
)
def test_a_bad_option_is_a_usage_error(options, words):
    result = runner.invoke(app, ["train", *options])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


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
    assert "cannot be written (Not a directory)" in " ".join(
        result.output.replace("│", " ").split()
    )
    assert "epoch" not in result.output


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
