""".npy files as memory: what their headers say, and that they stay the same file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from torch_direct.errors import FileFormatError
from torch_direct.memory import files
from torch_direct.memory.owner import FileSource, Owner

CPU = torch.device("cpu")
DTYPES = ("u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", "?")


def elements(owner: Owner, header: files.NpyHeader) -> torch.Tensor:
    return owner.tensor_on(CPU, header.dtype, header.shape, header.stride, 0)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    npst.arrays(st.sampled_from(DTYPES), npst.array_shapes(min_dims=0, max_dims=4, min_side=0)),
    st.booleans(),
)
def test_a_mapped_file_is_the_array(tmp_path: Path, array: np.ndarray, fortran: bool) -> None:
    path = tmp_path / "x.npy"
    saved = np.asfortranarray(array) if fortran else array
    np.save(path, saved)
    header = files.read_header(path, None)
    assert (header.shape, header.nbytes) == (saved.shape, saved.nbytes)
    mapped = elements(files.map_file(path, header, writable=False), header)
    np.testing.assert_array_equal(mapped.numpy(), saved)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("signed", [False, True])
def test_types_that_numpy_lacks_are_carried_by_integers(
    tmp_path: Path, dtype: torch.dtype, signed: bool
) -> None:
    path = tmp_path / "x.npy"
    values = torch.tensor([1.0, -2.0, 0.5]).to(dtype)
    carrier = f"{'i' if signed else 'u'}{dtype.itemsize}"
    np.save(path, values.view(torch.uint8).numpy().view(carrier))
    header = files.read_header(path, dtype)
    mapped = elements(files.map_file(path, header, writable=False), header)
    assert mapped.dtype == dtype
    assert torch.equal(mapped.float(), values.float())


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_header(tmp_path / "x.npy", None)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUM", b"PK\x03\x04 a zip", b"\x93NUMPY\x01\x00\x10"]
)
def test_what_is_no_npy_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"{path}.*numpy\.save"):
        files.read_header(path, None)


@pytest.mark.parametrize("missing", [1, 4, 4000])
def test_a_truncated_file(tmp_path: Path, missing: int) -> None:
    path = save(tmp_path / "x.npy", np.zeros((10, 100), dtype=np.float32))
    size = path.stat().st_size
    os.truncate(path, size - missing)
    with pytest.raises(FileFormatError, match=rf"{size - missing:,} bytes.*needs {size:,}"):
        files.read_header(path, None)


def test_another_type_than_expected(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.zeros(3, dtype=np.float64))
    with pytest.raises(FileFormatError, match=r"torch\.float64, expected torch\.float32"):
        files.read_header(path, torch.float32)


def test_records_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.zeros(3, dtype=[("a", "f4")]))
    with pytest.raises(FileFormatError, match=r"records of .*expected plain numbers"):
        files.read_header(path, None)


@pytest.mark.parametrize("dtype", [">f4", "U3", "V2"])
def test_types_that_pytorch_lacks(tmp_path: Path, dtype: object) -> None:
    path = save(tmp_path / "x.npy", np.zeros(3, dtype=dtype))  # type: ignore[call-overload]
    with pytest.raises(FileFormatError, match=r"no type of PyTorch's.*astype"):
        files.read_header(path, None)


def test_writes_go_to_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.zeros(3, dtype=np.float32))
    header = files.read_header(path, None)
    owner = files._map(path, header.offset, header.nbytes, writable=True)
    elements(owner, header)[1] = 5
    assert np.load(path).tolist() == [0, 5, 0]


def source_of(path: Path) -> tuple[FileSource, files.NpyHeader]:
    header = files.read_header(path, None)
    owner = files.map_file(path, header, writable=False)
    assert owner.source is not None
    assert owner.read_only
    assert owner.shared
    return owner.source, header


def test_a_file_is_opened_again_by_its_source(tmp_path: Path) -> None:
    source, header = source_of(save(tmp_path / "x.npy", np.arange(5)))
    again = files.reopen(source, header.nbytes, writable=False)
    assert elements(again, header).tolist() == [0, 1, 2, 3, 4]


def test_another_file_under_the_same_name_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.arange(5))
    source, header = source_of(path)
    kept = path.rename(tmp_path / "old.npy")  # so that its inode number is not used again
    save(path, np.arange(5))
    with pytest.raises(FileFormatError, match=rf"{path} is not the file.*Load it again"):
        files.reopen(source, header.nbytes, writable=False)
    assert kept.exists()
