"""The on-disk form of a data set: a folder of `.npy` files that are mapped, and `meta.json`.

`docs/datasets.md` describes it. `meta.json` is written last, so a folder that has it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_direct.datasets.dataset import SPLITS, NodeDataset
from torch_direct.errors import DatasetError, FileFormatError
from torch_direct.graph import Graph

FORMAT = "torch-direct node dataset"
VERSION = 1
META = "meta.json"
ARRAYS = ("indptr", "indices", "x", "y", *SPLITS)

_CHUNK_BYTES = 1 << 26
_MAPPED = ("indptr", "indices", "x")
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    )
}


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
    meta = _read_meta(path)
    tensors = {name: _open_array(path, name, meta["arrays"]) for name in ARRAYS}
    graph = Graph(tensors.pop("indptr"), tensors.pop("indices"))
    try:
        dataset = NodeDataset(
            name=str(meta["name"]),
            graph=graph,
            num_classes=int(meta["num_classes"]),
            metric=str(meta["metric"]),
            **tensors,
        )
        dataset.validate()
    except (DatasetError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} does not hold together: {error}") from error
    return dataset


def save_folder(
    dataset: NodeDataset,
    path: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a data set as a folder, in chunks of 64 MiB.

    Args:
        dataset: What to write.
        path: The folder; made where it does not exist.
        overwrite: Replace the data set in a folder that is not empty; other files in it stay.
        progress: Called with the number of bytes after each chunk was written.

    Raises:
        DatasetError: `check_target` refuses the folder, or a tensor has a dtype that the form does
            not have.
    """
    tensors = _tensors(dataset)
    _check_dtypes(tensors)
    check_target(path, overwrite=overwrite)
    path.mkdir(parents=True, exist_ok=True)
    (path / META).unlink(missing_ok=True)
    for name, tensor in tensors.items():
        _write_array(path / f"{name}.npy", tensor, progress or (lambda _count: None))
    _write_meta(path, dataset, tensors)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a data set may be written to `path`.

    Raises:
        DatasetError: It is a file, or a folder that is not empty and `overwrite` is not set.
    """
    if path.exists() and not path.is_dir():
        raise DatasetError(f"{path} is a file; expected a folder: choose another name")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise DatasetError(
            f"{path} is not empty; expected a new or an empty folder: choose another one, or "
            "overwrite it (--overwrite)"
        )


def nbytes(dataset: NodeDataset) -> int:
    """Return how many bytes of arrays `save_folder` writes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(dataset).values())


def _tensors(dataset: NodeDataset) -> dict[str, Tensor]:
    graph = {"indptr": dataset.graph.indptr, "indices": dataset.graph.indices}
    return graph | {name: getattr(dataset, name) for name in ("x", "y", *SPLITS)}


def _check_dtypes(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values():
            raise DatasetError(
                f"{name} is {tensor.dtype}; expected one of {', '.join(_DTYPES)}: convert it first"
            )


def _write_array(path: Path, tensor: Tensor, progress: Callable[[int], None]) -> None:
    """Write to a new file that then takes the place of the old one, which may still be mapped."""
    partial = path.with_suffix(".partial")
    first = _as_numpy(tensor[:0])
    rows = max(1, _CHUNK_BYTES // max(1, tensor[:1].numel() * tensor.element_size()))
    with partial.open("wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(first.dtype),
            "fortran_order": False,
            "shape": tuple(tensor.shape),
        }
        np.lib.format.write_array_header_2_0(file, header)
        for start in range(0, tensor.size(0), rows):
            chunk = _as_numpy(tensor[start : start + rows])
            file.write(chunk.data)
            progress(chunk.nbytes)
    partial.replace(path)


def _as_numpy(tensor: Tensor) -> Any:
    """Return the values as an array; bfloat16, which NumPy lacks, as its 16 bits."""
    tensor = tensor.cpu().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _write_meta(path: Path, dataset: NodeDataset, tensors: dict[str, Tensor]) -> None:
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "name": dataset.name,
        "num_classes": dataset.num_classes,
        "metric": dataset.metric,
        "arrays": {
            name: {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
            for name, tensor in tensors.items()
        },
    }
    partial = path / f"{META}.partial"
    partial.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    partial.replace(path / META)


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / META
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} has no {META}; expected a folder that `torch-direct convert` finished "
            "writing: convert the data again"
        ) from error
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file} cannot be read ({error}); expected JSON: convert the data again"
        ) from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise DatasetError(
            f'{file} is not the description of a data set; expected "format": "{FORMAT}": '
            "name another folder"
        )
    if meta.get("version") != VERSION:
        raise DatasetError(
            f"{file} is of version {meta.get('version')}; this torch-direct reads version "
            f"{VERSION}: convert the data again with it"
        )
    missing = [key for key in ("name", "num_classes", "metric", "arrays") if key not in meta]
    if missing:
        raise DatasetError(f"{file} lacks {', '.join(missing)}: convert the data again")
    return meta


def _open_array(path: Path, name: str, arrays: dict[str, Any]) -> Tensor:
    file = path / f"{name}.npy"
    try:
        dtype = _DTYPES[arrays[name]["dtype"]]
        shape = tuple(int(size) for size in arrays[name]["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path / META} does not say the dtype and shape of {name} ({error}); expected one of "
            f"{', '.join(_DTYPES)} and a list of sizes: convert the data again"
        ) from error
    tensor = _map(file, dtype)
    if tuple(tensor.shape) != shape:
        raise DatasetError(
            f"{file} has shape {tuple(tensor.shape)}; {META} says {shape}: one of the two belongs "
            "to another data set; convert the data again"
        )
    return tensor if name in _MAPPED else tensor.cpu().clone()


def _map(file: Path, dtype: torch.dtype) -> Tensor:
    from torch_direct.tensor.create import load

    try:
        return load(file, dtype=dtype)
    except FileNotFoundError as error:
        raise DatasetError(f"{file} is missing: convert the data again") from error
    except FileFormatError as error:
        raise DatasetError(f"{error} Or convert the data again.") from error
