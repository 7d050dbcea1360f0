"""Tables, row numbers and layouts for the property tests, and bytes to compare them by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

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
    torch.complex32,
    torch.complex64,
    torch.complex128,
]

ADDABLE = [
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

LAYOUTS = ["dense", "padded", "shifted", "every other row", "transposed", "every other column"]


def words(tensor: Tensor) -> Tensor:
    """The bits of a tensor on the CPU: to compare what has no ``==``, NaNs included."""
    dense = tensor.cpu().contiguous()
    if dense.dtype == torch.complex128:
        return torch.view_as_real(dense).view(torch.int64)
    return dense.view(_WORDS[dense.element_size()])


def noise(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Any bit patterns, so that values which only survive as bits are among them."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    nbytes = math.prod(shape) * dtype.itemsize
    raw = torch.randint(0, 256, (nbytes,), generator=generator, dtype=torch.uint8)
    return raw.view(dtype).view(shape) if nbytes else torch.empty(shape, dtype=dtype)


def laid_out(values: Tensor, layout: str, device: torch.device) -> Tensor:
    """The same values with another memory layout."""
    num_rows, *inner = values.shape

    def empty(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=values.dtype, device=device)

    if layout == "padded":
        target = empty(num_rows, math.prod(inner) + 3)[:, : math.prod(inner)]
        target = target.unflatten(1, inner) if inner else target[:, 0]
    elif layout == "shifted":
        target = empty(values.numel() + 1)[1:].view(values.shape)
    elif layout == "every other row":
        target = empty(2 * num_rows, *inner)[::2]
    elif layout == "transposed" and len(inner) > 1:
        target = empty(num_rows, *reversed(inner)).permute(0, *range(len(inner), 0, -1))
    elif layout == "every other column" and inner:
        target = empty(num_rows, *inner[:-1], 2 * inner[-1])[..., ::2]
    else:
        target = empty(*values.shape)
    as_bytes(target).copy_(as_bytes(values))
    return target


def as_bytes(tensor: Tensor) -> Tensor:
    """The same memory under a type that can be copied on every device."""
    if tensor.dtype == torch.complex128:
        return torch.view_as_real(tensor)
    return tensor.view(_WORDS[tensor.element_size()])


@dataclass(frozen=True)
class Case:
    """One call: a table's shape, its layout and that of the rows, and the rows that are named."""

    dtype: torch.dtype
    num_rows: int
    inner: tuple[int, ...]
    layout: str
    dense_layout: str
    index: list[int]
    index_dtype: torch.dtype

    def table(self, device: torch.device) -> Tensor:
        return laid_out(self.values(), self.layout, device)

    def values(self, seed: int = 0) -> Tensor:
        return noise((self.num_rows, *self.inner), self.dtype, seed)

    def rows(self, device: torch.device) -> Tensor:
        return torch.tensor(self.index, dtype=self.index_dtype, device=device)

    def new_rows(self, device: torch.device, seed: int = 1) -> Tensor:
        rows = noise((len(self.index), *self.inner), self.dtype, seed)
        return laid_out(rows, self.dense_layout, device)

    @property
    def bad(self) -> list[int]:
        return [row for row in self.index if not -self.num_rows <= row < self.num_rows]


@st.composite
def cases(
    draw: Any,
    *,
    dtypes: list[torch.dtype] = DTYPES,
    out_of_range: bool = False,
    distinct: bool = False,
) -> Case:
    num_rows = draw(st.integers(0 if out_of_range else 1, 40))
    inner = tuple(draw(st.lists(st.integers(1, 5) | st.just(33), max_size=3)))
    slack = 3 if out_of_range else 0
    row = st.integers(-num_rows - slack, num_rows - 1 + slack)
    index = draw(
        st.lists(row, max_size=70, unique_by=(lambda i: i % num_rows) if distinct else None)
    )
    return Case(
        dtype=draw(st.sampled_from(dtypes)),
        num_rows=num_rows,
        inner=inner,
        layout=draw(st.sampled_from(LAYOUTS)),
        dense_layout=draw(st.sampled_from(LAYOUTS)),
        index=index,
        index_dtype=draw(st.sampled_from([torch.int32, torch.int64])),
    )


class NoHostReads(TorchDispatchMode):
    """Refuses the operators that need a value on the host, for which a GPU would be waited for."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise AssertionError(f"{func} reads a value on the host")
        return func(*args, **(kwargs or {}))


def untouched_zeros(*shape: int, device: torch.device) -> Tensor:
    """int8 zeros; on the CPU they take no memory until they are written."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, dtype=np.int8))
    return torch.zeros(shape, dtype=torch.int8, device=device)
