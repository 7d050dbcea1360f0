"""A data set as a folder: that of its graph, with features, labels and splits beside it.

`docs/datasets.md` describes it.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from torch_direct.datasets.dataset import SPLITS, NodeDataset
from torch_direct.errors import DatasetError, FileFormatError, GraphError
from torch_direct.graph import Graph, Progress
from torch_direct.graph.progress import Meter
from torch_direct.graph.storage import GRAPH, META, NODE_DATASET, Folder, open_folder, write_folder

_KEYS = ("name", "num_classes", "metric")
_READ = ("y", *SPLITS)


def load_folder(path: Path) -> NodeDataset:
    """Open a data set that `save_folder` wrote.

    The graph and the features are mapped, read-only, into unified memory: nothing of them is read
    before it is used, but for the check of the graph, and processes share them. Labels and splits
    are read.

    Args:
        path: The folder.

    Raises:
        DatasetError: `meta.json` is missing, is damaged or is of another version; a file is
            missing, is damaged, or is not as `meta.json` says; the parts do not fit together.
    """
    try:
        folder = open_folder(path, NODE_DATASET, GRAPH)
        if folder.meta["format"] == GRAPH:
            raise DatasetError(
                f"{path} holds a graph alone; expected features, labels and splits with it: write "
                "them together with torch_direct.datasets.save_folder"
            )
        graph = Graph.load(path, unified=True)
        x = folder.tensor("x", unified=True)
        read = {name: folder.tensor(name, unified=False).clone() for name in _READ}
    except FileFormatError as error:
        raise DatasetError(str(error)) from error
    except GraphError as error:
        raise DatasetError(f"{path} does not hold together: {error}") from error
    _require_keys(folder)
    try:
        dataset = NodeDataset(
            name=str(folder.meta["name"]),
            graph=graph,
            x=x,
            num_classes=int(folder.meta["num_classes"]),
            metric=str(folder.meta["metric"]),
            **read,
        )
        dataset.validate()
    except (DatasetError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} does not hold together: {error}") from error
    return dataset


def save_folder(
    dataset: NodeDataset,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a data set as a folder, in chunks of 64 MiB.

    Args:
        dataset: What to write.
        path: The folder; made where it does not exist.
        overwrite: Replace the data set in a folder that is not empty; other files in it stay.
        progress: Told how many bytes were written.

    Raises:
        DatasetError: The folder is a file or is not empty and `overwrite` is not set, a tensor has
            a dtype that the form does not have, or the parts do not fit together.
    """
    dataset.validate()
    tensors = _tensors(dataset)
    meta: dict[str, Any] = {"format": NODE_DATASET} | {key: getattr(dataset, key) for key in _KEYS}
    meter = Meter(progress, sum(tensor.nbytes for tensor in tensors.values()))
    try:
        write_folder(Path(path), meta, tensors, overwrite=overwrite, meter=meter)
    except FileFormatError as error:
        raise DatasetError(str(error)) from error


def _tensors(dataset: NodeDataset) -> dict[str, Tensor]:
    return dataset.graph.tensors() | {name: getattr(dataset, name) for name in ("x", *_READ)}


def _require_keys(folder: Folder) -> None:
    missing = [key for key in _KEYS if key not in folder.meta]
    if missing:
        raise DatasetError(
            f"{folder.path / META} lacks {', '.join(missing)}: convert the data again"
        )
