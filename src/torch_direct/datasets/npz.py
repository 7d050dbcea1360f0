"""Data sets in one `.npz` file of plain arrays, recognised by the names of the arrays.

- **CSR with a split** (`adj_indptr`, `adj_indices`, `adj_shape`, `x_indptr`, `x_indices`, `x_data`,
  `x_shape`, `y`, `train_idx`, `val_idx`, `test_idx`): the citation graphs of Yang, Cohen and
  Salakhutdinov, "Revisiting Semi-Supervised Learning with Graph Embeddings" (ICML 2016). Feature
  rows are scaled to sum to 1, as in the protocol under which results on them are published (Kipf
  and Welling, ICLR 2017): documents differ in length, and a GCN learns less from raw counts.
- **CSR without a split**: Shchur et al., "Pitfalls of Graph Neural Network Evaluation" (2018).
  The largest connected component is kept and the split is drawn, as that protocol says.
- **dense with masks** (`node_features`, `node_labels`, `edges`, `train_masks`, `val_masks`,
  `test_masks`): Platonov et al., "A Critical Look at the Evaluation of GNNs under Heterophily"
  (ICLR 2023). Of the official splits the one numbered `seed` modulo their number is taken; with two
  classes the metric is ROC AUC, as there.

All are undirected graphs without self-loops or repeated edges, and are made so where the file
stores them otherwise. The edges of a file with `adj_*` run from row to column.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_direct.datasets.dataset import SPLITS, NodeDataset, random_split, require
from torch_direct.errors import DatasetError, GraphError
from torch_direct.graph import Graph

_CSR_KEYS = frozenset(
    ["adj_indptr", "adj_indices", "adj_shape", "x_indptr", "x_indices", "x_data", "x_shape", "y"]
)
_MASKS = ("train_masks", "val_masks", "test_masks")
_DENSE_KEYS = frozenset(["node_features", "node_labels", "edges", *_MASKS])
_KINDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(SPLITS, ("iu", "integers (node ids, not a mask)")),
    **dict.fromkeys(("y", "node_labels"), ("iu", "integers (-1 for an unlabelled node)")),
    **dict.fromkeys(
        ("adj_indptr", "adj_indices", "adj_shape", "x_indptr", "x_indices", "x_shape", "edges"),
        ("iu", "integers"),
    ),
    **dict.fromkeys(("x_data", "node_features"), ("biuf", "real numbers")),
    **dict.fromkeys(_MASKS, ("b", "booleans")),
}
"""By array, the kinds of dtypes that it may have, as NumPy abbreviates them and in words."""

Arrays = dict[str, Any]


def load_npz(path: Path, *, seed: int = 0) -> NodeDataset:
    """Read a data set from a `.npz` file; nothing in it is unpickled.

    Args:
        path: The file.
        seed: Draws the split, or chooses one of the official ones.

    Returns:
        The data set, in ordinary memory; features are dense float32, indices int32.

    Raises:
        DatasetError: The file is damaged, holds pickled objects, has none of the layouts above, or
            its arrays do not fit together.
        MissingExtraError: SciPy, which finds the largest connected component, is not installed.
    """
    arrays = _read(path)
    try:
        dataset = _build(path, arrays, seed)
        dataset.validate()
    except (DatasetError, GraphError) as error:
        raise DatasetError(f"{path}: {error}") from error
    except (ValueError, IndexError, TypeError, RuntimeError, OverflowError) as error:
        raise DatasetError(
            f"{path}: its arrays do not fit together ({error}); expected the shapes of a CSR "
            "matrix, or one feature row for every node: write the file again"
        ) from error
    return dataset


def _build(path: Path, arrays: Arrays, seed: int) -> NodeDataset:
    _check_dtypes(arrays)
    if arrays.keys() >= _CSR_KEYS | set(SPLITS):
        return _with_public_split(path.stem, arrays)
    if arrays.keys() >= _CSR_KEYS:
        return _with_random_split(path.stem, arrays, seed)
    if arrays.keys() >= _DENSE_KEYS:
        return _with_masks(path.stem, arrays, seed)
    raise DatasetError(
        f"the arrays are {', '.join(sorted(arrays)) or 'none'}; expected at least "
        f"{', '.join(sorted(_CSR_KEYS))}, or {', '.join(sorted(_DENSE_KEYS))}: rename them"
    )


def _check_dtypes(arrays: Arrays) -> None:
    for name, (kinds, expected) in _KINDS.items():
        if name in arrays and arrays[name].dtype.kind not in kinds:
            found = arrays[name]
            raise DatasetError(
                f"{name} is {found.dtype} and begins with {found.ravel()[:1].tolist()}; expected "
                f"{expected}: convert it and write the file again"
            )


def _read(path: Path) -> Arrays:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.lib.npyio.NpzFile):
                with archive:
                    return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}); expected a .npz archive of plain arrays, without "
            "pickled objects: fetch it again, or save its arrays again with numpy.savez"
        ) from error
    raise DatasetError(
        f"{path} holds one array, of shape {archive.shape}; expected an archive of several: write "
        "it with numpy.savez"
    )


def _with_public_split(name: str, arrays: Arrays) -> NodeDataset:
    rows = _csr_rows(arrays["x_indptr"])
    totals = np.bincount(rows, weights=arrays["x_data"], minlength=len(arrays["x_indptr"]) - 1)
    scaled = arrays["x_data"] / np.where(totals == 0, 1, totals)[rows]
    nodes = np.arange(int(arrays["adj_shape"][0]))
    splits = {split: torch.from_numpy(arrays[split].astype(np.int64)) for split in SPLITS}
    y = torch.from_numpy(arrays["y"].astype(np.int64))
    return NodeDataset(
        name=name,
        graph=_undirected(_csr_edges(arrays), nodes.size),
        x=_dense(arrays, scaled, nodes),
        y=y,
        num_classes=_count_classes(y),
        metric="accuracy",
        **splits,
    )


def _with_random_split(name: str, arrays: Arrays, seed: int) -> NodeDataset:
    edges = _csr_edges(arrays)
    nodes = _largest_component(edges, int(arrays["adj_shape"][0]))
    local = np.full(int(arrays["adj_shape"][0]), -1)
    local[nodes] = np.arange(nodes.size)
    edges = local[edges]
    y = torch.from_numpy(arrays["y"].astype(np.int64)[nodes])
    return NodeDataset(
        name=name,
        graph=_undirected(edges[:, (edges >= 0).all(axis=0)], nodes.size),
        # The published results on these splits are of words that occur or do not, not of counts.
        x=_dense(arrays, np.ones_like(arrays["x_data"]), nodes),
        y=y,
        num_classes=_count_classes(y),
        metric="accuracy",
        **random_split(y, seed),
    )


def _with_masks(name: str, arrays: Arrays, seed: int) -> NodeDataset:
    y = torch.from_numpy(arrays["node_labels"].astype(np.int64))
    num_classes = _count_classes(y)
    splits = {
        split: torch.from_numpy(np.flatnonzero(arrays[mask][seed % len(arrays[mask])]))
        for split, mask in zip(SPLITS, _MASKS, strict=True)
    }
    return NodeDataset(
        name=name,
        graph=_undirected(arrays["edges"].T, y.numel()),
        x=torch.from_numpy(arrays["node_features"].astype(np.float32, copy=False)),
        y=y,
        num_classes=num_classes,
        metric="roc_auc" if num_classes == 2 else "accuracy",
        **splits,
    )


def _count_classes(y: Tensor) -> int:
    return int(y.max()) + 1 if y.numel() else 0


def _csr_rows(indptr: Any) -> Any:
    """Return the row of every stored entry of a CSR matrix."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _csr_edges(arrays: Arrays) -> Any:
    """Return the edges `[2, num stored edges]`, int64."""
    return np.stack([_csr_rows(arrays["adj_indptr"]), arrays["adj_indices"].astype(np.int64)])


def _undirected(edges: Any, num_nodes: int) -> Graph:
    edges = edges[:, edges[0] != edges[1]].astype(np.int32)
    return Graph.from_edge_index(
        torch.from_numpy(edges), num_nodes, edge_id=False, symmetric=True, coalesce=True
    )


def _largest_component(edges: Any, num_nodes: int) -> Any:
    """Return the nodes of the largest connected component, ascending."""
    sparse = require("scipy.sparse", "SciPy", "'torch-direct[train]'")
    csgraph = require("scipy.sparse.csgraph", "SciPy", "'torch-direct[train]'")
    ones = np.ones(edges.shape[1], dtype=np.int8)
    matrix = sparse.coo_matrix((ones, (edges[0], edges[1])), shape=(num_nodes, num_nodes))
    _, component = csgraph.connected_components(matrix, directed=False)
    return np.flatnonzero(component == np.bincount(component).argmax())


def _dense(arrays: Arrays, data: Any, nodes: Any) -> Tensor:
    """Return the rows `nodes` of the CSR features as dense float32, made in place once."""
    num_rows, width = (int(size) for size in arrays["x_shape"])
    place = np.full(num_rows, -1)
    place[nodes] = np.arange(nodes.size)
    rows = place[_csr_rows(arrays["x_indptr"])]
    kept = rows >= 0
    columns = arrays["x_indices"][kept].astype(np.int64)
    if columns.size and (columns.min() < 0 or columns.max() >= width):
        raise DatasetError(f"x_indices has a column outside [0, {width}); expected x_shape to fit")
    x = torch.zeros(nodes.size, width, device="cpu")
    entries = torch.from_numpy(rows[kept] * width + columns)
    x.view(-1).index_add_(0, entries, torch.from_numpy(data[kept].astype(np.float32)))
    return x
