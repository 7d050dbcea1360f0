"""How an operator over unified tensors is run: `torch_direct.placement` decides, this does it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_map_only

from torch_direct.errors import PlacementError, UnifiedMemoryError
from torch_direct.memory import process
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.placement import (
    Compute,
    Facts,
    Result,
    Rule,
    Signature,
    Writes,
    rule_for,
    signature_of,
)
from torch_direct.tensor import faults
from torch_direct.tensor.host_view import CPU, HostView, native
from torch_direct.tensor.operators import require_gradient_fits
from torch_direct.tensor.rows import NATIVE, ROW_OPERATORS

aten = torch.ops.aten

_REFUSED = {
    "aten::resize_": "its memory cannot be resized",
    "aten::resize_as_": "its memory cannot be resized",
    "aten::set_": "it cannot be given other memory",
}


@dataclass
class Operands:
    """The tensors of a call, sorted by what the rules ask."""

    unified: list[HostView] = field(default_factory=list)
    """Unified tensors, in order."""
    cuda: list[Tensor] = field(default_factory=list)
    """Plain CUDA tensors, without indices."""
    cpu: list[Tensor] = field(default_factory=list)
    """Plain CPU tensors of one dimension or more, without indices."""
    indices: list[Tensor] = field(default_factory=list)
    """Plain index tensors."""
    written: list[Tensor] = field(default_factory=list)
    """What is written to."""


def dispatch(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator of which at least one operand is unified.

    Raises:
        PlacementError: unified, CUDA and CPU operands together, or no kernel for CUDA.
        ReadOnlyError: the operator writes to memory that is mapped read-only.
        UnifiedMemoryError: the operator would move the memory of a unified tensor.
    """
    signature = signature_of(func)
    operands = _sort_operands(signature, args, kwargs)
    if _keeps_its_size(func, args):
        return args[0]
    _refuse_impossible(func, operands)
    if any(tensor.traced for tensor in operands.unified):
        return _run_traced(func, args, kwargs)
    if process.cuda_lost:
        return _run_in_forked_child(func, args, kwargs)
    rule = _rule(signature, kwargs, operands)
    result = _RUNNERS[rule.compute](func, args, kwargs, operands, rule)
    if signature.restrides:
        _forget_layout(operands.written)
    return result


def _map_tensors(
    change: Callable[[Tensor], Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Change every tensor among the arguments of an operator, alone or in a list."""

    def visit(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, (list, tuple)):
            return [change(item) if isinstance(item, Tensor) else item for item in value]
        return value

    return tuple(visit(value) for value in args), {k: visit(v) for k, v in kwargs.items()}


def _tensors(value: Any) -> Sequence[Tensor]:
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, (list, tuple)):
        return [element for element in value if isinstance(element, Tensor)]
    return ()


def _sort_operands(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operands:
    operands = Operands()
    for name, value in (*zip(signature.names, args, strict=False), *kwargs.items()):
        for tensor in _tensors(value):
            if isinstance(tensor, HostView):
                operands.unified.append(tensor)
            elif name in signature.indices:
                operands.indices.append(tensor)
            elif tensor.is_cuda:
                operands.cuda.append(tensor)
            elif tensor.dim() > 0 and tensor.device.type == "cpu":
                operands.cpu.append(tensor)
            if name in signature.written:
                operands.written.append(tensor)
    return operands


def _rule(signature: Signature, kwargs: dict[str, Any], operands: Operands) -> Rule:
    unified, written = operands.unified, operands.written
    has_cuda = bool(operands.cuda)
    asked = kwargs.get("device")
    on_cuda = (
        has_cuda
        or any(tensor.is_cuda for tensor in (*unified, *operands.indices))
        or (asked is not None and torch.device(asked).type == "cuda")
    )
    writes = Writes.NOTHING
    if written:
        into_unified = all(isinstance(tensor, HostView) for tensor in written)
        writes = Writes.UNIFIED if into_unified else Writes.OTHER
    return _rule_for_case(
        on_cuda and not process.cuda_lost,
        asked is not None,
        signature.is_view,
        writes,
        has_cuda,
        bool(operands.cpu),
        bool(operands.indices),
        all(tensor._propagate for tensor in unified),
    )


@functools.cache
def _rule_for_case(*case: Any) -> Rule:
    """`rule_for`, without making the facts anew for every operator that runs."""
    return rule_for(Facts(*case))


def _refuse_impossible(func: OpOverload, operands: Operands) -> None:
    for view in operands.unified:
        if not view.traced:
            view.owner.check()
    for tensor in operands.written:
        if not isinstance(tensor, HostView):
            continue
        tensor.require_writable(func)
        reason = _REFUSED.get(func._schema.name)
        if reason is not None:
            raise UnifiedMemoryError(
                f"{func} on a unified tensor of shape {tuple(tensor.shape)}: {reason}, since the "
                "GPU reads it where it is. Allocate a new one with td.empty(...)."
            )


def _keeps_its_size(func: OpOverload, args: tuple[Any, ...]) -> bool:
    """Whether this resizes a tensor to the size that it has, as some ``out=`` operators do."""
    if func is aten.resize_.default:
        return tuple(args[0].shape) == tuple(args[1])
    return func is aten.resize_as_.default and args[0].shape == args[1].shape


def _run_in_forked_child(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """On host tensors; results stay host tensors, views too."""
    args, kwargs = _map_tensors(_on_host, args, kwargs)
    return func(*args, **kwargs)


def _run_on_cpu(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], operands: Operands, rule: Rule
) -> Any:
    if all(not tensor.is_cuda for tensor in operands.unified):
        return _run_without_cuda(func, args, kwargs, operands)
    _wait_for_gpu(operands)
    host = {id(tensor): tensor.host for tensor in operands.unified}
    back = {id(host[id(tensor)]): tensor for tensor in operands.unified}

    def to_host(tensor: Tensor) -> Tensor:
        return host[id(tensor)] if id(tensor) in host else tensor.cpu()

    args, kwargs = _map_tensors(to_host, args, kwargs)
    try:
        result = func(*args, **kwargs)
    except NotImplementedError as error:
        raise PlacementError(
            f"{func} was to run on the CPU, where one of its operands is, and has no kernel there "
            f"({str(error).splitlines()[0]}). Move the CPU operands to the GPU with .to(...)."
        ) from error
    if rule.result is Result.TARGET:
        return tree_map_only(Tensor, lambda tensor: back.get(id(tensor), tensor), result)
    return result


def _run_without_cuda(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], operands: Operands
) -> Any:
    """On CPU views, which need no host tensors beside them."""
    if func in ROW_OPERATORS and isinstance(args[0], HostView):
        result = _run_on_rows(func, args, kwargs, CPU)
        if result is not NATIVE:
            return operands.written[0] if operands.written else result
    return _wrap_views(func, _run_native(func, args, kwargs), operands)


def _run_on_target(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], operands: Operands, rule: Rule
) -> Any:
    target = next(tensor for tensor in operands.written if not isinstance(tensor, HostView))
    if target.is_cuda:
        return _run_on_cuda(func, args, kwargs, operands, rule)
    _wait_for_gpu(operands)
    args, kwargs = _map_tensors(_on_host, args, kwargs)
    return func(*args, **kwargs)


def _run_on_cuda(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], operands: Operands, rule: Rule
) -> Any:
    device = _cuda_device(operands)
    if func in ROW_OPERATORS and isinstance(args[0], HostView):
        result = _run_on_rows(func, args, kwargs, device)
        if result is not NATIVE:
            return operands.written[0] if operands.written else result
    indices = {id(index) for index in operands.indices}

    def to_device(tensor: Tensor) -> Tensor:
        if isinstance(tensor, HostView):
            return tensor.seen_from(device)
        return tensor.to(device) if id(tensor) in indices else tensor

    args, kwargs = _map_tensors(to_device, args, kwargs)
    if rule.result is Result.UNIFIED:
        result = _run_into_unified(func, args, kwargs)
        if result is not NATIVE:
            return result
    return _run_native(func, args, kwargs)


def _run_on_rows(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], device: torch.device
) -> Any:
    table = args[0]
    if table.requires_grad and torch.is_grad_enabled():
        _require_gradient_possible(func, args, device)

    def to_plain(tensor: Tensor) -> Tensor:
        return plain_of(tensor.seen_from(device)) if isinstance(tensor, HostView) else tensor

    plain_args, plain_kwargs = _map_tensors(to_plain, args, kwargs)
    result = ROW_OPERATORS[func](*plain_args, **plain_kwargs)
    if table.requires_grad and torch.is_grad_enabled() and func in _NATIVE_BACKWARD:
        faults.check_current_stream(device)
    return result


def _require_gradient_possible(
    func: OpOverload, args: tuple[Any, ...], device: torch.device
) -> None:
    """Refuse now what PyTorch's backward pass would refuse later, in words of its own."""
    table, *others = args
    if func in _BACKWARD_KEEPS_INDEX:
        index = next(value for value in others if isinstance(value, Tensor))
        if index.device.type != device.type:
            raise PlacementError(
                f"{func} got an index on {index.device} and a table on {device} that requires a "
                "gradient; expected the index on the same device, where the backward pass needs "
                f'it. Move it with .to("{device}"), or read rows with u[index].'
            )
    asks_sparse = func is aten.embedding.default and len(args) > 4 and args[4]
    if not asks_sparse:
        require_gradient_fits(table.shape, table.dtype, device)


_BACKWARD_KEEPS_INDEX = frozenset({aten.embedding.default, aten.index_select.default})
"""Operators whose backward pass reads the index where the caller had it."""

_NATIVE_BACKWARD = _BACKWARD_KEEPS_INDEX | {aten.index.Tensor}
"""Reads whose backward pass is PyTorch's: it asserts on the device where a row is out of range, so
they are checked before it can run. `torch_direct.gather` has a backward pass that checks itself."""


def _run_where_asked(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], operands: Operands, rule: Rule
) -> Any:
    del rule
    device = torch.device(kwargs["device"])
    if func is not aten._to_copy.default:
        return _run_native(func, args, kwargs)
    (source,) = operands.unified
    if device.type == "cpu":
        _wait_for_gpu(operands)
        return func(source.host, **kwargs)
    if device.type == "cuda":
        device = _with_index(device)
        keeps_type = kwargs.get("dtype") in (None, source.dtype)
        if device != source.device and keeps_type and kwargs.get("memory_format") is None:
            return source.seen_from(device)
    return _run_native(func, args, kwargs)


def _run_as_view(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], operands: Operands, rule: Rule
) -> Any:
    del rule
    return _wrap_views(func, _run_native(func, args, kwargs), operands)


def _refuse(
    func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], operands: Operands, rule: Rule
) -> Any:
    del args, kwargs, rule
    unified, cuda, cpu = operands.unified[0], operands.cuda[0], operands.cpu[0]
    raise PlacementError(
        f"{func} got a unified tensor of shape {tuple(unified.shape)}, a CUDA tensor of shape "
        f"{tuple(cuda.shape)} on {cuda.device} and a CPU tensor of shape {tuple(cpu.shape)}; "
        "expected unified tensors with CUDA tensors or with CPU tensors, not both. Move the CPU "
        f'tensor with .to("{cuda.device}"), or use u.host to compute on the CPU.'
    )


_RUNNERS: dict[Compute, Callable[..., Any]] = {
    Compute.NOWHERE: _run_as_view,
    Compute.CPU: _run_on_cpu,
    Compute.CUDA: _run_on_cuda,
    Compute.TARGET: _run_on_target,
    Compute.AS_ASKED: _run_where_asked,
    Compute.REFUSE: _refuse,
}


def _run_native(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return native(func, (), args, kwargs)
    except NotImplementedError as error:
        raise PlacementError(
            f"{func} has no kernel for the device that reads this unified tensor "
            f"({str(error).splitlines()[0]}). Compute on the CPU, over the same bytes: u.host."
        ) from error


def _run_into_unified(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator so that its result is written straight into unified memory.

    A fake run gives the result's size, the operator's ``out`` overload writes it. Operators that
    have none, or whose result's size depends on data, run as they are.
    """
    variant = out_variant(func)
    if variant is None:
        return NATIVE
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake_args, fake_kwargs = _map_tensors(
                lambda tensor: mode.from_tensor(plain_of(tensor)), args, kwargs
            )
            expected = func(*fake_args, **fake_kwargs)
    except (
        DynamicOutputShapeException,
        DataDependentOutputException,
        UnsupportedOperatorException,
    ):
        return NATIVE
    fakes = [expected] if isinstance(expected, Tensor) else list(expected)
    every = (*_flatten(args), *_flatten(kwargs))
    source = next(value for value in every if isinstance(value, HostView))
    targets = [_unified_like(fake, source) for fake in fakes]
    arguments = variant._schema.arguments
    names = [argument.name for argument in arguments if argument.is_out]
    taken = {argument.name for argument in arguments}
    kept = {name: value for name, value in kwargs.items() if name in taken}
    native(variant, (), args, {**kept, **dict(zip(names, targets, strict=True))})
    return targets[0] if isinstance(expected, Tensor) else type(expected)(targets)


def _flatten(value: Any) -> list[Any]:
    flat: list[Any] = []
    for element in value.values() if isinstance(value, dict) else value:
        flat.extend(element) if isinstance(element, (list, tuple)) else flat.append(element)
    return flat


def _unified_like(fake: Tensor, source: HostView) -> HostView:
    owner = HOST_MEMORY.allocate(fake.untyped_storage().nbytes(), device=source.device)
    return type(source).over(
        owner, source.device, fake.dtype, fake.shape, fake.stride(), 0, propagate=False
    )


@functools.cache
def out_variant(func: OpOverload) -> OpOverload | None:
    """The overload of an operator that writes into given tensors, None where there is none."""
    wanted = [(argument.name, str(argument.type)) for argument in func._schema.arguments]
    if any(argument.alias_info is not None for argument in func._schema.arguments):
        return None
    if not all(str(returned.type) == "Tensor" for returned in func._schema.returns):
        return None
    for name in func._overloadpacket.overloads():
        candidate: OpOverload = getattr(func._overloadpacket, name)
        arguments = candidate._schema.arguments
        outs = [argument for argument in arguments if argument.is_out]
        given = [(a.name, str(a.type)) for a in arguments if not a.is_out]
        given_names = {name for name, _ in given}
        needed = [pair for pair in wanted if pair[0] in given_names]
        dropped = [pair for pair in wanted if pair[0] not in given_names]
        if (
            len(outs) == len(func._schema.returns)
            and needed == given
            and all(name in _FACTORY_ARGUMENTS for name, _ in dropped)
        ):
            return candidate
    return None


_FACTORY_ARGUMENTS = frozenset({"dtype", "layout", "device", "pin_memory"})
"""What an ``out`` overload takes from its target instead."""


def _run_traced(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Under a compiler: the same operators on the plain tensors that stand for the memory."""
    sources = [value for value in _flatten(args) if isinstance(value, HostView)]
    plain_args, plain_kwargs = _map_tensors(_stand_in, args, kwargs)
    handler = ROW_OPERATORS.get(func)
    result = NATIVE if handler is None else handler(*plain_args, **plain_kwargs)
    if result is NATIVE:
        result = func(*plain_args, **plain_kwargs)
    if signature_of(func).is_view:
        result = tree_map_only(Tensor, sources[0].like, result)
    return return_and_correct_aliasing(func, args, kwargs, result)


def _stand_in(tensor: Tensor) -> Tensor:
    return tensor.plain if isinstance(tensor, HostView) else tensor


def _wrap_views(func: OpOverload, result: Any, operands: Operands) -> Any:
    """Give the unified type to results that share an operand's memory."""
    if not signature_of(func).is_view or not operands.unified:
        return result
    source = operands.unified[0]
    storage = source.untyped_storage()._cdata

    def wrap(tensor: Tensor) -> Tensor:
        shares = tensor.untyped_storage()._cdata == storage
        return source.like(tensor) if shares and not isinstance(tensor, HostView) else tensor

    return wrap(result) if isinstance(result, Tensor) else tree_map_only(Tensor, wrap, result)


def _forget_layout(written: Sequence[Tensor]) -> None:
    for tensor in written:
        if isinstance(tensor, HostView):
            tensor.forget_layout()


def plain_of(tensor: Tensor) -> Tensor:
    """A unified tensor as the plain tensor it derives from; others as they are."""
    return tensor.alias if isinstance(tensor, HostView) else tensor


def _on_host(tensor: Tensor) -> Tensor:
    return tensor.host if isinstance(tensor, HostView) else tensor


def _wait_for_gpu(operands: Operands) -> None:
    """Before the host reads or writes: let the current streams finish theirs."""
    for device in {tensor.device for tensor in operands.unified if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()


def _cuda_device(operands: Operands) -> torch.device:
    """The device of the CUDA operands, else that of the first unified one, else of an index."""
    candidates = (
        [tensor for tensor in operands.written if tensor.is_cuda][:1]
        if any(not isinstance(tensor, HostView) for tensor in operands.written)
        else []
    )
    for tensor in (*candidates, *operands.cuda, *operands.unified, *operands.indices):
        if tensor.is_cuda:
            return tensor.device
    return CPU


def _with_index(device: torch.device) -> torch.device:
    return device if device.index is not None else torch.device("cuda", torch.cuda.current_device())
