"""What the sampler is called with, checked and brought into one form.

A homogeneous graph is sampled as a heterogeneous one of one node type and one edge type.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torch_direct.graph import Graph, HeteroGraph
from torch_direct.graph.hetero import EdgeType
from torch_direct.kernels.sample import ALL
from torch_direct.tensor.host_view import HostView

NODES = ""
EDGES = ("", "", "")
"""The types of a homogeneous graph."""


def as_hetero(graph: Graph | HeteroGraph) -> HeteroGraph:
    """Return the graph in the form for several types, or raise TypeError or ValueError."""
    if not isinstance(graph, (Graph, HeteroGraph)):
        raise TypeError(
            f"graph is a {type(graph).__name__}; expected a Graph or HeteroGraph of torch_direct: "
            "make one with td.Graph.from_pyg(data) or td.Graph.from_edge_index(edge_index)"
        )
    if isinstance(graph, HeteroGraph):
        if not graph.graphs:
            raise ValueError(
                "the graph has no edge types; expected one at least: give it a Graph for each"
            )
        return graph
    if graph.num_src_nodes != graph.num_nodes:
        raise ValueError(
            f"the graph leads from {graph.num_src_nodes} nodes to {graph.num_nodes} others; "
            "expected one set of nodes: give both the same ids, or make a HeteroGraph"
        )
    time = {} if graph.node_time is None else {NODES: graph.node_time}
    return HeteroGraph({NODES: graph.num_nodes}, {EDGES: graph}, time)


def fanout_by_type(
    graph: Graph | HeteroGraph, fanout: Sequence[int] | Mapping[EdgeType, Sequence[int]]
) -> dict[EdgeType, tuple[int, ...]]:
    """Return the fanout of every edge type, in the order of the graph.

    Raises TypeError or ValueError.
    """
    edge_types = graph.edge_types if isinstance(graph, HeteroGraph) else [EDGES]
    given = fanout if isinstance(fanout, Mapping) else dict.fromkeys(edge_types, fanout)
    if given.keys() != set(edge_types):
        expected = (
            edge_types if isinstance(graph, HeteroGraph) else "no types, as the graph has one"
        )
        raise ValueError(
            f"fanout (num_neighbors) is for {list(given)}; expected {expected}: name every edge "
            "type, with 0 for what is not to be drawn, or give one list for all"
        )
    by_type = {name: _integers(sizes) for name, sizes in given.items()}
    for sizes in by_type.values():
        if not sizes or any((k < 0 and k != ALL) or k >= 2**31 for k in sizes):
            raise ValueError(
                f"fanout (num_neighbors) is {list(sizes)}; expected one entry or more, each at "
                "least 0 and below 2**31, or -1 for all neighbours; [0] for the seeds alone"
            )
    lengths = {len(sizes) for sizes in by_type.values()}
    if len(lengths) > 1:
        raise ValueError(
            f"fanout (num_neighbors) has {sorted(lengths)} entries; expected as many for every "
            "edge type, one for each hop: fill up with 0"
        )
    return {name: by_type[name] for name in edge_types}


def _integers(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the entries of a fanout, or raise TypeError."""
    try:
        return tuple(map(operator.index, sizes))
    except TypeError:
        raise TypeError(
            f"fanout (num_neighbors) is {sizes!r}; expected a list of integers, one for each hop"
        ) from None


def time_dtype(graph: HeteroGraph) -> torch.dtype | None:
    """Return int64 or float64, what times are compared as, or None where there are no times."""
    of_graphs = (t for part in graph.graphs.values() for t in (part.edge_time, part.node_time))
    # Nodes that no edge leaves are in none of the graphs.
    times = [*graph.node_time.values(), *of_graphs]
    dtypes = {time.dtype for time in times if time is not None}
    if torch.float64 not in dtypes:
        return torch.int64 if dtypes else None
    if len(dtypes) > 1:
        raise ValueError(
            f"the times of the graph are {' and '.join(map(str, dtypes))}; expected integers or "
            "floating point: convert some of them"
        )
    return torch.float64


def seeds_by_type(
    graph: Graph | HeteroGraph, seeds: Tensor | Mapping[str, Tensor], input_type: str | None
) -> dict[str, Tensor]:
    """Return the seeds by node type, or raise TypeError or ValueError."""
    if isinstance(seeds, Mapping):
        groups = dict(seeds)
    else:
        groups = {NODES if input_type is None else input_type: seeds}
    node_types = graph.node_types if isinstance(graph, HeteroGraph) else [NODES]
    unknown = [node_type for node_type in groups if node_type not in node_types]
    if unknown or not groups or (isinstance(seeds, Mapping) and input_type is not None):
        if isinstance(graph, HeteroGraph):
            expected = f"one of {', '.join(node_types)}, as input_type or as the keys of seeds"
        else:
            expected = "none, as the graph has one type of nodes"
        raise ValueError(
            f"input_type is {input_type!r} and seeds are of {list(groups)}; expected {expected}"
        )
    for nodes in groups.values():
        if not isinstance(nodes, Tensor):
            raise TypeError(
                f"seeds is a {type(nodes).__name__}; expected a tensor of node ids: make one with "
                "torch.as_tensor(...)"
            )
        if nodes.dtype not in (torch.int32, torch.int64):
            raise TypeError(
                f"seeds is {nodes.dtype}; expected torch.int32 or torch.int64: convert node ids "
                "with .long(), and a mask with .nonzero().squeeze(1)"
            )
        if nodes.dim() != 1:
            raise ValueError(
                f"seeds has shape {tuple(nodes.shape)}; expected one dimension: use .flatten()"
            )
    return groups


def device_for(graph: HeteroGraph, seeds: Mapping[str, Tensor]) -> torch.device:
    """Return where a batch of these seeds is sampled, or raise ValueError."""
    indptr = next(iter(graph.graphs.values())).indptr
    devices = {nodes.device for nodes in seeds.values() if nodes.device.type != "cpu"}
    if devices <= {indptr.device}:
        return indptr.device
    if len(devices) > 1 or not isinstance(indptr, HostView) or not indptr.is_cuda:
        raise ValueError(
            f"seeds is on {' and '.join(map(str, devices))} and the graph on {indptr.device}; "
            "expected a graph that the GPU reads (graph.to_unified() or graph.to(device)), or "
            "seeds.cpu()"
        )
    return devices.pop()


def times_by_type(
    seeds: Mapping[str, Tensor],
    seed_time: Tensor | Mapping[str, Tensor],
    dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    """Return the times of the seeds by node type, or raise TypeError or ValueError."""
    if dtype is None:
        raise ValueError(
            "seed_time is given and the graph has no times; expected edge_time or node_time: make "
            "the graph with one of them or time_attr=, or leave seed_time out"
        )
    one_type = dict.fromkeys([*seeds][:1], seed_time)
    given: Mapping[str, Any] = seed_time if isinstance(seed_time, Mapping) else one_type
    for time in given.values():
        if not isinstance(time, Tensor):
            raise TypeError(
                f"seed_time is a {type(time).__name__}; expected a tensor: use torch.as_tensor(...)"
            )
    found = {node_type: tuple(time.shape) for node_type, time in given.items()}
    expected = {node_type: tuple(nodes.shape) for node_type, nodes in seeds.items()}
    if found != expected:
        raise ValueError(
            f"seed_time has shape {list(found.values())}; expected {list(expected.values())}, one "
            "time for each seed, by node type where seeds are"
        )
    for time in given.values():
        check_kind_of_time("seed_time", time, dtype)
    return {node_type: given[node_type] for node_type in seeds}


def check_kind_of_time(name: str, time: Tensor, dtype: torch.dtype) -> None:
    """Raise TypeError for times of another kind than `time_dtype` says of those of the graph."""
    if time.is_floating_point() != dtype.is_floating_point:
        raise TypeError(
            f"{name} is {time.dtype} and the times of the graph are compared as {dtype}; expected "
            "integers with integers, and floating point with floating point: convert "
            f"{name} with .long() or .double()"
        )


def seed_number(seed: int) -> int:
    """Return a seed as an `int`, which may be of NumPy or PyTorch.

    Raises:
        TypeError: It is no integer.
        ValueError: It does not fit into 64 bits.
    """
    number = _integer("seed", seed)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"seed is {number}; expected a number that fits into 64 bits")
    return number


def counter_number(name: str, value: int) -> int:
    """Return a number of 32 bits as an `int`, which may be of NumPy or PyTorch.

    Raises:
        TypeError: It is no integer.
        ValueError: It is not one of 32 bits.
    """
    number = _integer(name, value)
    if not 0 <= number < 2**32:
        raise ValueError(f"{name} is {number}; expected a number from 0 to {2**32 - 1}")
    return number


def _integer(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an integer") from None


def check_choice(name: str, value: str, *choices: str) -> None:
    """Raise ValueError for a value that there is not."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")
