"""The examples run, and learn what there is to learn."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch_geometric")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def run(monkeypatch):
    """Run an example, and return what it reached."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return lambda name, *given, **options: importlib.import_module(name).main(*given, **options)


@pytest.mark.parametrize(
    ("name", "chance"),
    [
        ("node_classification", 0.25),
        ("relational", 0.33),
        ("link_prediction", 0.5),
        ("temporal", 0.5),
    ],
)
def test_on_a_random_graph(run, name, chance):
    assert run(name) > chance + 0.2


@pytest.mark.parametrize(
    ("name", "data", "options", "least"),
    [
        ("node_classification", "cora/cora.npz", {"epochs": 60}, 0.7),
        ("relational", "acm_hetero", {}, 0.6),
        ("link_prediction", "ego_twitter", {"epochs": 1, "steps": 60}, 0.6),
        ("link_prediction", "codex_m", {"epochs": 1, "steps": 60}, 0.6),
        ("temporal", "sx_mathoverflow", {"epochs": 1, "steps": 60}, 0.6),
    ],
)
def test_on_real_data(run, shared_data, name, data, options, least):
    assert run(name, str(shared_data / data), **options) > least


@pytest.mark.slow
def test_in_several_processes():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "distributed.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("epoch 3: training accuracy")


@pytest.mark.parametrize(
    "name", ["node_classification", "relational", "link_prediction", "temporal", "distributed"]
)
def test_a_wrong_path_is_one_line(name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    usage, line = done.stderr.splitlines()
    assert usage.startswith("usage: ")
    assert line.startswith(f"{name}.py: error: ")
    assert "nowhere" in line


def test_every_example_is_listed():
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"[{path.name}]({path.name})" in listed for path in EXAMPLES.glob("*.py"))
