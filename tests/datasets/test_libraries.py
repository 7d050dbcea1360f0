from __future__ import annotations

import asyncio
import sys
import types
import zipfile
from http.client import IncompleteRead
from pickle import UnpicklingError
from urllib.error import URLError

import numpy as np
import pytest
import torch

from torch_direct.datasets import libraries, open_dataset
from torch_direct.datasets.dataset import SPLITS
from torch_direct.errors import DatasetError, MissingExtraError

EDGES = torch.tensor([[0, 1, 1, 3], [1, 2, 2, 3]])
MASKS = {
    f"{name}_mask": torch.arange(6) // 2 == i for i, name in enumerate(("train", "val", "test"))
}


def make_data(**parts):
    pyg = pytest.importorskip("torch_geometric.data")
    content = {"x": torch.rand(6, 3), "y": torch.arange(6) % 2, "edge_index": EDGES, **MASKS}
    return pyg.Data(
        **{name: value for name, value in (content | parts).items() if value is not None}
    )


def test_pyg_data_keeps_every_edge():
    data = make_data()
    dataset = libraries.from_pyg(data, name="demo", num_classes=2)
    assert dataset.graph.indptr.tolist() == [0, 0, 1, 3, 4, 4, 4]
    assert dataset.graph.indices.tolist() == [0, 1, 1, 3]
    assert dataset.x is data.x
    assert [getattr(dataset, name).tolist() for name in SPLITS] == [[0, 1], [2, 3], [4, 5]]


def test_pyg_masks_with_columns_are_chosen_by_the_seed():
    columns = {name: torch.stack([mask, mask.flip(0)], dim=1) for name, mask in MASKS.items()}
    dataset = libraries.from_pyg(make_data(**columns), name="demo", num_classes=2, seed=3)
    assert dataset.train_idx.tolist() == [4, 5]


def test_pyg_data_without_masks_is_split_at_random():
    nodes = 200
    data = make_data(x=torch.rand(nodes, 3), y=torch.arange(nodes) % 2, **dict.fromkeys(MASKS))
    dataset = libraries.from_pyg(data, name="demo", num_classes=2)
    assert [getattr(dataset, name).numel() for name in SPLITS] == [40, 60, 100]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"x": None}, "demo has no x; expected x, y and edge_index"),
        ({"val_mask": None}, "demo has only a part"),
        ({"y": torch.zeros(6, 4)}, "y of demo is torch.float32"),
        ({"edge_index": torch.tensor([[0], [9]])}, r"demo: edge_index\[1, 0\] is 9"),
    ],
)
def test_pyg_data_that_is_no_node_classification(parts, message):
    with pytest.raises(DatasetError, match=message):
        libraries.from_pyg(make_data(num_nodes=6, **parts), name="demo", num_classes=2)


@pytest.mark.parametrize("name", libraries.PYG_DATASETS)
def test_pyg_is_asked_for_the_right_class(monkeypatch, tmp_path, name):
    datasets = pytest.importorskip("torch_geometric.datasets")
    family, member = libraries.PYG_DATASETS[name]
    asked = {}

    class Fake:
        num_classes = 2

        def __init__(self, **arguments):
            asked.update(arguments)

        def __getitem__(self, index):
            return make_data()

    assert hasattr(datasets, family)
    monkeypatch.setattr(datasets, family, Fake)
    monkeypatch.setenv("TORCH_DIRECT_DATA", str(tmp_path))
    told = []
    assert open_dataset(f"pyg:{name}", progress=lambda *done: told.append(done)).name == name
    assert told[-1][0] == told[-1][1] >= EDGES.size(1)
    assert asked["root"] == str(tmp_path / "pyg" / name)
    assert asked.get("name") == member


def test_unknown_pyg_name():
    with pytest.raises(DatasetError, match="pyg:Kora is not known; expected one of Cora, CiteSeer"):
        open_dataset("pyg:Kora")


def ogb_arrays():
    graph = {"edge_index": EDGES.numpy(), "node_feat": np.ones((6, 3), np.float32), "num_nodes": 6}
    labels = np.array([[0], [1], [np.nan], [1], [0], [1]])
    return (
        graph,
        labels,
        {"train": np.array([0, 1]), "valid": np.array([3]), "test": np.array([4, 5])},
    )


def test_ogb_arrays():
    dataset = libraries.from_ogb(*ogb_arrays(), name="ogbn-products")
    assert dataset.graph.indices.tolist() == [0, 1, 1, 3]
    assert dataset.y.tolist() == [0, 1, -1, 1, 0, 1]
    assert dataset.num_classes == 2
    assert dataset.val_idx.tolist() == [3]


def test_ogb_without_features_or_with_many_labels():
    graph, labels, split = ogb_arrays()
    with pytest.raises(DatasetError, match="no node features"):
        libraries.from_ogb(graph | {"node_feat": None}, labels, split, name="ogbn-proteins")
    with pytest.raises(DatasetError, match=r"labels of shape \(6, 112\)"):
        libraries.from_ogb(graph, np.zeros((6, 112)), split, name="ogbn-proteins")


@pytest.fixture
def fake_ogb(monkeypatch, tmp_path):
    """Put a module in OGB's place whose data set is made by the function given."""
    monkeypatch.setenv("TORCH_DIRECT_DATA", str(tmp_path))

    def install(make):
        module = types.ModuleType("ogb.nodeproppred")
        module.NodePropPredDataset = make
        monkeypatch.setitem(sys.modules, "ogb", types.ModuleType("ogb"))
        monkeypatch.setitem(sys.modules, "ogb.nodeproppred", module)

    return install


class FakeOgb:
    """What OGB opens by name."""

    asked = None

    def __init__(self, name, root):
        FakeOgb.asked = name, root

    def __getitem__(self, index):
        return ogb_arrays()[:2]

    def get_idx_split(self):
        return ogb_arrays()[2]


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-papers100M"])
def test_ogb_citation_graphs_become_undirected(fake_ogb, name):
    fake_ogb(FakeOgb)
    dataset = open_dataset(f"ogb:{name}")
    assert dataset.graph.indptr.tolist() == [0, 1, 3, 4, 5, 5, 5]
    assert dataset.graph.indices.tolist() == [1, 0, 2, 1, 3]


def test_ogb_arrays_become_undirected_where_asked():
    dataset = libraries.from_ogb(*ogb_arrays(), name="anything", symmetric=True)
    assert dataset.graph.indices.tolist() == [1, 0, 2, 1, 3]


def test_ogb_is_asked_for_the_name(fake_ogb, tmp_path):
    fake_ogb(FakeOgb)
    told = []
    opened = open_dataset("ogb:ogbn-products", progress=lambda *done: told.append(done))
    assert FakeOgb.asked == ("ogbn-products", str(tmp_path / "ogb"))
    assert opened.test_idx.tolist() == [4, 5]
    assert opened.graph.indices.tolist() == [0, 1, 1, 3]
    assert told[-1][0] == told[-1][1] >= EDGES.size(1)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("Invalid dataset name ogbn-x"), "ogb:ogbn-x cannot be opened: Invalid"),
        (UnpicklingError("Weights only load failed"), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1"),
        (URLError("Name or service not known"), "^ogb:ogbn-x could not be downloaded to .*/ogb "),
        (RuntimeError("Stopped downloading due to interruption."), "Stopped .* a connection"),
    ],
)
def test_what_ogb_refuses(fake_ogb, error, message):
    def refuse(name, root):
        raise error

    fake_ogb(refuse)
    with pytest.raises(DatasetError, match=message):
        open_dataset("ogb:ogbn-x")


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        IncompleteRead(b""),
        zipfile.BadZipFile("File is not a zip file"),
        asyncio.TimeoutError(),
        "aiohttp",
    ],
)
def test_pyg_without_a_connection(monkeypatch, tmp_path, error):
    datasets = pytest.importorskip("torch_geometric.datasets")
    if error == "aiohttp":
        error = pytest.importorskip("aiohttp").ServerDisconnectedError()

    def fail(**arguments):
        raise error

    monkeypatch.setattr(datasets, "Planetoid", fail)
    monkeypatch.setenv("TORCH_DIRECT_DATA", str(tmp_path))
    with pytest.raises(DatasetError) as caught:
        open_dataset("pyg:Cora")
    message = str(caught.value)
    folder, said = tmp_path / "pyg" / "Cora", str(error) or repr(error)
    assert message.startswith(f"pyg:Cora could not be downloaded to {folder} ({said}); expected")
    assert "TORCH_DIRECT_DATA" in message


@pytest.mark.parametrize(
    ("spec", "module", "message"),
    [
        ("pyg:Cora", "torch_geometric.datasets", r"pip install 'torch-direct\[train\]'"),
        ("ogb:ogbn-arxiv", "ogb.nodeproppred", "pip install ogb"),
    ],
)
def test_missing_libraries(monkeypatch, spec, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=message):
        open_dataset(spec)


def test_data_folder(monkeypatch):
    monkeypatch.delenv("TORCH_DIRECT_DATA", raising=False)
    assert libraries.data_folder().parts[-2:] == (".cache", "torch-direct")
    monkeypatch.setenv("TORCH_DIRECT_DATA", "/big/disk")
    assert str(libraries.data_folder()) == "/big/disk"
