from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from torch_direct.datasets import open_dataset
from torch_direct.errors import DatasetError, FileFormatError, HostMemoryError
from torch_direct.graph import Graph

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
    assert isinstance(result.exception, FileFormatError)
    assert "is not empty" in str(result.exception)
    assert invoke("synthetic", tmp_path, "--overwrite").exit_code == 0


def test_refuses_a_folder_that_cannot_be_written_before_it_opens_the_source(tmp_path, invoke):
    (tmp_path / "file").touch()
    result = invoke("no such source", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert "cannot be written (Not a directory)" in " ".join(
        result.output.replace("│", " ").split()
    )


def test_an_unknown_source_leaves_nothing(tmp_path, invoke):
    result = invoke("no such source", tmp_path / "out")
    assert isinstance(result.exception, DatasetError)
    assert not (tmp_path / "out").exists()


def test_converts_a_list_of_edges(tmp_path, invoke):
    edges = np.array([[0, 1, 2, 0], [1, 2, 0, 1]], dtype=np.int32)
    np.save(tmp_path / "edges.npy", edges)
    options = ("--num-nodes", 5, "--symmetric", "--coalesce")
    result = invoke(tmp_path / "edges.npy", tmp_path / "out", *options)
    assert result.exit_code == 0
    assert "5 nodes, 6 edges" in result.output
    expected = Graph.from_edge_index(torch.from_numpy(edges), 5, symmetric=True, coalesce=True)
    written = Graph.load(tmp_path / "out")
    assert all(torch.equal(t, expected.tensors()[name]) for name, t in written.tensors().items())


@pytest.mark.parametrize("option", [("--num-nodes", 5), ("--symmetric",), ("--coalesce",)])
def test_options_for_edges_are_refused_for_data_sets(tmp_path, invoke, option):
    result = invoke("synthetic", tmp_path / "out", *option)
    assert result.exit_code == 2
    assert "synthetic is no EDGES.npy" in " ".join(result.output.replace("│", "").split())


@pytest.mark.parametrize("options", [(), ("--symmetric",)])
def test_edges_that_are_not_there(tmp_path, invoke, options):
    result = invoke(tmp_path / "edges.npy", tmp_path / "out", *options)
    assert isinstance(result.exception, DatasetError)
    assert "edges.npy' is no file that is there; expected EDGES.npy" in str(result.exception)


@pytest.mark.parametrize(
    ("edges", "options", "message"),
    [
        ([[0, 1], [1, 2**40]], (), rf"num_nodes is {2**40 + 1}, as edge_index\[1, 1\] is {2**40} "),
        ([[0, 1], [1, 2]], ("--num-nodes", 10**14), rf"num_nodes is {10**14}: "),
    ],
)
def test_more_nodes_than_memory_has_room_for(
    tmp_path, monkeypatch, invoke, edges, options, message
):
    monkeypatch.setenv("TORCH_DIRECT_AVAILABLE_MEMORY", str(2**33))
    np.save(tmp_path / "edges.npy", np.array(edges))
    result = invoke(tmp_path / "edges.npy", tmp_path / "out", *options)
    assert isinstance(result.exception, HostMemoryError)
    assert re.match(message, str(result.exception))
    assert not (tmp_path / "out").exists()
