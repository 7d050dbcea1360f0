"""What a loader goes through: nodes or links, with their ids, labels and times, in host memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import EdgeSamplerInput, NodeSamplerInput

from torch_direct.graph import EdgeType
from torch_direct.graph.placement import plain


@dataclass(frozen=True, eq=False)
class NodeSeeds:
    """Seed nodes of one type."""

    count: int
    """How many there are."""
    nodes: Tensor | None
    """int64 `[count]`; None for all nodes of the type."""
    input_id: Tensor | None
    """What to call each of them in batches `[count]`; None for its position."""
    time: Tensor | None
    """`[count]`."""
    input_type: str | None
    """The node type, in heterogeneous graphs."""

    def __getitem__(self, index: Tensor) -> NodeSamplerInput:
        """Return those at some positions."""
        return NodeSamplerInput(
            _at(self.input_id, index, index),
            _at(self.nodes, index, index),
            _at(self.time, index, None),
            self.input_type,
        )


@dataclass(frozen=True, eq=False)
class LinkSeeds:
    """Seed links of one type."""

    pairs: Tensor
    """`[2, count]`, sources and destinations."""
    label: Tensor | None
    """`[count, ...]`."""
    input_id: Tensor | None
    """As in `NodeSeeds`."""
    time: Tensor | None
    """`[count]`."""
    input_type: EdgeType | None
    """The edge type, in heterogeneous graphs."""

    def __getitem__(self, index: Tensor) -> EdgeSamplerInput:
        """Return those at some positions."""
        src, dst = self.pairs[:, index].long()
        return EdgeSamplerInput(
            _at(self.input_id, index, index),
            src,
            dst,
            _at(self.label, index, None),
            _at(self.time, index, None),
            self.input_type,
        )


def node_seeds(data: Any, nodes: Any, input_id: Tensor | None, time: Tensor | None) -> NodeSeeds:
    """Read `input_nodes` as PyG does.

    Args:
        data: The graph.
        nodes: Ids, a mask or None; in heterogeneous graphs a node type, or a pair of the type and
            one of these.
        input_id: What to call the seeds in batches.
        time: Times of the seeds.

    Raises:
        ValueError: The node type is missing or unknown, or a length differs.
    """
    input_type, store = None, data
    if hasattr(data, "node_types"):
        input_type, nodes = _of_type(nodes, "input_nodes", (str,), data.node_types)
        store = data[input_type]
    if nodes is None:
        count = int(store.num_nodes)
    else:
        nodes = _in_host_memory(nodes)
        if nodes.dtype == torch.bool:
            nodes = nodes.nonzero().view(-1)
            input_id = nodes if input_id is None else input_id
        nodes = nodes.long()
        count = nodes.numel()
    _check_length("input_id", input_id, count)
    _check_length("input_time", time, count)
    return NodeSeeds(count, nodes, _optional(input_id), _optional(time), input_type)


def link_seeds(
    data: Any, pairs: Any, label: Tensor | None, input_id: Tensor | None, time: Tensor | None
) -> LinkSeeds:
    """Read `edge_label_index` as PyG does.

    Args:
        data: The graph.
        pairs: `[2, num_links]`, or None for all edges; in heterogeneous graphs an edge type, or a
            pair of the type and one of these.
        label: Labels of the links.
        input_id: What to call them in batches.
        time: Their times.

    Raises:
        ValueError: The edge type is missing or unknown, a shape is wrong, or a length differs.
    """
    input_type, store = None, data
    if hasattr(data, "edge_types"):
        input_type, pairs = _of_type(pairs, "edge_label_index", (tuple, list), data.edge_types)
        store = data[input_type]
    pairs = _in_host_memory(store.edge_index if pairs is None else pairs)
    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(
            f"edge_label_index has shape {tuple(pairs.shape)}; expected (2, num_links): transpose "
            "it if it holds one link a row"
        )
    for name, tensor in (("edge_label", label), ("edge_label_time", time), ("input_id", input_id)):
        _check_length(name, tensor, pairs.size(1))
    return LinkSeeds(pairs, _optional(label), _optional(input_id), _optional(time), input_type)


def _of_type(given: Any, name: str, kinds: tuple[type, ...], known: Sequence[Any]) -> Any:
    """Split a type, or a pair of a type and its seeds, into the two.

    An edge type may be named by its ends, where no other has the same.
    """
    seeds = None
    if isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[0], kinds):
        given, seeds = given
    found = tuple(given) if isinstance(given, list) else given
    if isinstance(found, tuple) and len(found) == 2:
        fitting = [kind for kind in known if (kind[0], kind[-1]) == found]
        found = fitting[0] if len(fitting) == 1 else found
    if found not in known:
        raise ValueError(
            f"{name} names the type {found!r}; expected one of {', '.join(map(str, known))}, or a "
            "pair of one of them and its seeds"
        )
    return found, seeds


def _in_host_memory(values: Any) -> Tensor:
    return plain(torch.as_tensor(values)).cpu()


def _optional(values: Any) -> Tensor | None:
    return None if values is None else _in_host_memory(values)


def _check_length(name: str, values: Any, count: int) -> None:
    if values is not None and len(values) != count:
        raise ValueError(
            f"{name} has {len(values)} entries; expected {count}, one for each seed: leave it out, "
            "or give it for the same seeds"
        )


def _at(values: Tensor | None, index: Tensor, otherwise: Any) -> Any:
    return otherwise if values is None else values[index]
