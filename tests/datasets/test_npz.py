from __future__ import annotations

import numpy as np
import pytest
import torch

from torch_direct.datasets import open_dataset
from torch_direct.datasets.dataset import SPLITS
from torch_direct.errors import DatasetError


def edges_of(graph):
    dst = torch.arange(graph.num_nodes).repeat_interleave(graph.indptr.diff())
    return list(zip(graph.indices.tolist(), dst.tolist(), strict=True))


def csr(rows):
    return {
        "indptr": np.cumsum([0, *(len(row) for row in rows)]),
        "indices": np.array([column for row in rows for column in row], dtype=np.int32),
    }


def citation_arrays():
    """Four nodes on a path, stored in one direction, with a self-loop and a repeated arc."""
    adjacency, features = csr([[1, 1, 0], [2], [3], []]), csr([[0, 2], [1], [], [0]])
    return {
        "adj_indptr": adjacency["indptr"],
        "adj_indices": adjacency["indices"],
        "adj_shape": np.array([4, 4]),
        "x_indptr": features["indptr"],
        "x_indices": features["indices"],
        "x_data": np.array([1, 3, 2, 5], dtype=np.float32),
        "x_shape": np.array([4, 3]),
        "y": np.array([0, 1, -1, 1]),
        "train_idx": np.array([0]),
        "val_idx": np.array([1]),
        "test_idx": np.array([3]),
    }


def write(path, arrays):
    np.savez(path, **arrays)
    return str(path)


def test_citation_layout(tmp_path):
    dataset = open_dataset(write(tmp_path / "paths.npz", citation_arrays()))
    assert dataset.name == "paths"
    path = [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]
    assert sorted(edges_of(dataset.graph)) == path
    assert dataset.graph.indices.dtype == torch.int32
    assert dataset.x.tolist() == [[0.25, 0, 0.75], [0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert dataset.y.tolist() == [0, 1, -1, 1]
    assert (dataset.num_classes, dataset.metric) == (2, "accuracy")
    assert [getattr(dataset, name).tolist() for name in SPLITS] == [[0], [1], [3]]


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    write(tmp_path / "paths.npz", citation_arrays())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_dataset("~/paths.npz").name == "paths"


def test_words_that_sum_to_zero_are_kept(tmp_path):
    arrays = citation_arrays() | {"x_data": np.array([1, 3, 0, 5], dtype=np.float32)}
    dataset = open_dataset(write(tmp_path / "zero.npz", arrays))
    assert dataset.x[1].tolist() == [0, 0, 0]


def test_layout_without_a_split_keeps_the_largest_component(tmp_path):
    """A ring of 130 nodes with ids 5 to 134, and five isolated nodes in front of it."""
    ring = [[] for _ in range(5)] + [[5 + (i + 1) % 130] for i in range(130)]
    features = csr([[node % 3] for node in range(135)])
    adjacency = csr(ring)
    arrays = {
        "adj_indptr": adjacency["indptr"],
        "adj_indices": adjacency["indices"],
        "adj_shape": np.array([135, 135]),
        "x_indptr": features["indptr"],
        "x_indices": features["indices"],
        "x_data": np.arange(135, dtype=np.float32),
        "x_shape": np.array([135, 3]),
        "y": np.arange(135) % 2,
    }
    path = write(tmp_path / "ring.npz", arrays)
    dataset = open_dataset(path, seed=1)
    assert dataset.graph.num_nodes == 130
    assert (dataset.graph.indptr.diff() == 2).all()
    assert dataset.x[0].tolist() == [0, 0, 1]
    assert dataset.y[:2].tolist() == [1, 0]
    assert [getattr(dataset, name).numel() for name in SPLITS] == [40, 60, 30]
    other = open_dataset(path, seed=2)
    assert not torch.equal(dataset.train_idx, other.train_idx)


@pytest.mark.parametrize(("num_classes", "metric"), [(2, "roc_auc"), (3, "accuracy")])
def test_layout_with_masks_takes_the_split_of_the_seed(tmp_path, num_classes, metric):
    which = np.array([[0, 0, 1, 2, 2], [2, 1, 0, 0, 0]])
    masks = {f"{name}_masks": which == i for i, name in enumerate(("train", "val", "test"))}
    arrays = {
        "node_features": np.eye(5, dtype=np.float32),
        "node_labels": np.arange(5) % num_classes,
        "edges": np.array([[0, 1], [3, 2]]),
        **masks,
    }
    path = write(tmp_path / "masks.npz", arrays)
    first, second, third = (open_dataset(path, seed=seed) for seed in range(3))
    assert first.metric == metric
    assert sorted(edges_of(first.graph)) == [(0, 1), (1, 0), (2, 3), (3, 2)]
    assert first.train_idx.tolist() == third.train_idx.tolist() == [0, 1]
    assert second.train_idx.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "the arrays are adj_indices.*expected at least adj_indices"),
        ({"train_idx": np.array([2])}, "train_idx names node 2, which is unlabelled"),
        ({"train_idx": np.array([9])}, "arrays do not fit|train_idx names node 9"),
        ({"adj_indices": np.array([1, 1, 0, 2, 7], dtype=np.int32)}, r"edge_index\[1, 3\] is 7"),
        ({"x_indices": np.array([0, 2, 3, 0], dtype=np.int32)}, r"outside \[0, 3\)"),
        ({"x_indices": np.array([0, 2, -1, 0], dtype=np.int32)}, r"outside \[0, 3\)"),
        ({"x_data": np.array([1, 2], dtype=np.float32)}, "do not fit together"),
        ({"y": np.array([0, 1])}, "y of bad is"),
        ({"adj_shape": np.array([5, 5])}, "x of bad|do not fit"),
        ({"adj_indptr": np.array(3)}, "do not fit together"),
        ({"y": np.array([0.5, 1, -1, 1])}, r"y is float64 and begins with \[0.5\]; expected int"),
        ({"y": np.array([0, 1, np.nan, 1])}, "y is float64"),
        ({"train_idx": np.array([0.0])}, r"train_idx is float64.*node ids, not a mask\): convert"),
        ({"train_idx": np.arange(4) == 0}, "train_idx is bool.*node ids, not a mask"),
        ({"adj_indices": np.array([1, 1, 0, 2, 3.5])}, "adj_indices is float64"),
        (
            {"x_data": np.array(list("abcd"))},
            r"x_data is <U1 and begins with \['a'\]; expected real",
        ),
        ({"x_data": np.array([1j, 3, 2, 5])}, "x_data is complex128"),
    ],
)
def test_malformed_arrays_name_the_file(tmp_path, change, message):
    arrays = {k: v for k, v in (citation_arrays() | change).items() if v is not None}
    path = write(tmp_path / "bad.npz", arrays)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_labels": np.array([0.5, 1])}, "node_labels is float64"),
        ({"node_features": np.array([["a"], ["b"]])}, "node_features is <U1.*expected real"),
        ({"edges": np.array([[0.0, 1.0]])}, "edges is float64"),
        ({"val_masks": np.array([["", "x"]])}, "val_masks is <U1.*expected booleans"),
    ],
)
def test_malformed_arrays_with_masks_are_named(tmp_path, change, message):
    arrays = {
        "node_features": np.eye(2),
        "node_labels": np.arange(2),
        "edges": np.array([[0, 1]]),
        **{f"{name}_masks": np.ones((1, 2), dtype=bool) for name in ("train", "val", "test")},
    }
    with pytest.raises(DatasetError, match=message):
        open_dataset(write(tmp_path / "bad.npz", arrays | change))


def test_one_array_is_no_archive(tmp_path):
    path = tmp_path / "array.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 2)))
    with pytest.raises(
        DatasetError,
        match=r"holds one array, of shape \(3, 2\); expected an archive.*numpy.savez",
    ):
        open_dataset(str(path))


def test_damaged_files_and_pickles(tmp_path):
    path = tmp_path / "damaged.npz"
    write(path, citation_arrays())
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"not a zip file", b""):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match="cannot be read"):
            open_dataset(str(path))
    write(path, {"y": np.array([{}, []], dtype=object)})
    with pytest.raises(DatasetError, match="without pickled objects"):
        open_dataset(str(path))


@pytest.mark.parametrize(
    ("name", "num_nodes", "num_edges", "width", "classes", "split"),
    [
        ("cora", 2708, 10556, 1433, 7, [140, 500, 1000]),
        ("citeseer", 3327, 9104, 3703, 6, [120, 500, 1000]),
        ("amazon_photo", 7487, 2 * 119_043, 745, 8, [160, 240, 7087]),
        ("tolokers", 11758, 2 * 519_000, 10, 2, [5879, 2939, 2940]),
        ("coauthor_physics", 34493, 495_924, 8415, 5, [100, 150, 34243]),
    ],
)
def test_real_data(real_data, name, num_nodes, num_edges, width, classes, split):
    dataset = open_dataset(real_data(name))
    assert (dataset.graph.num_nodes, dataset.graph.num_edges) == (num_nodes, num_edges)
    assert dataset.x.shape == (num_nodes, width)
    assert dataset.x.dtype == torch.float32
    assert dataset.num_classes == classes
    assert [getattr(dataset, part).numel() for part in SPLITS] == split
    assert dataset.metric == ("roc_auc" if name == "tolokers" else "accuracy")
    assert int((dataset.y < 0).sum()) == (15 if name == "citeseer" else 0)
