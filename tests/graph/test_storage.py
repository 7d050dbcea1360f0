from __future__ import annotations

import errno
import json
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from graph_model import cases, same
from hypothesis import given

import torch_direct as td
from torch_direct.errors import FileFormatError, GraphError
from torch_direct.graph import Graph, HeteroGraph, storage
from torch_direct.memory import pages


def make(**options):
    return Graph(
        torch.tensor([0, 2, 2, 5]),
        torch.tensor([1, 2, 0, 0, 2], dtype=torch.int32),
        edge_id=torch.tensor([4, 3, 2, 1, 0], dtype=torch.int32),
        weight=torch.rand(5),
        **options,
    )


def make_hetero():
    time = torch.tensor([2, 0, 1])
    graphs = {
        ("a/b", "to", "c"): Graph(torch.tensor([0, 1, 2]), torch.tensor([2, 0]), num_src_nodes=3),
        ("a/b", "knows", "a/b"): Graph(torch.tensor([0, 1, 1, 3]), torch.tensor([0, 1, 2])),
    }
    timed = {
        edge_type: Graph.from_csc(
            **graph.tensors(), node_time=time, num_src_nodes=graph.num_src_nodes
        )
        for edge_type, graph in graphs.items()
    }
    return HeteroGraph({"c": 2, "a/b": 3}, timed, {"a/b": time})


def is_mapped(tensor, folder):
    """Whether the bytes of a tensor are a shared, read-only mapping of a file of the folder."""
    (mapping,) = pages.mappings(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes)
    return mapping.path.startswith(str(folder)) and mapping.shared and not mapping.writable


@given(cases())
def test_what_is_saved_is_loaded(case):
    graph = case.graph()
    with tempfile.TemporaryDirectory() as folder:
        graph.save(folder, overwrite=True)
        loaded = Graph.load(folder)
        loaded.validate()
        assert same(loaded, graph)
        assert same(Graph.load(folder, unified=True), graph)


def test_files_are_mapped_and_shared(tmp_path):
    make().save(tmp_path / "graph")
    loaded = Graph.load(tmp_path / "graph")
    assert loaded.tensors().keys() == make().tensors().keys()
    assert all(is_mapped(tensor, tmp_path) for tensor in loaded.tensors().values())
    assert not any(td.is_unified(tensor) for tensor in loaded.tensors().values())
    unified = loaded.to_unified()
    assert unified.indices.data_ptr() == loaded.indices.data_ptr()
    at_once = Graph.load(tmp_path / "graph", unified=True)
    assert all(td.is_unified(tensor) for tensor in at_once.tensors().values())


@pytest.mark.gpu
@pytest.mark.parametrize("unified", [False, True])
def test_the_gpu_reads_a_mapped_graph(tmp_path, unified):
    graph = make()
    graph.save(tmp_path)
    loaded = Graph.load(tmp_path, unified=unified).to_unified()
    assert all(tensor.is_cuda for tensor in loaded.tensors().values())
    loaded.validate()
    assert same(loaded, graph)
    assert same(loaded.to("cuda"), graph)


def test_numpy_reads_and_writes_the_files(tmp_path):
    make().save(tmp_path)
    assert np.load(tmp_path / "indices.npy").tolist() == [1, 2, 0, 0, 2]
    np.save(tmp_path / "indices.npy", np.array([1, 2, 0, 0, 1], dtype=np.int32))
    assert Graph.load(tmp_path).indices.tolist() == [1, 2, 0, 0, 1]


def test_a_graph_can_be_written_over_itself_and_lose_parts(tmp_path):
    graph = make()
    graph.save(tmp_path)
    Graph.load(tmp_path).save(tmp_path, overwrite=True)
    assert same(Graph.load(tmp_path), graph)
    smaller = Graph(graph.indptr, graph.indices)
    smaller.save(tmp_path, overwrite=True)
    assert same(Graph.load(tmp_path), smaller)


def test_what_is_there_is_kept_unless_asked(tmp_path):
    make().save(tmp_path)
    with pytest.raises(FileFormatError, match=r"is not empty; expected a new or an empty folder"):
        make().save(tmp_path)
    with pytest.raises(FileFormatError, match=r"is not empty"):
        make_hetero().save(tmp_path)
    with pytest.raises(FileFormatError, match=r"is a file; expected a folder"):
        make().save(tmp_path / "indptr.npy", overwrite=True)


@pytest.mark.parametrize("make_graph", [make, make_hetero])
@pytest.mark.parametrize("chunk", [1, 24, 1 << 26])
def test_progress_counts_the_bytes(monkeypatch, tmp_path, make_graph, chunk):
    monkeypatch.setattr(storage, "_CHUNK_BYTES", chunk)
    reports, graph = [], make_graph()
    graph.save(tmp_path, progress=lambda *report: reports.append(report))
    assert reports == sorted(reports)
    assert reports[-1] == (graph.nbytes, graph.nbytes)


@pytest.mark.parametrize("make_graph", [make, make_hetero])
def test_a_writing_that_stops_leaves_no_graph(tmp_path, make_graph):
    graph = make_graph()
    graph.save(tmp_path)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graph.save(tmp_path, overwrite=True, progress=stop)
    with pytest.raises(FileFormatError, match=r"has no meta\.json; .*finished writing"):
        type(graph).load(tmp_path)


@pytest.mark.parametrize("make_graph", [make, make_hetero])
def test_a_disk_with_too_little_room_leaves_what_is_there(tmp_path, monkeypatch, make_graph):
    graph = make_graph()
    graph.save(tmp_path)
    monkeypatch.setattr(storage, "_free_bytes", lambda path: graph.nbytes - 1)
    with pytest.raises(OSError, match=rf"needs {graph.nbytes} bytes; .* has {graph.nbytes - 1} by"):
        graph.save(tmp_path, overwrite=True)
    type(graph).load(tmp_path).validate()


def test_a_file_that_cannot_be_written_is_named_and_nothing_of_it_stays(tmp_path):
    graph = Graph(torch.arange(1001), torch.zeros(1000, dtype=torch.int64))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match=r"indptr\.npy cannot be .* too large\); .* make room"):
            graph.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    make().save(tmp_path)

    def refuse(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(FileFormatError, match=r"cannot be read \(Permission denied\); .* rights"):
        Graph.load(tmp_path)


def change_meta(folder, **changes):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": "other"},
            r'"format": "other"; expected "torch-direct graph" or "torch-direct n',
        ),
        ({"version": 0}, "is of version 0; this torch-direct reads version 1"),
        ({"arrays": []}, "lacks arrays"),
        ({"arrays": {}}, "does not say the dtype and shape of indptr"),
        ({"num_src_nodes": "many"}, r'"num_src_nodes": "many"; expected a number'),
        ({"num_src_nodes": -1}, r'"num_src_nodes": -1'),
    ],
)
def test_meta_that_cannot_be_used(tmp_path, changes, message):
    make().save(tmp_path)
    change_meta(tmp_path, **changes)
    with pytest.raises(FileFormatError, match=message):
        Graph.load(tmp_path)


@pytest.mark.parametrize("name", ["indptr", "indices", "edge_id", "weight"])
@pytest.mark.parametrize("unified", [False, True])
def test_damaged_files_are_named(tmp_path, name, unified):
    make().save(tmp_path)
    file = tmp_path / f"{name}.npy"
    content = file.read_bytes()
    for damaged in (content[:-1], content[:20], b"", b"garbage" * 100):
        file.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=f"{name}.npy"):
            Graph.load(tmp_path, unified=unified)
    file.unlink()
    with pytest.raises(FileFormatError, match=f"{name}.npy is missing"):
        Graph.load(tmp_path, unified=unified)


def test_files_that_make_no_graph(tmp_path):
    make().save(tmp_path)
    np.save(tmp_path / "weight.npy", np.zeros(4, dtype=np.float32))
    with pytest.raises(
        FileFormatError, match=r"weight\.npy has shape \(4,\); meta\.json says \(5,\)"
    ):
        Graph.load(tmp_path)
    change_meta(
        tmp_path,
        arrays={
            "indptr": {"dtype": "int64", "shape": [4]},
            "indices": {"dtype": "int32", "shape": [5]},
            "weight": {"dtype": "float32", "shape": [4]},
        },
    )
    with pytest.raises(GraphError, match=r"weight is .*shape \(4,\)"):
        Graph.load(tmp_path)


def test_a_heterogeneous_graph(tmp_path):
    graph = make_hetero()
    graph.validate()
    graph.save(tmp_path / "graph")
    for loaded in (
        HeteroGraph.load(tmp_path / "graph"),
        HeteroGraph.load(tmp_path / "graph", unified=True),
    ):
        loaded.validate()
        assert (loaded.node_types, loaded.edge_types) == (graph.node_types, graph.edge_types)
        assert loaded.num_nodes == graph.num_nodes
        assert loaded.nbytes == graph.nbytes
        assert all(same(loaded[kind], graph[kind]) for kind in graph.edge_types)
        assert loaded["a/b", "to", "c"].node_time is loaded.node_time["a/b"]
    times = list(Path(tmp_path).rglob("node_time*"))
    assert len(times) == 1


@pytest.mark.parametrize(
    "changes", [{"num_nodes": 3}, {"edge_types": [["a/b", "to"]]}, {"edge_types": None}]
)
def test_hetero_meta_that_cannot_be_used(tmp_path, changes):
    make_hetero().save(tmp_path)
    change_meta(tmp_path, **changes)
    with pytest.raises(FileFormatError, match="does not name the node and edge types"):
        HeteroGraph.load(tmp_path)


def test_a_damaged_edge_type_is_named(tmp_path):
    make_hetero().save(tmp_path)
    (tmp_path / "1" / "meta.json").unlink()
    with pytest.raises(FileFormatError, match=r"/1 has no meta\.json"):
        HeteroGraph.load(tmp_path)
