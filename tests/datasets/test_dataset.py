from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import torch_direct as td
from torch_direct.datasets import open_dataset
from torch_direct.datasets.dataset import SPLITS, random_split, require
from torch_direct.errors import DatasetError, MissingExtraError
from torch_direct.graph import Graph


def test_a_good_data_set_passes(tiny):
    tiny().validate()
    tiny(metric="roc_auc").validate()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"graph": Graph(torch.tensor([0, 2]), torch.tensor([0]))}, "graph of tiny is malformed"),
        ({"x": torch.zeros(5, 2)}, r"x of tiny .* shape \(5, 2\); expected .* \(6, num_features\)"),
        ({"x": torch.zeros(6, 2, dtype=torch.int64)}, "x of tiny is torch.int64"),
        ({"y": torch.zeros(6)}, "y of tiny is torch.float32"),
        ({"y": torch.tensor([0, 1, 2, 0, -1, 1])}, "has label 2; expected a class in"),
        ({"y": torch.tensor([0, 1, 1, 0, -2, 1])}, "has label -2"),
        ({"train_idx": torch.tensor([0, 6, 7])}, "train_idx names node 6, which is outside"),
        ({"test_idx": torch.tensor([-1])}, "test_idx names node -1, which is outside"),
        ({"val_idx": torch.tensor([4])}, "val_idx names node 4, which is unlabelled"),
        ({"val_idx": torch.tensor([1])}, "val_idx names node 1, which is in another split"),
        ({"train_idx": torch.tensor([0, 0])}, "train_idx names a node more than once"),
        ({"train_idx": torch.ones(6, dtype=torch.bool)}, "train_idx of tiny is torch.bool"),
        ({"metric": "f1"}, "metric is 'f1'; expected one of accuracy, roc_auc"),
        ({"metric": "roc_auc", "num_classes": 3}, "roc_auc with 3 classes"),
    ],
)
def test_validate_names_what_is_wrong(tiny, parts, message):
    with pytest.raises(DatasetError, match=message):
        tiny(**parts).validate()


def test_random_split_takes_20_and_30_of_each_class_and_the_rest():
    y = torch.arange(400) % 4
    y[350:] = -1
    split = random_split(y, seed=3)
    counts = [torch.bincount(y[nodes]).tolist() for nodes in split.values()]
    assert counts[0] == [20] * 4
    assert counts[1] == [30] * 4
    assert torch.cat(list(split.values())).sort().values.tolist() == list(range(350))
    again = random_split(y, seed=3)
    assert all(torch.equal(split[name], again[name]) for name in split)
    assert not torch.equal(split["train_idx"], random_split(y, seed=4)["train_idx"])


def test_random_split_refuses_a_small_class_and_no_label():
    with pytest.raises(DatasetError, match="class 1 has 50 labelled nodes"):
        random_split(torch.tensor([0] * 60 + [1] * 50), seed=0)
    with pytest.raises(DatasetError, match="no node is labelled"):
        random_split(torch.full((9,), -1), seed=0)


@pytest.mark.parametrize("spec", ["synthetik", "nowhere/cora.npz", "a:b"])
def test_unknown_data_says_what_is_accepted(spec):
    with pytest.raises(DatasetError, match=r"expected synthetic, a \.npz file.*ogb:NAME"):
        open_dataset(spec)


def test_a_path_that_is_no_data_set(tmp_path):
    file = tmp_path / "graph.csv"
    with pytest.raises(DatasetError, match="is no known name and no such path"):
        open_dataset(str(file))
    file.write_text("0,1\n")
    with pytest.raises(DatasetError, match="exists, but is no data set"):
        open_dataset(str(file))


def test_a_missing_library_names_what_to_install():
    with pytest.raises(MissingExtraError, match=r"No Lib is not installed.*pip install no-lib"):
        require("no_such_library", "No Lib", "no-lib")


def test_all_parts_may_be_unified(tiny):
    parts = {name: td.unified(getattr(tiny(), name)) for name in ("x", "y", *SPLITS)}
    dataset = tiny(graph=tiny().graph.to_unified(), **parts)
    dataset.validate()
    with pytest.raises(DatasetError, match="which is unlabelled"):
        replace(dataset, y=td.unified(torch.full((6,), -1))).validate()


@pytest.mark.parametrize("name", ["x", "y", *SPLITS])
def test_a_part_that_is_missing_is_named(tiny, name):
    with pytest.raises(TypeError, match=f"{name} is None; expected a tensor"):
        tiny(**{name: None}).validate()
