"""Data sets that other libraries download: `pyg:NAME` and `ogb:NAME`."""

from __future__ import annotations

import asyncio
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_direct.datasets.dataset import SPLITS, NodeDataset, random_split, require
from torch_direct.errors import DatasetError, GraphError
from torch_direct.graph import Graph, Progress

PYG_DATASETS = {
    "Cora": ("Planetoid", "Cora"),
    "CiteSeer": ("Planetoid", "CiteSeer"),
    "PubMed": ("Planetoid", "PubMed"),
    "AmazonComputers": ("Amazon", "Computers"),
    "AmazonPhoto": ("Amazon", "Photo"),
    "CoauthorCS": ("Coauthor", "CS"),
    "CoauthorPhysics": ("Coauthor", "Physics"),
    "Flickr": ("Flickr", None),
    "Reddit": ("Reddit", None),
    "Reddit2": ("Reddit2", None),
}
"""Names after `pyg:`, each with the class in `torch_geometric.datasets` and the name it takes."""

_OGB_DIRECTED = ("ogbn-arxiv", "ogbn-papers100M")
"""Citation graphs with edges in one direction, which published results make undirected."""

_LOST = (OSError, HTTPException, asyncio.TimeoutError, zipfile.BadZipFile)
"""What a connection that there is not, or that breaks off, may raise in any library."""


def data_folder() -> Path:
    """Return where downloads go: `$TORCH_DIRECT_DATA`, or `~/.cache/torch-direct`."""
    given = os.environ.get("TORCH_DIRECT_DATA")
    return Path(given) if given else Path.home() / ".cache" / "torch-direct"


def load_pyg(name: str, *, seed: int = 0, progress: Progress | None = None) -> NodeDataset:
    """Open a data set of PyTorch Geometric, downloading it first where need be.

    The features of the citation graphs are scaled to rows that sum to 1, and of the Amazon and
    Coauthor graphs the largest connected component is kept, as their published protocols say.

    Args:
        name: A key of `PYG_DATASETS`.
        seed: Draws the split where the data set has none; chooses it where it has several.
        progress: As in `from_pyg`.

    Raises:
        DatasetError: The name is not known, the data cannot be downloaded, or it does not make a
            node classification task.
        MissingExtraError: PyTorch Geometric is not installed.
    """
    if name not in PYG_DATASETS:
        raise DatasetError(f"pyg:{name} is not known; expected one of {', '.join(PYG_DATASETS)}")
    extra = "'torch-direct[train]'"
    datasets = require("torch_geometric.datasets", "PyTorch Geometric", extra)
    transforms = require("torch_geometric.transforms", "PyTorch Geometric", extra)
    family, member = PYG_DATASETS[name]
    root = data_folder() / "pyg" / name
    arguments: dict[str, Any] = {"root": str(root)}
    if member is not None:
        arguments["name"] = member
    if family == "Planetoid":
        arguments["transform"] = transforms.NormalizeFeatures()
    if family in ("Amazon", "Coauthor"):
        arguments["transform"] = transforms.LargestConnectedComponents()
    with _fetching(f"pyg:{name}", root):
        dataset = getattr(datasets, family)(**arguments)
    num_classes = dataset.num_classes
    return from_pyg(dataset[0], name=name, num_classes=num_classes, seed=seed, progress=progress)


def from_pyg(
    data: Any, *, name: str, num_classes: int, seed: int = 0, progress: Progress | None = None
) -> NodeDataset:
    """Make a data set of a `torch_geometric.data.Data`; edges are kept as they are.

    Args:
        data: With `x`, `y`, `edge_index`, and `train_mask`, `val_mask` and `test_mask` or none of
            them. Masks may have a second dimension, one column for each split.
        name: What reports call it.
        num_classes: Number of classes.
        seed: Draws the split where there are no masks; chooses the column where there are several.
        progress: Told how many edges were looked at, over all passes over them.

    Raises:
        DatasetError: A part is missing, or the parts do not fit together.
    """
    missing = [part for part in ("x", "y", "edge_index") if data.get(part) is None]
    if missing:
        raise DatasetError(
            f"{name} has no {', '.join(missing)}; expected x, y and edge_index: only data sets for "
            "node classification with features are supported"
        )
    y = data.y.long() if data.y.dim() == 1 else data.y
    masks = [data.get(split.replace("idx", "mask")) for split in SPLITS]
    if all(mask is None for mask in masks):
        splits = random_split(y, seed)
    elif any(mask is None for mask in masks):
        raise DatasetError(f"{name} has only a part of train_mask, val_mask and test_mask")
    else:
        indices = [_mask_column(mask, seed).nonzero().squeeze(1) for mask in masks]
        splits = dict(zip(SPLITS, indices, strict=True))
    try:
        graph = Graph.from_edge_index(
            data.edge_index, data.num_nodes, edge_id=False, progress=progress
        )
    except GraphError as error:
        raise DatasetError(f"{name}: {error}") from error
    return _checked(
        NodeDataset(
            name=name,
            graph=graph,
            x=data.x,
            y=y,
            num_classes=num_classes,
            metric="accuracy",
            **splits,
        )
    )


def load_ogb(name: str, *, progress: Progress | None = None) -> NodeDataset:
    """Open a node property data set of the Open Graph Benchmark, downloading it where need be.

    `ogbn-arxiv` and `ogbn-papers100M` are made undirected, as is usual in published results; the
    others are kept as they are.

    Args:
        name: As in `ogb.nodeproppred`: `"ogbn-arxiv"`, `"ogbn-products"` and so on.
        progress: As in `from_pyg`.

    Raises:
        DatasetError: The name is not known, the data cannot be downloaded or does not make a node
            classification task, or PyTorch refuses to unpickle what OGB stored.
        MissingExtraError: ogb is not installed.
    """
    nodeproppred = require("ogb.nodeproppred", "OGB", "ogb")
    root = data_folder() / "ogb"
    # OGB raises RuntimeError when a download breaks off, and asks before it begins a large one.
    with _fetching(f"ogb:{name}", root, RuntimeError, EOFError):
        try:
            dataset = nodeproppred.NodePropPredDataset(name, root=str(root))
            (graph, labels), split = dataset[0], dataset.get_idx_split()
        except UnpicklingError as error:
            raise DatasetError(
                f"OGB keeps {name} under {root} in a pickle, which torch.load refuses by default; "
                "if you trust that folder, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 for one "
                f"`torch-direct convert ogb:{name} FOLDER`, and train out of FOLDER"
            ) from error
        except ValueError as error:
            raise DatasetError(f"ogb:{name} cannot be opened: {error}") from error
    symmetric = name in _OGB_DIRECTED
    return from_ogb(graph, labels, split, name=name, symmetric=symmetric, progress=progress)


def from_ogb(
    graph: dict[str, Any],
    labels: Any,
    split: dict[str, Any],
    *,
    name: str,
    symmetric: bool = False,
    progress: Progress | None = None,
) -> NodeDataset:
    """Make a data set of the arrays that OGB gives.

    Args:
        graph: `edge_index` `[2, num_edges]`, `node_feat` `[num_nodes, num_features]` and
            `num_nodes`.
        labels: `[num_nodes, 1]`; NaN is unlabelled.
        split: Node ids under `train`, `valid` and `test`.
        name: Name of the data set.
        symmetric: Make the graph undirected, with each edge once.
        progress: As in `from_pyg`.

    Raises:
        DatasetError: There are no node features or several labels a node, or the parts do not fit
            together.
    """
    if graph.get("node_feat") is None or labels.ndim != 2 or labels.shape[1] != 1:
        raise DatasetError(
            f"ogb:{name} has labels of shape {labels.shape} and "
            f"{'no' if graph.get('node_feat') is None else 'some'} node features; expected one "
            "label for each node, and features: ogbn-arxiv, ogbn-products or ogbn-papers100M"
        )
    y = torch.from_numpy(np.nan_to_num(labels[:, 0], nan=-1.0).astype(np.int64))
    parts = (split[part] for part in ("train", "valid", "test"))
    return _checked(
        NodeDataset(
            name=name,
            graph=Graph.from_edge_index(
                torch.from_numpy(graph["edge_index"]),
                int(graph["num_nodes"]),
                edge_id=False,
                symmetric=symmetric,
                coalesce=symmetric,
                progress=progress,
            ),
            x=torch.from_numpy(graph["node_feat"]),
            y=y,
            num_classes=int(y.max()) + 1,
            metric="accuracy",
            **{key: torch.from_numpy(part) for key, part in zip(SPLITS, parts, strict=True)},
        )
    )


@contextmanager
def _fetching(spec: str, root: Path, *lost: type[Exception]) -> Iterator[None]:
    """Say what was fetched, and what to do, where a library loses its connection."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (*_LOST, *_lost_by_aiohttp(), *lost)):
            raise
        raise DatasetError(
            f"{spec} could not be downloaded to {root} ({str(error) or repr(error)}); expected a "
            "connection, or the whole data there: delete what is incomplete and try again, copy "
            "the folder from a machine that has it, or set TORCH_DIRECT_DATA to another folder"
        ) from error


def _lost_by_aiohttp() -> tuple[type[Exception], ...]:
    """Return what the client of PyG's downloads raises, which is imported by the first of them."""
    client = sys.modules.get("aiohttp")
    return () if client is None else (client.ClientError,)


def _checked(dataset: NodeDataset) -> NodeDataset:
    dataset.validate()
    return dataset


def _mask_column(mask: Tensor, seed: int) -> Tensor:
    return mask if mask.dim() == 1 else mask[:, seed % mask.size(1)]
