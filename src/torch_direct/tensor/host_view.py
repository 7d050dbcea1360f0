"""A tensor over host memory as a device sees it: its state, and nothing of its operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from torch_direct.errors import ReadOnlyError
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.memory.owner import Owner

CPU = torch.device("cpu")

native: Any = torch.Tensor.__torch_dispatch__
"""Runs an operator's own kernel: to it, a unified tensor is the tensor that it derives from."""


class HostView(torch.Tensor):
    """A `torch.Tensor` over host memory that remembers whose memory it is.

    The tensor *is* the device's view: ``data_ptr()`` is the host address, and every kernel takes
    it. Where a compiler traces with fake tensors there is no memory; then the state is the fake
    ``_plain`` alone.

    Plain tensors over the same memory are kept for as long as the layout is the same.
    """

    _owner: Owner | None
    _propagate: bool
    _read_only: bool
    _alias: Tensor | None
    _plain: Tensor | None

    @classmethod
    def over(
        cls,
        owner: Owner,
        device: torch.device,
        dtype: torch.dtype,
        shape: Sequence[int],
        stride: Sequence[int],
        offset: int,
        *,
        propagate: bool,
    ) -> Self:
        """A tensor over an owner's memory.

        Args:
            owner: whose memory it is.
            device: the device that looks at it, with its index; or the CPU.
            dtype: element type.
            shape: sizes.
            stride: strides, in elements.
            offset: elements from the first byte of the memory.
            propagate: whether results of operators on it may leave unified memory.
        """
        plain = owner.tensor_on(device, dtype, shape, stride, offset)
        return cls.wrap(plain, owner, propagate=propagate)

    @classmethod
    def wrap(cls, plain: Tensor, owner: Owner, *, propagate: bool) -> Self:
        """Give the type to a plain tensor over an owner's memory."""
        view: Self = torch.Tensor._make_subclass(cls, plain)
        view._owner = owner
        view._propagate = propagate
        view._read_only = owner.read_only
        view._alias = plain
        view._plain = None
        return view

    def like(self, plain: Tensor) -> Self:
        """Give this tensor's type, owner and flags to another view of the same memory."""
        if self._owner is None:
            return self._traced(plain, self._propagate, plain.requires_grad, self._read_only)
        view = self.wrap(plain, self._owner, propagate=self._propagate)
        view._read_only = self._read_only
        return view

    def bits_of(self, other: Tensor) -> Self:
        """This tensor, read as conjugated or negated where another tensor is."""
        return self.with_bits(conj=other.is_conj(), neg=other.is_neg())

    def with_bits(self, *, conj: bool, neg: bool) -> Self:
        """This tensor, read as conjugated or negated."""
        return self.like(_with_bits(self.alias, conj=conj, neg=neg)) if conj or neg else self

    @property
    def owner(self) -> Owner:
        """Whose memory it is.

        Raises:
            RuntimeError: a compiler is tracing; there is no memory.
        """
        if self._owner is None:
            raise _without_memory()
        return self._owner

    @property
    def traced(self) -> bool:
        """Whether this is a compiler's stand-in, without memory."""
        return self._owner is None

    def require_writable(self, operation: object) -> None:
        """Refuse an operation that writes to read-only memory.

        Raises:
            ReadOnlyError: the memory is mapped read-only, or was declared so.
        """
        if self._read_only:
            raise ReadOnlyError(
                f"{operation} writes to a unified tensor of shape {tuple(self.shape)} that is "
                "read-only; expected memory that can be written. Load the file with "
                "td.load(path, writable=True), or write to a copy (u.clone())."
            )

    def require_leaf(self, operation: str) -> None:
        """Refuse an operation whose result could not carry on a gradient history.

        Raises:
            RuntimeError: this tensor was computed from one that requires a gradient.
        """
        if not self.is_leaf:
            raise RuntimeError(
                f"{operation} got a unified tensor of shape {tuple(self.shape)} with a gradient "
                "history, which the result could not carry on; expected a leaf. Pass u.detach()."
            )

    @property
    def alias(self) -> Tensor:
        """The plain tensor that this one derives from, over the same storage.

        It is what kernels are given in place of this tensor. It has no gradient history.
        """
        if self._alias is None:
            self._alias = native(torch.ops.aten.detach.default, (), (self,), {})
        return self._alias

    @property
    def plain(self) -> Tensor:
        """A plain tensor over the same memory, over a storage that nobody else has.

        It is what enters a compiled graph in place of this tensor.
        """
        if self._plain is None:
            device = torch.Tensor.device.__get__(self)
            self._plain = _with_bits_of(self.owner.separate_tensor_on(device, self), self)
        return self._plain

    def forget_layout(self) -> None:
        """Drop the plain tensors, which an operator such as ``t_`` leaves with an old layout."""
        self._alias = self._plain = None

    @property
    def host(self) -> Tensor:
        """The plain CPU tensor over the same bytes, not synchronised with the GPU.

        Before reading it, wait for the GPU's writes (``torch.cuda.synchronize()``); before the
        GPU reads what you write, nothing has to be done. A tensor from ``td.load`` is mapped
        read-only: writing to its host bytes ends the process with a segmentation fault.

        Raises:
            ForkedProcessError: the memory is private and this is a forked child.
            MovedMemoryError: an operation on the source tensor moved its memory.
            RuntimeError: a compiler is tracing; there is no memory.
        """
        # Dynamo looks attributes up for real, where not every torch says that it is compiling.
        if torch._guards.TracingContext.try_get() is not None:
            raise _without_memory()
        self.owner.check()
        host = self.owner.tensor_on(
            CPU, self.dtype, self.shape, self.stride(), int(self.storage_offset())
        )
        return _with_bits_of(host, self)

    def seen_from(self, device: torch.device) -> Self:
        """This tensor as another device sees it; the same memory, nothing is copied."""
        if torch.Tensor.device.__get__(self) == device:
            return self
        self.owner.check()
        if device.type == "cuda":
            HOST_MEMORY.register(self.owner)
            self.owner.lease.streams.add(torch.cuda.current_stream(device))
        plain = self.owner.tensor_on(
            device, self.dtype, self.shape, self.stride(), int(self.storage_offset())
        )
        return self.like(_with_bits_of(plain, self))

    def __tensor_flatten__(self) -> tuple[list[str], tuple[bool, bool, bool]]:
        return ["plain"], (self._propagate, self.requires_grad, self._read_only)

    @classmethod
    def __tensor_unflatten__(
        cls,
        inner: dict[str, Tensor],
        context: tuple[bool, bool, bool],
        outer_size: Any,
        outer_stride: Any,
    ) -> Self:
        del outer_size, outer_stride
        propagate, requires_grad, read_only = context
        plain = inner["plain"]
        owner = HOST_MEMORY.owner_at(plain.data_ptr()) if has_memory(plain) else None
        if owner is None:
            return cls._traced(plain, propagate, requires_grad, read_only)
        view = cls.wrap(plain, owner, propagate=propagate)
        view._read_only = read_only
        view.requires_grad_(requires_grad)
        return view

    @classmethod
    def _traced(cls, plain: Tensor, propagate: bool, requires_grad: bool, read_only: bool) -> Self:
        view: Self = torch.Tensor._make_wrapper_subclass(
            cls,
            plain.shape,
            strides=plain.stride(),
            storage_offset=plain.storage_offset(),
            dtype=plain.dtype,
            device=plain.device,
            requires_grad=requires_grad,
        )
        view._owner = None
        view._propagate = propagate
        view._read_only = read_only
        view._alias = view._plain = plain
        return view


def _without_memory() -> RuntimeError:
    return RuntimeError(
        "this unified tensor is being traced by a compiler and has no memory; expected one "
        "outside the compiled function. Read its memory outside of it."
    )


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor is real, not a compiler's stand-in."""
    return type(tensor) is Tensor and not torch._is_functional_tensor(tensor)


def _with_bits_of(tensor: Tensor, other: Tensor) -> Tensor:
    """The tensor, read as lazily conjugated or negated where another is."""
    return _with_bits(tensor, conj=other.is_conj(), neg=other.is_neg())


def _with_bits(tensor: Tensor, *, conj: bool, neg: bool) -> Tensor:
    if conj:
        tensor = torch._conj(tensor)
    return torch._neg_view(tensor) if neg else tensor
