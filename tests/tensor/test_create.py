"""How unified tensors are made, what they share, and what is refused."""

from __future__ import annotations

import gc
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torch_direct as td
from torch_direct.errors import (
    FileFormatError,
    HostMemoryError,
    MovedMemoryError,
    ReadOnlyError,
    UnifiedMemoryError,
)
from torch_direct.tensor import create

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.complex64,
    torch.complex128,
]


def in_use(kind: str) -> tuple[int, int]:
    gc.collect()
    figures = td.memory_stats()
    return figures[f"{kind}.bytes"], figures[f"{kind}.count"]


def assert_same_tensor(u: td.UnifiedTensor, x: torch.Tensor) -> None:
    assert type(u) is td.UnifiedTensor
    assert (u.dtype, u.shape, u.stride()) == (x.dtype, x.shape, x.stride())
    assert u.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    host = u.host
    assert type(host) is torch.Tensor
    assert host.device.type == "cpu"
    if x.numel():
        assert u.data_ptr() == host.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unified_is_the_same_memory_in_every_dtype(dtype: torch.dtype) -> None:
    x = torch.arange(12).remainder(2).view(3, 4).to(dtype)
    u = td.unified(x)
    assert_same_tensor(u, x)
    assert torch.equal(u.cpu().view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x[2:],
        lambda x: x[:, 1::2],
        lambda x: x.t(),
        lambda x: x[3],
        lambda x: x[3, 4],
        lambda x: x[:0],
        lambda x: x[:1].expand(7, 6),
        lambda x: x.as_strided((3, 3), (2, 1), 1),
        lambda x: x.view(2, 3, 6).permute(2, 0, 1),
    ],
    ids=[
        "whole",
        "rows",
        "columns",
        "t",
        "row",
        "number",
        "none",
        "expanded",
        "overlap",
        "permuted",
    ],
)
def test_unified_keeps_shape_strides_and_offset(view: Any) -> None:
    x = view(torch.arange(36.0).view(6, 6))
    u = td.unified(x)
    assert_same_tensor(u, x)
    assert torch.equal(u.cpu(), x)


def test_writes_are_seen_by_both_sides() -> None:
    x = torch.zeros(4, 3)
    u = td.unified(x)
    x[1, 2] = 5
    assert u.cpu()[1, 2] == 5
    u[2] = 7
    td.check()
    if u.is_cuda:
        torch.cuda.synchronize()
    assert x[2].tolist() == [7, 7, 7]
    u.host[3] = 9
    assert u[3].tolist() == [9, 9, 9]


def test_the_same_memory_asked_for_twice_has_one_owner() -> None:
    x = torch.arange(24.0).view(6, 4)
    u = td.unified(x)
    again, rows, other_type = td.unified(x), td.unified(x[2:4]), td.unified(x.view(torch.int32))
    assert again.owner is rows.owner is other_type.owner is u.owner
    assert u[1:3].owner is u.owner
    rows.zero_()
    assert u.cpu()[2:4].sum() == 0


def test_unified_of_a_unified_tensor_is_a_view() -> None:
    u = td.unified(torch.arange(4.0))
    v = td.unified(u, propagate=False)
    assert v.owner is u.owner
    assert (u.propagate, v.propagate, v[1:].propagate) == (True, False, False)


def test_overlapping_numpy_slices() -> None:
    array = np.arange(5000, dtype=np.int64)
    low, high = td.from_numpy(array[:3000]), td.from_numpy(array[2000:])
    array[2500] = -1
    assert low.cpu()[2500] == high.cpu()[500] == -1
    del low
    gc.collect()
    td.memory_stats()
    assert high[500].item() == -1


def test_a_part_of_registered_memory_is_found_at_its_place() -> None:
    array = np.arange(10, dtype=np.float32)
    whole, part = td.from_numpy(array), td.from_numpy(array[3:])
    assert part.owner is whole.owner
    assert part.tolist() == array[3:].tolist()


def test_a_plain_view_keeps_the_memory_after_its_unified_tensor_is_gone() -> None:
    host = td.unified(torch.arange(1000.0)).host
    gc.collect()
    td.memory_stats()
    assert host.sum() == 499500


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("registered", lambda: td.unified(torch.zeros(1000))),
        ("allocated", lambda: td.empty(1000)),
        ("shared", lambda: td.empty(1000, shared=True)),
    ],
    ids=["registered", "allocated", "shared"],
)
def test_freed_memory_is_given_back(kind: str, make: Any) -> None:
    before = in_use(kind)
    u = make()
    rows = [u[i:] for i in range(3)]
    assert in_use(kind) == (before[0] + 4000, before[1] + 1)
    del u
    assert in_use(kind)[1] == before[1] + 1
    del rows
    assert in_use(kind) == before


@pytest.mark.parametrize("requires_grad", [False, True])
def test_requires_grad_is_kept(requires_grad: bool) -> None:
    assert td.unified(torch.ones(3, requires_grad=requires_grad)).requires_grad is requires_grad


def test_a_parameter_can_be_given() -> None:
    u = td.unified(torch.nn.Parameter(torch.ones(3)))
    assert type(u) is td.UnifiedTensor
    assert u.requires_grad


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta:UserWarning")
@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize.*")
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.eye(3).to_sparse_csr(), "sparse"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (lambda: torch.empty(3, device="meta"), "meta"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested|layout"),
        (lambda: torch.ones(3).as_subclass(type("Mine", (torch.Tensor,), {})), "Mine"),
        (lambda: "x", "str"),
        (lambda: None, "NoneType"),
        (lambda: [1, 2], "list"),
        (lambda: np.ones(3), "ndarray"),
    ],
    ids=["coo", "csr", "quantised", "meta", "nested", "subclass", "str", "None", "list", "array"],
)
def test_what_has_no_host_bytes_is_refused(make: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        td.unified(make())


@pytest.mark.gpu
def test_a_cuda_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="cuda:0"):
        td.unified(torch.ones(3, device="cuda"))


def test_a_gradient_history_is_refused() -> None:
    with pytest.raises(ValueError, match="detach"):
        td.unified(torch.ones(3, requires_grad=True) * 2)


def test_a_gradient_history_of_a_unified_tensor_is_refused() -> None:
    w = torch.nn.Parameter(td.unified(torch.ones(3, 2)))
    with pytest.raises(ValueError, match="detach"):
        td.unified(w[1:])
    for name, cut in (
        ("with_propagate", lambda: w[1:].with_propagate(False)),
        ("as_read_only", w[1:].as_read_only),
    ):
        with pytest.raises(RuntimeError, match=rf"{name} .*\(2, 2\) with a gradient.*detach"):
            cut()


@pytest.mark.parametrize(
    "view", [td.unified, lambda w: w.with_propagate(False), lambda w: w.as_read_only()]
)
def test_a_view_of_a_leaf_is_a_leaf_with_a_gradient_of_its_own(view: Any) -> None:
    w = torch.nn.Parameter(td.unified(torch.ones(3)))
    seen = view(w)
    assert seen.is_leaf
    seen.sum().backward()
    assert w.grad is None
    assert seen.grad.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.complex64], ids=str)
def test_elements_across_addresses_that_a_gpu_reads_are_refused(dtype: torch.dtype) -> None:
    raw = torch.zeros(100, dtype=torch.uint8).numpy()
    for skipped in (1, dtype.itemsize // 2, dtype.itemsize):
        array = np.frombuffer(raw.data, offset=skipped, count=3, dtype=str(dtype)[6:])
        if skipped == dtype.itemsize:
            assert td.from_numpy(array).tolist() == [0, 0, 0]
            continue
        with pytest.raises(ValueError, match=f"{dtype} at address .* multiple of {dtype.itemsize}"):
            td.from_numpy(array)


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_another_default_device(device: str) -> None:
    x, array = torch.arange(6.0).view(3, 2), np.arange(3.0)
    index = torch.tensor([2, 0])
    with torch.device(device):
        u = td.unified(x)
        assert td.from_numpy(array).tolist() == [0, 1, 2]
        assert td.full((2,), 3).dtype == torch.int64
        for rows in (u[[2, 0]], u[range(2, -1, -2)], u[np.array([2, 0])], td.gather(u, index)):
            assert rows.tolist() == [[4, 5], [0, 1]]
        with pytest.raises(IndexError, match="row index 9 "):
            u[[9]]
        u[[1]] = 7.0
    assert u.cpu()[1].tolist() == [7, 7]


@pytest.mark.parametrize("device", ["meta", "cuda:99"])
def test_a_device_that_cannot_read_it_is_refused(device: str) -> None:
    with pytest.raises((ValueError, UnifiedMemoryError), match=device):
        td.unified(torch.ones(3), device=device)


def test_a_refusal_leaves_nothing_behind() -> None:
    before = td.memory_stats()["in_use.bytes"]
    for bad in (torch.ones(3, requires_grad=True) * 2, torch.empty(3, device="meta")):
        with pytest.raises((TypeError, ValueError)):
            td.unified(bad)
    assert td.memory_stats()["in_use.bytes"] == before


def test_the_source_cannot_be_resized() -> None:
    x = torch.zeros(4)
    u = td.unified(x)
    with pytest.raises(RuntimeError, match="resizable"):
        x.resize_(1 << 20)
    assert u.tolist() == [0, 0, 0, 0]


def test_a_source_moved_into_shared_memory_is_noticed() -> None:
    x = torch.arange(4.0)
    u = td.unified(x)
    x.share_memory_()
    for use in (lambda: u + 1, lambda: u[[0]], lambda: u.host, lambda: u.numpy(), lambda: repr(u)):
        with pytest.raises(MovedMemoryError, match="shared=True"):
            use()
    assert td.unified(x).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", [(), (0,), (3,), (2, 0, 4), (5, 7), (3 << 20,)])
def test_empty_zeros_and_full(size: tuple[int, ...], shared: bool) -> None:
    for u in (
        td.empty(size, dtype=torch.int32, shared=shared),
        td.zeros(*size, dtype=torch.int32, shared=shared),
        td.full(size, 3, dtype=torch.int32, shared=shared),
    ):
        assert (u.shape, u.dtype, u.is_contiguous()) == (size, torch.int32, True)
        assert u.is_shared() is shared
    assert not u.numel() or set(u.cpu().unique().tolist()) == {3}
    assert not td.zeros(size, shared=shared).cpu().any()


def test_zeros_out_of_memory_that_was_used_before() -> None:
    u = td.full((1 << 20,), 5.0)
    del u
    gc.collect()
    assert not td.zeros(1 << 20).cpu().any()


def test_dtypes_are_those_of_torch() -> None:
    for value in (3, 3.0, 3j, True):
        assert td.full((2,), value).dtype == torch.full((2,), value).dtype
    assert td.empty(2).dtype == td.zeros(2).dtype == torch.get_default_dtype()


def test_empty_like() -> None:
    like = td.empty_like(torch.empty(3, 5, dtype=torch.int16).t())
    assert (like.shape, like.dtype, like.stride()) == ((5, 3), torch.int16, (3, 1))
    assert td.empty_like(like, dtype=torch.float64).dtype == torch.float64
    assert td.empty_like(like).owner is not like.owner
    assert td.empty_like(like, shared=True).is_shared()


@pytest.mark.parametrize("size", [(-1,), (3, -2), (0, -3)])
def test_negative_sizes(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"negative"):
        td.empty(size)


@pytest.mark.parametrize("size", [2.7, "3", None])
def test_sizes_that_are_no_integers(size: Any) -> None:
    with pytest.raises(TypeError):
        td.empty(size)


@pytest.mark.parametrize("size", [(2**50,), (2**62, 2**62)])
def test_absurd_sizes(size: tuple[int, ...]) -> None:
    before = td.memory_stats()["in_use.bytes"]
    with pytest.raises(HostMemoryError, match=r"[\d,]+\.\d\d GiB .* free host memory is [\d,.]+ "):
        td.empty(size)
    assert td.memory_stats()["in_use.bytes"] == before


@pytest.mark.parametrize("order", ["C", "F"])
def test_from_numpy(order: Any) -> None:
    array = np.asarray(np.arange(12).reshape(3, 4), order=order)
    u = td.from_numpy(array)
    array[1, 2] = 99
    assert u.cpu()[1, 2] == 99
    assert u.stride() == torch.from_numpy(array).stride()


def test_from_numpy_refuses_writes_to_a_read_only_array() -> None:
    array = np.frombuffer(b"\1\2\3\4", dtype=np.uint8)
    u = td.from_numpy(array)
    assert u.tolist() == [1, 2, 3, 4]
    with pytest.raises(ReadOnlyError):
        u.zero_()
    assert array.tolist() == [1, 2, 3, 4]


def test_from_numpy_refuses_writes_to_a_read_only_mapping(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(5.0))
    u = td.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="r"))
    with pytest.raises(ReadOnlyError):
        u.zero_()
    assert u.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("array", [np.arange(3, dtype=">i4"), np.arange(3)[::-1]])
def test_from_numpy_refuses_what_torch_has_no_type_or_strides_for(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"byte order|negative"):
        td.from_numpy(array)


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)),
        np.float32(3),
        np.empty((0, 4), dtype=np.int64),
        np.arange(4) > 1,
        np.arange(3) * 1j,
        np.arange(5000, dtype=np.uint8),
        np.arange(3, dtype=np.uint16),
    ],
    ids=["C", "Fortran", "scalar", "empty", "bool", "complex", "pages", "uint16"],
)
def test_load(tmp_path: Path, array: np.ndarray, writable: bool) -> None:
    path = tmp_path / "x.npy"
    np.save(path, array)
    if writable and torch.cuda.is_available():
        pytest.skip("the GPU takes writable mappings of files on tmpfs only")
    u = td.load(path, writable=writable)
    assert type(u) is td.UnifiedTensor
    assert u.dtype == torch.from_numpy(np.asarray(array)).dtype
    np.testing.assert_array_equal(u.numpy(), array)
    if array.ndim > 1 and array.size:
        assert u.stride() == torch.from_numpy(array).stride()


def test_load_reads_a_path_in_text(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    assert td.load(str(tmp_path / "x.npy")).tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("kind", ["V", "u", "i"])
def test_load_takes_bits_for_types_that_numpy_lacks(
    tmp_path: Path, dtype: torch.dtype, kind: str
) -> None:
    x = torch.tensor([0.5, -2.0, 3.0]).to(dtype)
    bits = x.view(torch.int16 if dtype.itemsize == 2 else torch.uint8).numpy()
    np.save(tmp_path / "x.npy", bits.view(f"{kind}{dtype.itemsize}"))
    u = td.load(tmp_path / "x.npy", dtype=dtype)
    assert u.dtype == dtype
    assert u.float().tolist() == [0.5, -2.0, 3.0]


def test_load_refuses_another_dtype(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3.0))
    with pytest.raises(FileFormatError, match=r"float64.*expected torch\.float32"):
        td.load(tmp_path / "x.npy", dtype=torch.float32)


@pytest.mark.parametrize("kept", [0, 5, 9, 60, 128, 135])
def test_load_refuses_a_truncated_file(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(3.0))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileFormatError, match=r"x\.npy"):
        td.load(path)


def npy_bytes(header: str, alignment: int = 64) -> bytes:
    padding = -(10 + len(header) + 1) % alignment
    text = header.encode() + b" " * padding + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(64)


def described(shape: str, descr: str = "'<f4'", alignment: int = 64) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
    return npy_bytes(header, alignment)


MALFORMED = {
    "no magic": b"not an array at all",
    "future version": b"\x93NUMPY\7\0" + bytes(64),
    "unbalanced header": npy_bytes("hello ((("),
    "empty header": npy_bytes("{}"),
    "negative size": described("(-5,)"),
    "two negative sizes": described("(-5, -2)"),
    "size that overflows": described("(4611686018427387904, 4)"),
    "size beyond 64 bits": described("(18446744073709551616,)"),
    "size beyond 64 bits of nothing": described("(9223372036854775808, 0)"),
    "stride beyond 64 bits": described("(0, 4611686018427387904, 4611686018427387904)"),
    "bool size": described("(True,)"),
    "float size": described("(2.0,)"),
    "unknown type": described("(2,)", "'zz'"),
    "text": described("(2,)", "'<U4'"),
    "objects": described("(2,)", "'|O'"),
    "records": described("(2,)", "[('a', '<f4')]"),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_load_refuses_what_is_no_array_of_numbers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.npy"):
        td.load(tmp_path / "x.npy")


def test_load_refuses_elements_across_addresses_that_a_gpu_reads(tmp_path: Path) -> None:
    content = described("(2,)", "'<f8'", alignment=1)
    (tmp_path / "x.npy").write_bytes(content)
    offset = len(content) - 64
    assert offset % 8 != 0
    with pytest.raises(FileFormatError, match=rf"from byte {offset} on.*multiple of 8"):
        td.load(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(described("(2,)", "'|u1'", alignment=1))
    assert td.load(tmp_path / "x.npy").tolist() == [0, 0]


@pytest.mark.parametrize(
    "array", [np.arange(3, dtype=">i4"), np.array([{}, []], dtype=object), np.array(["a", "b"])]
)
def test_load_refuses_types_that_torch_lacks(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(FileFormatError, match="native byte order"):
        td.load(tmp_path / "x.npy")


def test_load_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        td.load(tmp_path / "none.npy")


def test_load_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"is a folder; expected a \.npy file.*Graph\.load"):
        td.load(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", 0, torch.device("cuda", 1)])
def test_a_gpu_that_there_is_not(device: str | int | torch.device) -> None:
    with pytest.raises(UnifiedMemoryError, match=r"device .* was asked for and CUDA cannot be"):
        td.unified(torch.ones(3), device=device)


WRITES = {
    "item": lambda u: u.__setitem__(0, 1.0),
    "rows": lambda u: u.__setitem__(torch.tensor([0]), 1.0),
    "mask": lambda u: u.__setitem__(u > 0, 1.0),
    "add_": lambda u: u.add_(1),
    "copy_": lambda u: u.copy_(torch.ones(6)),
    "view": lambda u: u.view(2, 3)[1:].zero_(),
    "bits": lambda u: u.view(torch.int32).zero_(),
    "rows of a loop": lambda u: [row.zero_() for row in u],
    "split": lambda u: u.split(2)[0].zero_(),
    "out": lambda u: torch.add(u, 1, out=u),
    "gather out": lambda u: td.gather(torch.ones(6, device=u.device), torch.arange(6), out=u),
    "index_add_": lambda u: u.index_add_(0, torch.tensor([0]), torch.ones(1)),
    "foreach": lambda u: torch._foreach_add_([u], 1),
    "init": lambda u: torch.nn.init.zeros_(u),
    "parameter": lambda u: torch.nn.Parameter(u).data.zero_(),
    "detach": lambda u: u.detach().zero_(),
    "again": lambda u: td.unified(u.host).zero_(),
    "with_propagate": lambda u: u.with_propagate(False).zero_(),
    "random_": lambda u: u.random_(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_to_a_file_that_is_mapped_read_only_are_refused(tmp_path: Path, write: Any) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32))
    u = td.load(tmp_path / "x.npy")
    with pytest.raises(ReadOnlyError, match="writable=True"):
        write(u)
    assert u.tolist() == [0, 1, 2, 3, 4, 5]


def test_arrays_of_a_read_only_file_are_read_only(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6.0))
    u = td.load(tmp_path / "x.npy")
    for array in (u.numpy(), np.asarray(u), u[2:].numpy()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_writes_to_a_writable_file_reach_it() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "x.npy"
        np.save(path, np.arange(6.0))
        u = td.load(path, writable=True)
        u[2:4] = 9.0
        u.numpy()[5] = -1
        del u
        gc.collect()
        assert np.load(path).tolist() == [0, 1, 9, 9, 4, -1]


def test_two_loads_of_a_file_see_the_same_bytes() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        np.save(Path(folder) / "x.npy", np.zeros(3))
        writer, reader = (td.load(Path(folder) / "x.npy", writable=w) for w in (True, False))
        writer[1] = 4
        assert reader.tolist() == writer.tolist() == [0, 4, 0]


def test_is_unified() -> None:
    u = td.unified(torch.ones(2))
    assert td.is_unified(u)
    assert u.is_unified
    assert td.is_unified(u[1:])
    for other in (torch.ones(2), u.host, u.cpu(), u + 1, None, "u"):
        assert not td.is_unified(other)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_that_there_is_no_cuda_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    create._say_that_there_is_no_cuda.cache_clear()
    for _ in range(3):
        td.unified(torch.zeros(2))
        td.empty(2)
    assert [record.name for record in caplog.records] == ["torch_direct"]
    assert "CPU" in caplog.text
    assert "torch-direct doctor" in caplog.text


@pytest.mark.parametrize("dtype", ["float16", np.float16, 16])
def test_a_dtype_that_is_none_of_pytorchs_is_refused(tmp_path: Path, dtype: Any) -> None:
    np.save(tmp_path / "x.npy", np.ones(2))
    for make in (
        lambda: td.empty(2, dtype=dtype),
        lambda: td.full((2,), 1, dtype=dtype),
        lambda: td.empty_like(torch.ones(2), dtype=dtype),
        lambda: td.load(tmp_path / "x.npy", dtype=dtype),
    ):
        with pytest.raises(TypeError, match=r"dtype is .*16.*; expected .* torch\.float16"):
            make()
