import sys
from dataclasses import replace
from pickle import UnpicklingError
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from torch_direct.bench.train import data as data_module
from torch_direct.bench.train.data import load_data
from torch_direct.bench.train.graphs import GRAPHS, TINY, GraphSize
from torch_direct.datasets import save_folder
from torch_direct.datasets.synthetic import SyntheticSpec, make_synthetic
from torch_direct.errors import DatasetError
from torch_direct.tensor.create import is_unified


def test_the_graphs_are_those_of_the_paper_and_one_that_is_larger():
    assert next(iter(GRAPHS)) == "mag240m-papers"
    mag = GRAPHS["mag240m-papers"]
    assert mag.row_bytes == 1536
    assert round(mag.num_nodes * mag.row_bytes / 1e9) == 187
    assert mag.train_nodes == 1_112_392
    assert GRAPHS["twitter7"].train_nodes == 416_522  # one node in a hundred
    assert all(size.name == name for name, size in GRAPHS.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_stand_in_has_the_size_of_the_graph(dtype):
    size = replace(TINY, dtype=dtype)
    data = load_data(size, None)
    assert data.stand_in
    assert data.graph.num_nodes == size.num_nodes
    assert data.graph.num_edges == pytest.approx(size.num_edges, rel=0.1)
    assert (data.graph.indptr.dtype, data.graph.indices.dtype) == (torch.int32, torch.int32)
    data.graph.validate()
    assert data.x.shape == (size.num_nodes, size.num_features)
    assert data.x.dtype == dtype
    assert data.x.host.unique(dim=0).shape[0] == size.num_nodes
    assert data.y.host.unique().tolist() == list(range(size.num_classes))
    assert data.train_nodes.unique().numel() == size.train_nodes
    assert data.nbytes == data.graph.nbytes + data.x.nbytes + data.y.nbytes


def test_all_of_it_is_memory_that_forked_children_share():
    data = load_data(TINY, None)
    for tensor in (data.graph.indptr, data.graph.indices, data.x, data.y):
        assert is_unified(tensor)
        assert tensor.owner.shared


def test_a_saved_stand_in_stays_a_stand_in(tmp_path):
    made = load_data(TINY, None, tmp_path / "saved")
    read = load_data(TINY, tmp_path / "saved")
    assert read.stand_in
    assert torch.equal(made.x.host, read.x.host)
    assert torch.equal(made.y.host, read.y.host)
    assert torch.equal(made.graph.to("cpu").indices, read.graph.to("cpu").indices)
    assert torch.equal(made.train_nodes, read.train_nodes)


def test_real_data_is_not_called_a_stand_in(tmp_path):
    made = make_synthetic(SyntheticSpec(num_nodes=600, num_features=3))
    save_folder(replace(made, name="measured somewhere"), tmp_path / "folder")
    size = replace(TINY, num_edges=made.graph.num_edges)
    data = load_data(size, tmp_path / "folder")
    assert not data.stand_in
    # What is in another form is copied, what is not is read where it lies.
    assert (data.graph.indptr.dtype, data.graph.indices.dtype) == (torch.int32, torch.int32)
    assert torch.equal(data.graph.to("cpu").indptr.long(), made.graph.to("cpu").indptr)
    assert torch.equal(data.train_nodes, made.train_idx)
    assert data.y.owner.shared


def test_many_edges_are_counted_in_int64(monkeypatch):
    monkeypatch.setattr(data_module, "_INT32_MAX", 1000)
    data = load_data(TINY, None)
    assert (data.graph.indptr.dtype, data.graph.indices.dtype) == (torch.int64, torch.int64)


def test_another_graph_is_refused(tmp_path):
    load_data(TINY, None, tmp_path / "saved")
    with pytest.raises(DatasetError, match=r"has 600 nodes and .* edges; reddit has 232965"):
        load_data(GRAPHS["reddit"], tmp_path / "saved")


def test_as_many_nodes_with_other_edges_are_another_graph(tmp_path):
    made = make_synthetic(SyntheticSpec(num_nodes=600, num_features=3))
    save_folder(replace(made, name="undirected"), tmp_path / "folder")
    size = replace(TINY, num_edges=made.graph.num_edges // 2)
    with pytest.raises(DatasetError, match=f"tiny has 600 and {size.num_edges}: correct --graph"):
        load_data(size, tmp_path / "folder")


def library(monkeypatch, name, **contents):
    for part in ("ogb", name):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    vars(sys.modules[name]).update(contents)


EDGES = np.array([[0, 1, 2, 3, 0], [1, 0, 1, 2, 3]])
FEATURES = np.arange(8, dtype=np.float32).reshape(4, 2)
SMALL = GraphSize("small", 4, 5, 2, 2, 2.5)


def test_reads_the_form_of_ogb(monkeypatch, tmp_path):
    class Opened:
        def __init__(self, name, root):
            assert (name, root) == ("small", str(tmp_path))

        def __getitem__(self, _):
            graph = {"edge_index": EDGES, "num_nodes": 4, "node_feat": FEATURES}
            return graph, np.array([[0], [1], [0], [1]])

        def get_idx_split(self):
            return {"train": np.array([0, 1]), "valid": np.array([2]), "test": np.array([3])}

    library(monkeypatch, "ogb.nodeproppred", NodePropPredDataset=Opened)
    (tmp_path / "small").mkdir()
    data = load_data(SMALL, tmp_path)
    assert not data.stand_in
    assert torch.equal(data.x.host, torch.from_numpy(FEATURES))
    assert data.x.owner.shared
    assert data.graph.to("cpu").indices.tolist() == [1, 0, 2, 3, 0]
    assert data.train_nodes.tolist() == [0, 1]


def test_papers100m_stays_directed_as_its_stand_in_is(monkeypatch, tmp_path):
    def opened(name, root):
        graph = {"edge_index": EDGES, "num_nodes": 4, "node_feat": FEATURES}
        split = {"train": np.array([0]), "valid": np.array([2]), "test": np.array([3])}
        found = [(graph, np.array([[0], [1], [0], [1]]))]
        return type("Opened", (list,), {"get_idx_split": lambda self: split})(found)

    library(monkeypatch, "ogb.nodeproppred", NodePropPredDataset=opened)
    (tmp_path / "ogbn_papers100M").mkdir()
    data = load_data(replace(SMALL, name="ogbn-papers100M"), tmp_path)
    assert data.graph.num_edges == EDGES.shape[1]


@pytest.mark.parametrize("name", ["small", "mag240m-papers"])
@pytest.mark.parametrize("error", [ValueError, EOFError, UnpicklingError, FileNotFoundError])
def test_what_ogb_cannot_open_is_said(monkeypatch, tmp_path, name, error):
    def refuse(*arguments, **options):
        raise error("no luck")

    library(monkeypatch, "ogb.nodeproppred", NodePropPredDataset=refuse)
    library(monkeypatch, "ogb.lsc", MAG240MDataset=refuse)
    (tmp_path / "small").mkdir()
    (tmp_path / "mag240m_kddcup2021").mkdir()
    with pytest.raises(
        DatasetError, match=rf"OGB cannot open {name} in .*{error.__name__}: no luck"
    ):
        load_data(replace(SMALL, name=name), tmp_path)


@pytest.mark.parametrize("name", ["small", "mag240m-papers"])
def test_ogb_is_not_asked_for_what_is_not_there(monkeypatch, tmp_path, name):
    for library_name in ("ogb.nodeproppred", "ogb.lsc"):
        library(monkeypatch, library_name)
    with pytest.raises(DatasetError, match=r"has neither meta.json nor .*: correct --data"):
        load_data(replace(SMALL, name=name), tmp_path)


def test_reads_the_papers_of_mag240m(monkeypatch, tmp_path):
    split = {"train": np.array([0]), "valid": np.array([1]), "test-dev": np.array([3])}
    opened = SimpleNamespace(
        all_paper_label=np.array([0.0, 1.0, np.nan, 1.0], dtype=np.float32),
        edge_index=lambda *ends: {("paper", "cites", "paper"): EDGES}[ends],
        get_idx_split=lambda part: split[part],
        num_papers=4,
        num_classes=2,
        paper_feat=FEATURES.astype(np.float16),
    )
    library(monkeypatch, "ogb.lsc", MAG240MDataset=lambda root: opened)
    (tmp_path / "mag240m_kddcup2021").mkdir()
    data = load_data(replace(SMALL, name="mag240m-papers"), tmp_path)
    assert data.x.dtype == torch.float16
    assert data.y.host.tolist() == [0, 1, -1, 1]
    assert data.train_nodes.tolist() == [0]
