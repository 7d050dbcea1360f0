"""The type that users hold: a CUDA tensor whose bytes live in host memory."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from typing_extensions import Self

from torch_direct.errors import UnifiedMemoryError
from torch_direct.memory import process
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.tensor.direct import direct_source
from torch_direct.tensor.dispatch import dispatch
from torch_direct.tensor.host_view import CPU, HostView
from torch_direct.tensor.operators import gather

_DATA: Any = torch.Tensor.data
_STATE = ("_owner", "_propagate", "_read_only", "_alias", "_plain")
"""What a unified tensor knows beside its values; a copy has its own."""


class UnifiedTensor(HostView):
    """A CUDA tensor whose bytes live in host memory; every CUDA operator takes it.

    Made by `torch_direct.unified` and its companions, never by calling the class. Its ``device``
    is the GPU that reads it (``cuda:N``), so ``u.to("cuda")`` returns ``u`` itself and moving a
    model or a PyG ``Data`` to the GPU leaves it where it is. Where an operator on it computes and
    where the result lives is said by `torch_direct.placement.RULES`.

    Without CUDA it is a view of the CPU memory itself, and the same program runs.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        return dispatch(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The device that reads it; the CPU in a forked child, which cannot use CUDA."""
        return CPU if process.cuda_lost else torch.Tensor.device.__get__(self)

    @property
    def is_unified(self) -> bool:
        """True."""
        return True

    @property
    def propagate(self) -> bool:
        """Whether results of operators on it live in GPU memory (the default).

        False keeps results in unified memory, for those that would not fit in GPU memory; it
        holds for all results of operators with at least one such operand.
        """
        return self._propagate

    @propagate.setter
    def propagate(self, value: bool) -> None:
        self._propagate = value

    def with_propagate(self, value: bool) -> UnifiedTensor:
        """A view of the same memory with another `propagate`.

        Where this tensor requires a gradient, so does the view, which has a gradient of its own.

        Raises:
            RuntimeError: this tensor has a gradient history, which a view made here would cut.
        """
        self.require_leaf("with_propagate")
        view = UnifiedTensor.wrap(self.alias, self.owner, propagate=value)
        view._read_only = self._read_only
        view.requires_grad_(self.requires_grad)
        return view

    def as_read_only(self) -> UnifiedTensor:
        """A view of the same memory to which every write is refused.

        Where this tensor requires a gradient, so does the view, which has a gradient of its own.

        Raises:
            RuntimeError: this tensor has a gradient history, which a view made here would cut.
        """
        self.require_leaf("as_read_only")
        view = self.with_propagate(self._propagate)
        view._read_only = True
        return view

    @property
    def data(self) -> Tensor:
        """The same tensor without its gradient history."""
        detached: Tensor = _DATA.__get__(self)
        return detached

    @data.setter
    def data(self, value: Tensor) -> None:
        """Take over other values, as ``module.double()`` does: they move to unified memory."""
        replacement = value if isinstance(value, UnifiedTensor) else self._unified_copy_of(value)
        _DATA.__set__(self, replacement)
        self._owner = replacement._owner
        self._read_only = replacement._read_only
        self.forget_layout()

    def __getitem__(self, index: Any) -> Any:
        if process.cuda_lost:
            return self.host[index]
        source = direct_source(self, index)
        if source is not None:
            return gather(source, index, over_link=True)
        return torch.Tensor.__getitem__(self, _index_of_lists(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        if process.cuda_lost:
            self.require_writable("u[index] = value")
            self.host[index] = value
            return
        torch.Tensor.__setitem__(self, _index_of_lists(index), value)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        del tensor_contents
        if self.traced:
            return f"UnifiedTensor(traced, size={tuple(self.shape)}, dtype={self.dtype})"
        host = repr(self._synchronized_host())
        body = host.removeprefix("tensor(").removesuffix(")").replace("\n", "\n       ")
        suffix = ", requires_grad=True" if self.requires_grad else ""
        return f"UnifiedTensor({body}, device='{self.device}'{suffix})"

    def __copy__(self) -> Self:
        self.require_leaf("copy.copy")
        copy = self.like(self.alias)
        copy.requires_grad_(self.requires_grad)
        copy.__dict__.update(self._attributes())
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if id(self) in memo:
            known: Self = memo[id(self)]
            return known
        self.require_leaf("copy.deepcopy")
        copy = self._copy(memo)
        memo[id(self)] = copy
        if self.grad is not None:
            copy.grad = deepcopy(self.grad, memo)
        copy.__dict__.update(deepcopy(self._attributes(), memo))
        return copy

    def _attributes(self) -> dict[str, Any]:
        """What others, `torch.nn.Parameter` among them, have noted on this tensor."""
        return {name: value for name, value in self.__dict__.items() if name not in _STATE}

    def _copy(self, memo: dict[int, Any]) -> Self:
        """A copy in new unified memory; views of one memory are copied into one memory."""
        source = self.owner
        self._synchronized_host()
        if id(source) not in memo:
            target = HOST_MEMORY.allocate(source.nbytes, device=self.device, shared=source.shared)
            run = ((source.nbytes,), (1,), 0)
            target.tensor_on(CPU, torch.uint8, *run).copy_(source.tensor_on(CPU, torch.uint8, *run))
            memo[id(source)] = target
        layout = (self.dtype, self.shape, self.stride(), int(self.storage_offset()))
        copy = (
            type(self)
            .over(memo[id(source)], self.device, *layout, propagate=self._propagate)
            .bits_of(self)
        )
        copy.requires_grad_(self.requires_grad)
        return copy

    def _unified_copy_of(self, value: Tensor) -> UnifiedTensor:
        dense = value.detach().contiguous()
        owner = HOST_MEMORY.allocate(dense.nbytes, device=dense.device, shared=self.owner.shared)
        layout = (dense.dtype, dense.shape, dense.stride(), 0)
        copy = UnifiedTensor.over(owner, dense.device, *layout, propagate=self._propagate)
        copy.host.copy_(dense)
        return copy

    def numpy(self, *, force: bool = False) -> Any:
        """The same memory as a NumPy array, after the GPU's writes on the current stream.

        Returns:
            `numpy.ndarray`, read-only where the memory is.
        """
        if self.requires_grad and torch.is_grad_enabled() and not force:
            raise RuntimeError(
                f"a unified tensor of shape {tuple(self.shape)} requires a gradient, which an "
                "array could not carry on; expected one that does not. Use u.detach().numpy(), or "
                "numpy(force=True)."
            )
        array = self._synchronized_host().numpy(force=force)
        if self._read_only:
            array.flags.writeable = False
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if copy:
            return array.astype(array.dtype if dtype is None else dtype)
        if dtype is None or array.dtype == dtype:
            return array
        if copy is False:
            raise ValueError(
                f"a unified tensor of {self.dtype} cannot be seen as an array of {dtype} without "
                "a copy; expected the same type. Ask for a copy, or for no type."
            )
        return array.astype(dtype)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    def tolist(self) -> Any:
        """The values as (nested) Python lists, after the GPU's writes on the current stream."""
        return self._synchronized_host().tolist()

    def cpu(self, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
        """A copy in ordinary host memory. The same bytes without a copy are `host`."""
        if process.cuda_lost:
            return self.host.clone(memory_format=memory_format)
        if self.is_cuda:
            return self.to("cpu", memory_format=memory_format)
        return self.clone(memory_format=memory_format)

    def pin_memory(self, device: Any = None) -> Self:
        """Itself: the memory is page-locked already."""
        del device
        return self

    def is_pinned(self, device: Any = None) -> bool:
        """Whether the memory is page-locked: true wherever there is CUDA."""
        del device
        return self.is_cuda

    def share_memory_(self) -> Self:
        """Itself where the memory is shared already.

        Raises:
            UnifiedMemoryError: the memory is private; it cannot be moved into shared memory.
        """
        if self.is_shared():
            return self
        raise UnifiedMemoryError(
            f"a unified tensor of shape {tuple(self.shape)} lies in private memory, which cannot "
            "be moved into shared memory while the GPU reads it; expected one that was allocated "
            "shared. Use td.empty(..., shared=True), or td.load(path)."
        )

    def is_shared(self) -> bool:
        """Whether other processes can map the same memory."""
        return self.owner.shared

    def record_stream(self, stream: torch.Stream) -> None:
        """Keep the memory from being reused until a stream's work so far has passed.

        Args:
            stream: the stream, other than the current one, on which kernels read or write it.
        """
        if isinstance(stream, torch.cuda.Stream):
            self.owner.lease.streams.add(stream)

    def resize_(self, *sizes: Any, **kwargs: Any) -> Self:
        """Not possible, except to the size that it has: the GPU reads the memory where it is."""
        del kwargs
        if torch.Size(sizes[0] if isinstance(sizes[0], Sequence) else sizes) == self.shape:
            return self
        raise UnifiedMemoryError(
            f"resize_{sizes} on a unified tensor of shape {tuple(self.shape)}: the GPU reads its "
            "memory where it is, so it cannot be resized. Allocate a new one with td.empty(...)."
        )

    def _synchronized_host(self) -> Tensor:
        """The host tensor, once the current stream's writes are done."""
        if self.is_cuda and not process.cuda_lost:
            torch.cuda.current_stream(self.device).synchronize()
        return self.host.detach()


def _index_of_lists(index: Any) -> Any:
    """Lists and arrays of row numbers as CPU tensors, so that they are checked at the call."""
    if isinstance(index, tuple):
        return tuple(_index_of_lists(part) for part in index)
    if isinstance(index, range):
        return torch.arange(index.start, index.stop, index.step, device=CPU)
    if type(index).__module__ == "numpy" or (isinstance(index, list) and _is_numbers(index)):
        return torch.as_tensor(index, device=CPU)
    return index


def _is_numbers(index: list[Any]) -> bool:
    """Whether it is one flat or nested run of integers or bools, not slices or tensors."""
    return bool(index) and all(
        _is_numbers(item) if isinstance(item, list) else isinstance(item, int) for item in index
    )
