"""What a loader goes through: nodes or links, with their ids, labels and times, in host memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.sampler import EdgeSamplerInput, NodeSamplerInput

from torch_direct.graph import EdgeType, Graph, HeteroGraph
from torch_direct.graph.plain import plain


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


def _num_nodes(store: Any) -> int:
    count = store.num_nodes
    if count is None:
        raise ValueError(
            "the number of nodes of data is not known, and input_nodes is None, for all of them; "
            "expected features, edges or a number: set data.num_nodes"
        )
    return int(count)


def node_seeds(
    data: Any,
    graph: Graph | HeteroGraph,
    nodes: Any,
    input_id: Tensor | None,
    time: Tensor | None,
) -> NodeSeeds:
    """Read `input_nodes` as PyG does.

    Args:
        data: What PyG knows of the graph.
        graph: What is sampled.
        nodes: Ids, a mask or None; in heterogeneous graphs a node type, or a pair of the type and
            one of these.
        input_id: What to call the seeds in batches.
        time: Times of the seeds.

    Raises:
        IndexError: A node is not in the graph.
        TypeError: The nodes are no ids and no mask.
        ValueError: The node type is missing or unknown, or a shape or a length differs.
    """
    input_type, store = None, data
    if isinstance(data, HeteroData):
        input_type, nodes = _of_type(nodes, "input_nodes", (str,), data.node_types)
        store = data[input_type]
    if nodes is None:
        count = _num_nodes(store)
    else:
        nodes = as_host_tensor(nodes, "input_nodes")
        if nodes.dtype == torch.bool:
            _check_mask(nodes, store.num_nodes)
            nodes = nodes.nonzero().view(-1)
            input_id = nodes if input_id is None else input_id
        if nodes.dim() != 1:
            raise ValueError(
                f"input_nodes has shape {tuple(nodes.shape)}; expected one dimension: use .view(-1)"
            )
        _check_ids("input_nodes", nodes)
        _check_inside("input_nodes", nodes, graph, input_type)
        nodes = nodes.long()
        count = nodes.numel()
    return NodeSeeds(
        count,
        nodes,
        _one_for_each("input_id", input_id, count),
        _one_for_each("input_time", time, count),
        input_type,
    )


def link_seeds(
    data: Any,
    graph: Graph | HeteroGraph,
    pairs: Any,
    label: Tensor | None,
    input_id: Tensor | None,
    time: Tensor | None,
) -> LinkSeeds:
    """Read `edge_label_index` as PyG does.

    Args:
        data: What PyG knows of the graph.
        graph: What is sampled.
        pairs: `[2, num_links]`, or None for all edges; in heterogeneous graphs an edge type, or a
            pair of the type and one of these.
        label: Labels of the links.
        input_id: What to call them in batches.
        time: Their times.

    Raises:
        IndexError: An end is not in the graph.
        TypeError: The links are no pairs of ids.
        ValueError: The edge type is missing or unknown, a shape is wrong, or a length differs.
    """
    input_type = None
    if isinstance(data, HeteroData):
        input_type, pairs = _of_type(
            pairs, "edge_label_index", (tuple, list), data.edge_types, ends=data.node_types
        )
    if pairs is None:
        pairs = (data if input_type is None else data[input_type]).edge_index
    pairs = as_host_tensor(pairs, "edge_label_index")
    if pairs.dim() != 2 or pairs.size(0) != 2:
        raise ValueError(
            f"edge_label_index has shape {tuple(pairs.shape)}; expected (2, num_links): transpose "
            "it if it holds one link a row"
        )
    _check_ids("edge_label_index", pairs)
    ends = (None, None) if input_type is None else (input_type[0], input_type[-1])
    for nodes, end in zip(pairs, ends, strict=True):
        _check_inside("edge_label_index", nodes, graph, end)
    count = pairs.size(1)
    return LinkSeeds(
        pairs,
        _one_for_each("edge_label", label, count),
        _one_for_each("input_id", input_id, count),
        _one_for_each("edge_label_time", time, count),
        input_type,
    )


_WITHOUT_ORDER = (torch.uint16, torch.uint32, torch.uint64)
"""Integers whose least and largest PyTorch does not find."""


def _check_inside(
    name: str, nodes: Tensor, graph: Graph | HeteroGraph, node_type: str | None
) -> None:
    """Refuse seeds that are no nodes of the graph, before an epoch comes upon them."""
    if nodes.numel() == 0:
        return
    num_nodes = graph.num_nodes if isinstance(graph, Graph) else graph.num_nodes[str(node_type)]
    comparable = nodes.long() if nodes.dtype in _WITHOUT_ORDER else nodes
    low, high = (int(node) for node in torch.aminmax(comparable))
    if low < 0 or high >= num_nodes:
        of_type = "" if node_type is None else f" of type {node_type!r}"
        raise IndexError(
            f"{name} has node {low if low < 0 else high}; expected nodes{of_type} in "
            f"[0, {num_nodes}): correct it, or set num_nodes"
        )


def _of_type(
    given: Any,
    name: str,
    kinds: tuple[type, ...],
    known: Sequence[Any],
    *,
    ends: Sequence[str] = (),
) -> Any:
    """Split a type, or a pair of a type and its seeds, into the two.

    An edge type may be named by its ends, where no other has the same; one whose seeds are given
    may be new, with `ends` among the node types.
    """
    seeds = None
    if isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[0], kinds):
        given, seeds = given
    found = tuple(given) if isinstance(given, list) else given
    if isinstance(found, tuple) and len(found) == 2:
        fitting = [kind for kind in known if (kind[0], kind[-1]) == found]
        found = fitting[0] if len(fitting) == 1 else found
    new = seeds is not None and isinstance(found, tuple) and len(found) == 3
    if found not in known and not (new and {found[0], found[-1]} <= {*ends}):
        raise ValueError(
            f"{name} names the type {found!r}; expected one of {', '.join(map(str, known))}, or a "
            "pair of one of them and its seeds"
        )
    return found, seeds


def as_host_tensor(values: Any, name: str) -> Tensor:
    """Return what an argument gives as a plain tensor on the CPU, or raise TypeError."""
    if isinstance(values, Tensor) and values.layout != torch.strided:
        raise TypeError(
            f"{name} has the layout {values.layout}; expected a dense tensor: use .to_dense()"
        )
    try:
        given = values if isinstance(values, Tensor) else torch.as_tensor(values, device="cpu")
        return plain(given).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is {values!r}; expected a tensor, or a list of numbers") from error


def _one_for_each(name: str, values: Any, count: int) -> Tensor | None:
    """Return what an argument says of each seed, if it is given."""
    if values is None:
        return None
    given = as_host_tensor(values, name)
    if given.dim() == 0 or given.size(0) != count:
        raise ValueError(
            f"{name} has shape {tuple(given.shape)}; expected {count} entries, one for each seed: "
            "leave it out, or give it for the same seeds"
        )
    return given


def _check_ids(name: str, values: Tensor) -> None:
    no_integers = values.is_floating_point() or values.is_complex() or values.dtype == torch.bool
    if no_integers and values.numel() > 0:
        raise TypeError(
            f"{name} is {values.dtype}; expected node ids, which are integers: convert it with "
            ".long()"
        )


def _check_mask(mask: Tensor, num_nodes: int) -> None:
    if mask.shape != (num_nodes,):
        raise ValueError(
            f"input_nodes is a mask of shape {tuple(mask.shape)}; expected ({num_nodes},), one "
            "entry for each node"
        )


def _at(values: Tensor | None, index: Tensor, otherwise: Any) -> Any:
    return otherwise if values is None else values[index]
