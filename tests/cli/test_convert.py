from __future__ import annotations

import pytest

from torch_direct.datasets import open_dataset
from torch_direct.errors import DatasetError

typer = pytest.importorskip("typer")
testing = pytest.importorskip("typer.testing")


@pytest.fixture
def invoke():
    from torch_direct.cli.convert import convert

    app = typer.Typer()
    app.command()(convert)

    def run(*arguments):
        return testing.CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def test_converts_and_says_what_it_wrote(tmp_path, invoke):
    result = invoke("synthetic", tmp_path / "out", "--seed", 3)
    assert result.exit_code == 0
    assert "20,000 nodes" in result.output
    written, made = open_dataset(str(tmp_path / "out")), open_dataset("synthetic", seed=3)
    assert written.graph.indices.cpu().equal(made.graph.indices)
    assert written.x.cpu().equal(made.x)


def test_refuses_a_full_folder_before_it_opens_the_source(tmp_path, invoke):
    (tmp_path / "something").touch()
    result = invoke("no such source", tmp_path)
    assert isinstance(result.exception, DatasetError)
    assert "is not empty" in str(result.exception)
    assert invoke("synthetic", tmp_path, "--overwrite").exit_code == 0


def test_an_unknown_source_leaves_nothing(tmp_path, invoke):
    result = invoke("no such source", tmp_path / "out")
    assert isinstance(result.exception, DatasetError)
    assert not (tmp_path / "out").exists()
