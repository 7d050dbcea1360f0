"""The on-disk form of graphs and data sets: `.npy` files that are mapped, and `meta.json`.

`docs/graph.md` describes it. `meta.json` is written last, so a folder that has it is whole.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_direct.errors import FileFormatError
from torch_direct.graph.progress import Meter
from torch_direct.memory.files import read_header
from torch_direct.memory.pages import size_text
from torch_direct.tensor.create import load

GRAPH = "torch-direct graph"
HETERO_GRAPH = "torch-direct heterogeneous graph"
NODE_DATASET = "torch-direct node dataset"
VERSION = 1
META = "meta.json"

_CHUNK_BYTES = 1 << 26
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


@dataclass(frozen=True)
class Folder:
    """A folder whose `meta.json` was read."""

    path: Path
    """Where it is."""
    meta: dict[str, Any]
    """What `meta.json` says."""

    def __contains__(self, name: str) -> bool:
        return name in self.meta["arrays"]

    def tensor(self, name: str, *, unified: bool) -> Tensor:
        """Map a tensor, read-only.

        Args:
            name: Its name in `meta.json`.
            unified: Give it to the GPU, as `td.load` does; otherwise it is a plain CPU tensor.

        Raises:
            FileFormatError: The file is missing, is damaged, or is not as `meta.json` says.
        """
        file = self.path / f"{name}.npy"
        dtype, shape = self._entry(name)
        try:
            tensor = load(file, dtype=dtype) if unified else map_array(file, dtype)
        except FileNotFoundError as error:
            raise FileFormatError(f"{file} is missing: write the folder again") from error
        if tuple(tensor.shape) != shape:
            raise FileFormatError(
                f"{file} has shape {tuple(tensor.shape)}; {META} says {shape}: one of the two "
                "belongs to another folder; write it again"
            )
        return tensor

    def size(self, name: str) -> int | None:
        """Return a number that `meta.json` may give.

        Raises:
            FileFormatError: It is no number of at least 0.
        """
        value = self.meta.get(name)
        if value is not None and (not isinstance(value, int) or value < 0):
            raise FileFormatError(
                f'{self.path / META} has "{name}": {json.dumps(value)}; expected a number of at '
                "least 0: write the folder again"
            )
        return value

    def _entry(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        try:
            entry = self.meta["arrays"][name]
            return _DTYPES[entry["dtype"]], tuple(int(size) for size in entry["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"{self.path / META} does not say the dtype and shape of {name} ({error}); "
                f"expected one of {', '.join(_DTYPES)} and a list of sizes: write the folder again"
            ) from error


def open_folder(path: Path, *formats: str) -> Folder:
    """Read the `meta.json` of a folder.

    Args:
        path: The folder.
        formats: What it may be.

    Raises:
        FileFormatError: `meta.json` is missing, is damaged, or is of another format or version.
    """
    file = path / META
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileFormatError(
            f"{path} has no {META}; expected a folder that torch-direct finished writing: write it "
            "again"
        ) from error
    except OSError as error:
        raise FileFormatError(
            f"{file} cannot be read ({error.strerror}); expected a file that you may read: change "
            "its rights and those of the folder"
        ) from error
    except ValueError as error:
        raise FileFormatError(
            f"{file} cannot be read ({error}); expected JSON: write the folder again"
        ) from error
    if not isinstance(meta, dict) or meta.get("format") not in formats:
        expected = " or ".join(f'"{name}"' for name in formats)
        found = meta.get("format") if isinstance(meta, dict) else None
        raise FileFormatError(
            f'{file} has "format": {json.dumps(found)}; expected {expected}: name another folder'
        )
    if meta.get("version") != VERSION:
        raise FileFormatError(
            f"{file} is of version {meta.get('version')}; this torch-direct reads version "
            f"{VERSION}: write the folder again with it"
        )
    if not isinstance(meta.get("arrays"), dict):
        raise FileFormatError(f"{file} lacks arrays: write the folder again")
    return Folder(path, meta)


def write_folder(
    path: Path,
    meta: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    overwrite: bool,
    meter: Meter,
) -> None:
    """Write tensors and `meta.json`, in chunks of 64 MiB.

    Args:
        path: The folder; made where it does not exist.
        meta: What `meta.json` says, besides the version and the tensors.
        tensors: By name.
        overwrite: Replace what a folder that is not empty has under these names.
        meter: Told of the bytes that were written.

    Raises:
        FileFormatError: `check_target` refuses the folder, or a tensor has a dtype that the form
            does not have.
        OSError: The disk is full, or a file cannot be written.
    """
    _check_dtypes(tensors)
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    prepare_folder(path, nbytes, overwrite=overwrite)
    for name, tensor in tensors.items():
        _write_array(path / f"{name}.npy", tensor, meter.advance)
    _write_meta(path, meta, tensors)


def map_array(file: Path, dtype: torch.dtype | None = None) -> Tensor:
    """Map a `.npy` file as a plain CPU tensor, which must not be written.

    Args:
        file: The file.
        dtype: The element type that is expected, by default the one that the file names.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: It is no `.npy` file, is truncated, or holds another type.
    """
    header = read_header(file, dtype)
    if header.nbytes == 0:
        return torch.empty(header.shape, dtype=header.dtype, device="cpu")
    array = np.memmap(file, np.uint8, "r", header.offset, (header.nbytes,))
    with warnings.catch_warnings():
        # PyTorch warns of read-only arrays; that they must not be written is documented.
        warnings.filterwarnings("ignore", message=".*not writable", category=UserWarning)
        values = torch.from_numpy(array).view(header.dtype)
    return values.as_strided(header.shape, header.stride)


def prepare_folder(path: Path, nbytes: int, *, overwrite: bool) -> None:
    """Make a folder where there is none, and mark it as unfinished.

    Args:
        path: The folder.
        nbytes: Bytes that will be written. What they replace goes when they are there.
        overwrite: As in `check_target`.

    Raises:
        FileFormatError: `check_target` refuses it.
        OSError: The folder cannot be made, or its disk has too little room.
    """
    check_target(path, overwrite=overwrite)
    path.mkdir(parents=True, exist_ok=True)
    if nbytes > _free_bytes(path):
        raise OSError(f"{path} cannot be written: it needs {size_text(nbytes)}; {_make_room(path)}")
    (path / META).unlink(missing_ok=True)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a folder may be written.

    Raises:
        FileFormatError: It is a file, or a folder that is not empty and `overwrite` is not set.
    """
    if path.exists() and not path.is_dir():
        raise FileFormatError(f"{path} is a file; expected a folder: choose another name")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise FileFormatError(
            f"{path} is not empty; expected a new or an empty folder: choose another one, or "
            "overwrite it (overwrite=True, --overwrite)"
        )


def _check_dtypes(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values():
            raise FileFormatError(
                f"{name} is {tensor.dtype}; expected one of {', '.join(_DTYPES)}: convert it first"
            )


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def _make_room(folder: Path) -> str:
    free = size_text(_free_bytes(folder))
    return f"the disk has {free} free: make room, or choose another folder"


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Give a name to write to; the file then takes the place of `path`, which may be mapped."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); {_make_room(path.parent)}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _write_array(path: Path, tensor: Tensor, written: Callable[[int], None]) -> None:
    first = _as_numpy(tensor[:0])
    rows = max(1, _CHUNK_BYTES // max(1, tensor[:1].nbytes))
    with _new_file(path) as partial, partial.open("wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(first.dtype),
            "fortran_order": False,
            "shape": tuple(tensor.shape),
        }
        np.lib.format.write_array_header_2_0(file, header)
        for start in range(0, tensor.size(0), rows):
            chunk = _as_numpy(tensor[start : start + rows])
            file.write(chunk.data)
            written(chunk.nbytes)


def _as_numpy(tensor: Tensor) -> Any:
    """Return the values as an array; bfloat16, which NumPy lacks, as its 16 bits."""
    tensor = tensor.cpu().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _write_meta(path: Path, meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    described = dict(meta) | {
        "version": VERSION,
        "arrays": {
            name: {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
            for name, tensor in tensors.items()
        },
    }
    with _new_file(path / META) as partial:
        partial.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
