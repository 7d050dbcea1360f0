"""A graph with features, labels and a split, and what is common to all its sources."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_direct.errors import DatasetError, GraphError, MissingExtraError
from torch_direct.graph import Graph
from torch_direct.graph.plain import in_host_memory
from torch_direct.graph.validate import require_tensor

SPLITS = ("train_idx", "val_idx", "test_idx")
METRICS = ("accuracy", "roc_auc")
TRAIN_PER_CLASS = 20
VAL_PER_CLASS = 30


@dataclass(frozen=True, eq=False)
class NodeDataset:
    """A node classification task on one graph.

    `x` and the graph may be unified tensors; all else is on the CPU.
    """

    name: str
    """What reports call it."""
    graph: Graph
    """In-edges of every node."""
    x: Tensor
    """Features `[num_nodes, num_features]`, of a floating point type."""
    y: Tensor
    """Class of every node, int64 `[num_nodes]`; -1 where it is not known."""
    train_idx: Tensor
    """Nodes to train on, int64 `[num_train]`."""
    val_idx: Tensor
    """Nodes to choose the model by, int64 `[num_val]`."""
    test_idx: Tensor
    """Nodes to report, int64 `[num_test]`."""
    num_classes: int
    """Number of classes; labels run from 0 to `num_classes - 1`."""
    metric: str
    """What to report: `"accuracy"` or `"roc_auc"`."""

    def validate(self) -> None:
        """Check that the parts fit together.

        Raises:
            DatasetError: A tensor has the wrong dtype or shape, the graph is malformed, a label is
                no class, a node of a split lies outside the graph, is unlabelled, or is in a split
                twice, or the metric is unknown. The message names the part and the value.
            TypeError: A part is no tensor.
        """
        for name in ("x", "y", *SPLITS):
            if getattr(self, name) is None:
                raise TypeError(f"{name} is None; expected a tensor: every data set has one")
            require_tensor(name, getattr(self, name))
        try:
            self.graph.validate()
        except GraphError as error:
            raise DatasetError(f"the graph of {self.name} is malformed: {error}") from error
        self._validate_features()
        self._validate_labels()
        self._validate_splits()
        if self.metric not in METRICS:
            raise DatasetError(f"metric is {self.metric!r}; expected one of {', '.join(METRICS)}")
        if self.metric == "roc_auc" and self.num_classes != 2:
            raise DatasetError(
                f"metric is roc_auc with {self.num_classes} classes; expected 2: use accuracy"
            )

    def _validate_features(self) -> None:
        shape = tuple(self.x.shape)
        if not self.x.is_floating_point() or len(shape) != 2 or shape[0] != self.graph.num_nodes:
            raise DatasetError(
                f"x of {self.name} is {self.x.dtype} of shape {shape}; expected floating point of "
                f"shape ({self.graph.num_nodes}, num_features): one row for every node of the graph"
            )

    def _validate_labels(self) -> None:
        shape = tuple(self.y.shape)
        if self.y.dtype != torch.int64 or shape != (self.graph.num_nodes,):
            raise DatasetError(
                f"y of {self.name} is {self.y.dtype} of shape {shape}; expected torch.int64 of "
                f"shape ({self.graph.num_nodes},): one class for every node"
            )
        y = in_host_memory(self.y).cpu()
        bad = y[(y < -1) | (y >= self.num_classes)]
        if bad.numel() > 0:
            raise DatasetError(
                f"y of {self.name} has label {int(bad[0])}; expected a class in "
                f"[0, {self.num_classes}), or -1 for an unlabelled node"
            )

    def _validate_splits(self) -> None:
        seen = torch.zeros(self.graph.num_nodes, dtype=torch.bool, device="cpu")
        y = in_host_memory(self.y).cpu()
        for name in SPLITS:
            index = in_host_memory(getattr(self, name)).cpu()
            if index.dtype != torch.int64 or index.dim() != 1:
                raise DatasetError(
                    f"{name} of {self.name} is {index.dtype} of shape {tuple(index.shape)}; "
                    "expected torch.int64 of one dimension: give node ids, not a mask"
                )
            _refuse(
                name, index[(index < 0) | (index >= seen.numel())], "which is outside the graph"
            )
            _refuse(name, index[y[index] < 0], "which is unlabelled")
            _refuse(name, index[seen[index]], "which is in another split too")
            seen[index] = True
            if index.numel() != index.unique().numel():
                raise DatasetError(f"{name} names a node more than once; expected distinct nodes")


def _refuse(split: str, nodes: Tensor, reason: str) -> None:
    if nodes.numel() > 0:
        raise DatasetError(
            f"{split} names node {int(nodes[0])}, {reason}; expected each node to be in the graph, "
            f"labelled, and in one split: take it out ({nodes.numel()} such nodes)"
        )


def random_split(y: Tensor, seed: int) -> dict[str, Tensor]:
    """Draw 20 nodes of each class to train on and 30 to validate on; the rest is for the test.

    This is the protocol of Shchur, Mumme, Bojchevski and Günnemann, "Pitfalls of Graph Neural
    Network Evaluation" (2018), drawn with `numpy.random.default_rng(seed)`. Unlabelled nodes are in
    no split.

    Args:
        y: int64 `[num_nodes]`, -1 for unlabelled.
        seed: Not negative.

    Returns:
        `train_idx`, `val_idx` and `test_idx`, int64.

    Raises:
        DatasetError: A class has too few nodes for the three parts.
    """
    rng = np.random.default_rng(seed)
    labels = y.numpy()
    parts: list[list[Any]] = [[], [], []]
    for label in np.unique(labels[labels >= 0]):
        nodes = rng.permutation(np.flatnonzero(labels == label))
        if nodes.size <= TRAIN_PER_CLASS + VAL_PER_CLASS:
            raise DatasetError(
                f"class {label} has {nodes.size} labelled nodes; expected more than "
                f"{TRAIN_PER_CLASS + VAL_PER_CLASS} to split them at random: give train_idx, "
                "val_idx and test_idx with the data"
            )
        ends = [TRAIN_PER_CLASS, TRAIN_PER_CLASS + VAL_PER_CLASS]
        for part, chosen in zip(parts, np.split(nodes, ends), strict=True):
            part.append(chosen)
    if not parts[0]:
        raise DatasetError("no node is labelled; expected labels from 0 up, and -1 for unlabelled")
    return {
        name: torch.from_numpy(np.sort(np.concatenate(part)))
        for name, part in zip(SPLITS, parts, strict=True)
    }


def require(module: str, package: str, install: str) -> Any:
    """Import an optional library.

    Args:
        module: What to import.
        package: What users call it.
        install: What to give to `pip install`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{package} is not installed, and this data needs it ({error}): pip install {install}"
        ) from error
