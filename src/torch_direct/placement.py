"""Where an operator over unified tensors computes, and where its result lives.

`RULES` is the whole policy: it is read from the top, and the first rule whose facts all hold
decides. Nothing is moved here.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, fields

import torch
from torch._ops import OpOverload


class Compute(enum.Enum):
    """Where an operator runs."""

    NOWHERE = "nothing moves"
    CPU = "on the CPU, over the host bytes"
    CUDA = "on the GPU, which reads unified operands where they are"
    TARGET = "where the tensor is that is written"
    AS_ASKED = "where the call's own device argument says"
    REFUSE = "an error that names the operands"


class Result(enum.Enum):
    """Where a new result lives."""

    CPU = "a CPU tensor"
    CUDA = "a CUDA tensor"
    UNIFIED = "a unified tensor with memory of its own"
    VIEW = "a unified tensor that shares the operand's memory"
    TARGET = "the tensor that is written"
    AS_ASKED = "where the call's own device argument says"
    NONE = "no result"


class Writes(enum.Enum):
    """What an operator writes to."""

    NOTHING = "new memory only"
    UNIFIED = "a unified tensor"
    OTHER = "a tensor that is not unified"


@dataclass(frozen=True)
class Facts:
    """What the rules look at; `None` in a rule's facts stands for anything.

    CPU tensors of no dimension are scalars, and index arguments (`INDEX_ARGUMENTS`) follow the
    operator wherever it runs; neither counts as a CPU operand.
    """

    cuda: bool | None = None
    """Whether CUDA can be used here, for these operands."""
    asks_device: bool | None = None
    """Whether the call says on which device its result shall live."""
    is_view: bool | None = None
    """Whether the operator returns a view of its operand."""
    writes: Writes | None = None
    """What it writes to."""
    has_cuda: bool | None = None
    """Whether a plain CUDA tensor is among the operands."""
    has_cpu: bool | None = None
    """Whether a plain CPU tensor of one dimension or more is among the operands."""
    has_index: bool | None = None
    """Whether there is an index argument."""
    propagate: bool | None = None
    """Whether results may leave unified memory: false as soon as one operand says no."""

    def hold_in(self, case: Facts) -> bool:
        """Whether every fact that is stated here is so in a case."""
        return all(
            getattr(self, field.name) in (None, getattr(case, field.name)) for field in fields(self)
        )


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    operands: str
    """The operands that the rule is about, for people."""
    when: Facts
    """The facts that must hold."""
    compute: Compute
    """Where the operator runs."""
    result: Result
    """Where its result lives."""


RULES: tuple[Rule, ...] = (
    Rule(
        "anything, where CUDA is missing or cannot be used (a forked worker)",
        Facts(cuda=False),
        Compute.CPU,
        Result.CPU,
    ),
    Rule(
        "an explicit device",
        Facts(asks_device=True),
        Compute.AS_ASKED,
        Result.AS_ASKED,
    ),
    Rule(
        "a view of a unified tensor, alone or in a list",
        Facts(is_view=True),
        Compute.NOWHERE,
        Result.VIEW,
    ),
    Rule(
        "in-place or out= into a tensor that is not unified",
        Facts(writes=Writes.OTHER),
        Compute.TARGET,
        Result.TARGET,
    ),
    Rule(
        "unified, CUDA and a CPU tensor of one dimension or more",
        Facts(has_cuda=True, has_cpu=True),
        Compute.REFUSE,
        Result.NONE,
    ),
    Rule(
        "unified and a CPU tensor of one dimension or more, in-place into unified",
        Facts(has_cpu=True, writes=Writes.UNIFIED),
        Compute.CPU,
        Result.TARGET,
    ),
    Rule(
        "unified and a CPU tensor of one dimension or more",
        Facts(has_cpu=True),
        Compute.CPU,
        Result.CPU,
    ),
    Rule(
        "in-place or out= into unified, with no CPU tensor of one dimension or more",
        Facts(writes=Writes.UNIFIED),
        Compute.CUDA,
        Result.TARGET,
    ),
    Rule(
        "unified and CUDA",
        Facts(has_cuda=True),
        Compute.CUDA,
        Result.CUDA,
    ),
    Rule(
        "unified with indices on CUDA, the CPU or in a list",
        Facts(has_index=True),
        Compute.CUDA,
        Result.CUDA,
    ),
    Rule(
        "unified only, or with scalars and 0-dim CPU tensors; results may stay in host memory",
        Facts(propagate=False),
        Compute.CUDA,
        Result.UNIFIED,
    ),
    Rule(
        "unified only, or with scalars and 0-dim CPU tensors",
        Facts(),
        Compute.CUDA,
        Result.CUDA,
    ),
)


def rule_for(case: Facts) -> Rule:
    """The first rule whose facts hold in a case; the last rule holds always."""
    return next(rule for rule in RULES if rule.when.hold_in(case))


INDEX_ARGUMENTS: dict[str, frozenset[str]] = {
    "aten::embedding": frozenset({"indices"}),
    "aten::embedding_bag": frozenset({"indices", "offsets"}),
    "aten::_embedding_bag": frozenset({"indices", "offsets"}),
    "aten::_embedding_bag_forward_only": frozenset({"indices", "offsets"}),
    "aten::gather": frozenset({"index"}),
    "aten::index": frozenset({"indices"}),
    "aten::index_add": frozenset({"index"}),
    "aten::index_add_": frozenset({"index"}),
    "aten::index_copy": frozenset({"index"}),
    "aten::index_copy_": frozenset({"index"}),
    "aten::index_fill": frozenset({"index"}),
    "aten::index_fill_": frozenset({"index"}),
    "aten::index_put": frozenset({"indices"}),
    "aten::index_put_": frozenset({"indices"}),
    "aten::_index_put_impl_": frozenset({"indices"}),
    "aten::_unsafe_index": frozenset({"indices"}),
    "aten::_unsafe_index_put": frozenset({"indices"}),
    "aten::index_reduce": frozenset({"index"}),
    "aten::index_reduce_": frozenset({"index"}),
    "aten::index_select": frozenset({"index"}),
    "aten::masked_fill": frozenset({"mask"}),
    "aten::masked_fill_": frozenset({"mask"}),
    "aten::masked_scatter": frozenset({"mask"}),
    "aten::masked_scatter_": frozenset({"mask"}),
    "aten::masked_select": frozenset({"mask"}),
    "aten::scatter": frozenset({"index"}),
    "aten::scatter_": frozenset({"index"}),
    "aten::scatter_add": frozenset({"index"}),
    "aten::scatter_add_": frozenset({"index"}),
    "aten::scatter_reduce": frozenset({"index"}),
    "aten::scatter_reduce_": frozenset({"index"}),
    "aten::take": frozenset({"index"}),
    "torch_direct::add_rows": frozenset({"index"}),
    "torch_direct::gather": frozenset({"index"}),
    "torch_direct::gather_out": frozenset({"index"}),
    "torch_direct::scatter_rows": frozenset({"index"}),
}
"""The arguments, by operator, that say where and not what: they follow the operator."""

UNDECLARED_VIEWS: frozenset[str] = frozenset(
    {
        "aten::_unsafe_view",
        "aten::unsafe_chunk",
        "aten::unsafe_split",
        "aten::unsafe_split_with_sizes",
        "aten::_reshape_alias",
    }
)
"""Operators that return views of their operand although their schemas do not say so."""


@dataclass(frozen=True)
class Signature:
    """What the rules need to know of an operator, read once from its schema."""

    names: tuple[str, ...]
    """Its arguments, positional ones first."""
    indices: frozenset[str]
    """Those that are index arguments."""
    written: frozenset[str]
    """Those that are written to."""
    is_view: bool
    """Whether it returns a view of an operand."""
    restrides: bool
    """Whether it gives the tensor that it is called on another shape or other strides in place."""


@functools.cache
def signature_of(operator: OpOverload) -> Signature:
    """Read an operator's schema."""
    schema = operator._schema
    aliases = [returned.alias_info for returned in schema.returns]
    is_view = any(alias is not None and not alias.is_write for alias in aliases)
    return Signature(
        names=tuple(argument.name for argument in schema.arguments),
        indices=INDEX_ARGUMENTS.get(schema.name, frozenset()),
        written=frozenset(
            argument.name
            for argument in schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ),
        is_view=is_view or schema.name in UNDECLARED_VIEWS,
        restrides=torch.Tag.inplace_view in operator.tags,
    )
