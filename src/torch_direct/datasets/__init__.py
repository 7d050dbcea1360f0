"""Node classification data sets: made here, read from files, or downloaded by other libraries."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from torch_direct.datasets.dataset import NodeDataset
from torch_direct.datasets.folder import load_folder, save_folder
from torch_direct.datasets.libraries import load_ogb, load_pyg
from torch_direct.datasets.npz import load_npz
from torch_direct.datasets.synthetic import SyntheticSpec, make_synthetic
from torch_direct.errors import DatasetError
from torch_direct.graph import Progress

__all__ = ["NodeDataset", "SyntheticSpec", "open_dataset", "save_folder"]

_ACCEPTED = (
    "synthetic, a .npz file, a folder written by `torch-direct convert`, pyg:NAME or ogb:NAME"
)


def open_dataset(
    spec: str | PathLike[str],
    *,
    seed: int = 0,
    synthetic: SyntheticSpec | None = None,
    progress: Progress | None = None,
) -> NodeDataset:
    """Open a data set.

    Args:
        spec: `"synthetic"`; the path of a `.npz` file; the path of a folder that
            `torch-direct convert` wrote; `"pyg:NAME"`, for example `"pyg:Reddit"`; or
            `"ogb:NAME"`, for example `"ogb:ogbn-products"`.
        seed: Makes the synthetic data set, and draws or chooses the split of others that have none
            or several; at least 0.
        synthetic: Sizes of the synthetic data set; its defaults if None.
        progress: Told how many edges were looked at while those that a library gave are sorted.

    Returns:
        The data set, checked: the graph is well formed, and each node in a split is labelled.

    Raises:
        DatasetError: `spec` is none of these, or what it names is missing or damaged.
        MissingExtraError: A library that the data needs is not installed.
    """
    spec = os.fspath(spec)
    if spec == "synthetic":
        return make_synthetic(synthetic or SyntheticSpec(), seed=seed)
    kind, _, name = spec.partition(":")
    if kind == "pyg":
        return load_pyg(name, seed=seed, progress=progress)
    if kind == "ogb":
        return load_ogb(name, progress=progress)
    path = Path(spec).expanduser()
    if path.is_dir():
        return load_folder(path)
    if path.suffix == ".npz" and path.is_file():
        return load_npz(path, seed=seed)
    found = "exists, but is no data set" if path.exists() else "is no known name and no such path"
    raise DatasetError(f"{spec!r} {found}; expected {_ACCEPTED}: correct it")
