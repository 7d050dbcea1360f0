"""What makes a graph well-formed. Every message names the first place that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from torch_direct.errors import GraphError

EDGES_AT_ONCE = 1 << 24
"""How many are looked at together: copies of as many fit beside any graph."""

_INTEGERS = (torch.int32, torch.int64)
_WEIGHTS = (torch.float32, torch.float64)
_TIMES = (torch.int32, torch.int64, torch.float64)

_LAYOUT = {
    "indptr": (_INTEGERS, "num_nodes + 1", "begin it with 0 and convert it with .long()"),
    "indices": (_INTEGERS, "num_edges", "convert with .int() or .long()"),
    "edge_id": (_INTEGERS, "num_edges", "give one id for every edge"),
    "weight": (_WEIGHTS, "num_edges", "give one weight for every edge, in .float()"),
    "edge_time": (_TIMES, "num_edges", "give one time for every edge, in .long() or .double()"),
    "node_time": (
        _TIMES,
        "num_src_nodes",
        "give one time for every source node, in .long() or .double()",
    ),
}
"""For every tensor of a graph: its dtypes, its length, and what to do where it has others."""

_A_TIME = "a time: replace it, or drop what has it"


def edge_times(columns: Mapping[str, Tensor], node_time: Tensor | None, part: slice) -> Tensor:
    """Return the times of some edges of a temporal graph: their own, or those of their sources."""
    if node_time is None:
        return columns["edge_time"][part]
    return node_time[columns["indices"][part].long()]


def require_tensor(name: str, value: object) -> None:
    """Check that an argument, where it is given, is a tensor.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, Tensor | None):
        raise TypeError(
            f"{name} is a {type(value).__name__}; expected a tensor: convert it with "
            "torch.as_tensor, which shares the memory of an array"
        )


def check_count(name: str, count: int) -> None:
    """Check a number of nodes.

    Raises:
        GraphError: It is negative.
        TypeError: It is no integer.
    """
    if isinstance(count, bool) or not hasattr(count, "__index__"):
        raise TypeError(f"{name} is {count!r}; expected an integer, the number of nodes")
    if count < 0:
        raise GraphError(f"{name} is {count}; expected 0 or more")


def check_edge_list(
    edge_index: Tensor, values: Mapping[str, Tensor], node_time: Tensor | None
) -> None:
    """Check the dtypes and shapes of a list of edges and of their values, and that no time is NaN.

    Raises:
        GraphError: They are not so, or edges and nodes both have times.
    """
    shape = tuple(edge_index.shape)
    fits = len(shape) == 2 and shape[0] == 2
    if edge_index.dtype not in _INTEGERS or not fits:
        remedy = "convert it with .long()" if fits else "transpose it if it holds one edge a row"
        raise GraphError(
            f"edge_index is {edge_index.dtype} of shape {shape}; expected torch.int32 or "
            f"torch.int64 of shape (2, num_edges): {remedy}"
        )
    for name, value in values.items():
        check_vector(name, value, shape[1])
    if "edge_time" in values and node_time is not None:
        raise _two_times()
    for name, time in (("edge_time", values.get("edge_time")), ("node_time", node_time)):
        if time is not None and time.is_floating_point():
            _check_each(name, time, torch.isnan, _A_TIME)


def check_vector(name: str, tensor: Tensor, length: int) -> None:
    """Check the dtype and the length of one tensor of a graph, by its name there.

    Raises:
        GraphError: One of them is wrong.
    """
    dtypes, size, remedy = _LAYOUT[name]
    if tensor.dtype in dtypes and tuple(tensor.shape) == (length,):
        return
    allowed = ", ".join(str(dtype) for dtype in dtypes[:-1])
    number = "" if name == "indptr" else f" = ({length},)"
    raise GraphError(
        f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}; expected {allowed} or "
        f"{dtypes[-1]} of shape ({size},){number}: {remedy}"
    )


def check_layout(tensors: Mapping[str, Tensor], num_src_nodes: int) -> None:
    """Check dtypes, shapes and devices of the tensors of a graph, without reading them.

    Raises:
        GraphError: One is wrong, or edges and nodes both have times.
    """
    num_edges = tensors["indices"].numel()
    lengths = {"indptr": max(1, tensors["indptr"].numel()), "node_time": num_src_nodes}
    for name, tensor in tensors.items():
        check_vector(name, tensor, lengths.get(name, num_edges))
        if tensor.device != tensors["indptr"].device:
            raise GraphError(
                f"{name} is on {tensor.device} and indptr on {tensors['indptr'].device}; expected "
                "one device: move them, or make all of them unified"
            )
    if "edge_time" in tensors and "node_time" in tensors:
        raise _two_times()
    check_count("num_src_nodes", num_src_nodes)


def check_node_time(time: Tensor, num_nodes: int) -> None:
    """Check the times of nodes.

    Raises:
        GraphError: They are of another dtype or shape, or one is NaN.
    """
    check_vector("node_time", time, num_nodes)
    _check_each("node_time", time, torch.isnan, _A_TIME)


def check_values(tensors: Mapping[str, Tensor], num_src_nodes: int) -> None:
    """Check the values of a graph whose layout is right, a chunk at a time.

    Raises:
        GraphError: One is wrong.
    """
    indptr, indices = tensors["indptr"], tensors["indices"]
    check_ends(indptr, indices.numel())
    _check_indptr(indptr)
    _check_each(
        "indices",
        indices,
        lambda ids: (ids < 0) | (ids >= num_src_nodes),
        f"a node in [0, {num_src_nodes}): drop the edge, or name more nodes",
    )
    checks: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
        "edge_id": (lambda ids: ids < 0, "0 or more: give positions in a list of edges"),
        "weight": (
            lambda weights: ~((weights >= 0) & weights.isfinite()),
            "a finite number of at least 0: replace it, or drop the edge",
        ),
        "edge_time": (torch.isnan, _A_TIME),
        "node_time": (torch.isnan, _A_TIME),
    }
    for name, (bad, expected) in checks.items():
        if name in tensors:
            _check_each(name, tensors[name], bad, expected)
    if "edge_time" in tensors or "node_time" in tensors:
        _check_time_order(tensors)


def _two_times() -> GraphError:
    return GraphError(
        "edge_time and node_time are both given; expected one of them, which orders the in-edges "
        "of a node: leave the other out"
    )


def check_ends(indptr: Tensor, num_edges: int) -> None:
    """Check where `indptr` begins and ends, which reads two entries.

    Raises:
        GraphError: It does not begin at 0, or not end at the number of edges.
    """
    if (first := int(indptr[0])) != 0:
        raise GraphError(f"indptr[0] is {first}; expected 0: subtract it from all of indptr")
    if (last := int(indptr[-1])) != num_edges:
        raise GraphError(
            f"indptr ends at {last} but indices has {num_edges} entries; expected the same "
            "number: one of the two is truncated or belongs to another graph"
        )


def _check_indptr(indptr: Tensor) -> None:
    for start, chunk in _chunks(indptr, overlap=1):
        falls = chunk[1:] < chunk[:-1]
        if falls.any():
            at = start + int(falls.nonzero()[0])
            raise GraphError(
                f"indptr falls from {int(indptr[at])} at {at} to {int(indptr[at + 1])} at "
                f"{at + 1}; expected each entry at least as large as the one before: build it as "
                "the running sum of the in-degrees"
            )


def _check_each(name: str, values: Tensor, bad: Callable[[Tensor], Tensor], expected: str) -> None:
    for start, chunk in _chunks(values):
        found = bad(chunk)
        if found.any():
            at = int(found.nonzero()[0])
            raise GraphError(f"{name}[{start + at}] is {chunk[at].item()}; expected {expected}")


def _check_time_order(tensors: Mapping[str, Tensor]) -> None:
    indptr, num_edges = tensors["indptr"], tensors["indices"].numel()
    for start in range(0, num_edges, EDGES_AT_ONCE):
        part = slice(start, start + EDGES_AT_ONCE + 1)
        times = edge_times(tensors, tensors.get("node_time"), part)
        falls = start + 1 + (times[1:] < times[:-1]).nonzero().squeeze(1)
        node = torch.searchsorted(indptr, falls.to(indptr.dtype), right=True) - 1
        inside = falls[indptr[node] != falls]
        if inside.numel() > 0:
            at = int(inside[0])
            raise GraphError(
                f"the edge at {at} is of time {times[at - start].item()}, and the one before, into "
                f"the same node, of {times[at - start - 1].item()}; expected the in-edges of a "
                "node in order of time: make the graph with Graph.from_edge_index, which sorts them"
            )


def _chunks(values: Tensor, overlap: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Yield `(start, part)` until all of `values` was seen, each with `overlap` of the next."""
    for start in range(0, values.numel(), EDGES_AT_ONCE):
        yield start, values[start : start + EDGES_AT_ONCE + overlap]
