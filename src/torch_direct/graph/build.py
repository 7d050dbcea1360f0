"""Edge lists into CSC form, by a stable counting sort that works through a list in chunks.

In-degrees are counted chunk by chunk, their running sum says where the in-edges of every node go,
and then each chunk is sorted by destination and scattered to its places (Knuth, The Art of Computer
Programming, volume 3, section 5.2, "distribution counting"). Besides the list, which may be mapped
from a file, and the result there is never more than one chunk and one number for every node. A long
list in host memory is worked through by the GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from torch_direct.errors import GraphError
from torch_direct.graph.progress import Meter, Progress
from torch_direct.graph.validate import EDGES_AT_ONCE, check_count, check_vector, edge_times
from torch_direct.memory import pages, process

Columns = dict[str, Tensor]
"""One value for every edge, by the name of the field of `Graph` that holds them."""

_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class EdgeList:
    """Edges in the order in which they were given."""

    edge_index: Tensor
    """int32 or int64 `[2, num_edges]`; row 0 is the source, row 1 the destination."""
    values: Columns
    """Further values of every edge, in the same order."""
    symmetric: bool
    """Whether the reverse of every edge that is not a self-loop comes after them."""
    numbered: bool
    """Whether edges remember their position in the list, as the column `edge_id`."""

    @property
    def home(self) -> torch.device:
        """Where the list is, and the result goes."""
        return self.edge_index.device

    @cached_property
    def device(self) -> torch.device:
        """Where chunks are sorted."""
        long = self.edge_index.size(1) > EDGES_AT_ONCE
        on_gpu = self.home.type == "cpu" and long and process.cuda_usable()
        return torch.device("cuda", torch.cuda.current_device()) if on_gpu else self.home

    @property
    def num_read(self) -> int:
        """Number of edges that one pass reads."""
        return self.edge_index.size(1) * (2 if self.symmetric else 1)

    @property
    def columns(self) -> dict[str, torch.dtype]:
        """The columns of the result and their types."""
        ids = torch.int32 if self.edge_index.size(1) <= _INT32_MAX else torch.int64
        return (
            {"indices": self.edge_index.dtype}
            | ({"edge_id": ids} if self.numbered else {})
            | {name: value.dtype for name, value in self.values.items()}
        )

    def chunks(self, meter: Meter, *names: str) -> Iterator[tuple[Tensor, Columns]]:
        """Yield the destinations of a chunk of edges and the named columns, until all were seen."""
        for part in self._parts():
            yield self._read(1, part), {name: self._column(name, part) for name in names}
            meter.advance(part.stop - part.start)
        for part in self._parts() if self.symmetric else ():
            src, dst = self._read(0, part), self._read(1, part)
            turned = src != dst
            columns = {name: self._column(name, part) for name in names}
            if "indices" in columns:
                columns["indices"] = dst
            yield src[turned], {name: column[turned] for name, column in columns.items()}
            meter.advance(part.stop - part.start)

    def check(self, num_nodes: int | None, num_src_nodes: int | None, meter: Meter) -> _Survey:
        """Read the list once.

        Args:
            num_nodes: Number of destination nodes, None for as many as are named.
            num_src_nodes: Number of source nodes, likewise.
            meter: Told of every chunk.

        Raises:
            GraphError: A node is outside of its range; the message names the first place.
        """
        highest, last, ascending = [-1, -1], -1, True
        for part in self._parts():
            for row, bound in enumerate((num_src_nodes, num_nodes)):
                ids = self._read(row, part)
                low, high = (int(end) for end in torch.aminmax(ids))
                if low < 0 or (bound is not None and high >= bound):
                    raise self._outside(row, part.start, ids, bound)
                highest[row] = max(highest[row], high)
            ascending = ascending and last <= int(ids[0]) and bool((ids[1:] >= ids[:-1]).all())
            last = int(ids[-1])
            meter.advance(part.stop - part.start)
        return _Survey(highest[0], highest[1], ascending)

    def place_of(self, node: int) -> str:
        """Return where a node that the list names is first, among destinations if it is there."""
        return next(
            f"edge_index[{row}, {part.start + int(found[0])}]"
            for row in (1, 0)
            for part in self._parts()
            if (found := (self._read(row, part) == node).nonzero()).numel() > 0
        )

    def _parts(self) -> Iterator[slice]:
        num_edges = self.edge_index.size(1)
        for start in range(0, num_edges, EDGES_AT_ONCE):
            yield slice(start, min(start + EDGES_AT_ONCE, num_edges))

    def _read(self, row: int, part: slice) -> Tensor:
        return self.edge_index[row, part].to(self.device)

    def _column(self, name: str, part: slice) -> Tensor:
        if name == "indices":
            return self._read(0, part)
        if name == "edge_id":
            dtype = self.columns[name]
            return torch.arange(part.start, part.stop, dtype=dtype, device=self.device)
        return self.values[name][part].to(self.device)

    def _outside(self, row: int, start: int, ids: Tensor, bound: int | None) -> GraphError:
        bad = ids < 0 if bound is None else (ids < 0) | (ids >= bound)
        at = int(bad.nonzero()[0])
        expected = "0 or more" if bound is None else f"a node in [0, {bound})"
        return GraphError(
            f"edge_index[{row}, {start + at}] is {int(ids[at])}; expected {expected}: correct the "
            "edge, or the number of nodes"
        )


@dataclass(frozen=True)
class _Survey:
    """What one reading of a list tells."""

    highest_src: int
    highest_dst: int
    ascending: bool
    """Whether every destination is at least the one before."""

    def sizes(self, num_nodes: int | None, num_src_nodes: int | None) -> tuple[int, int]:
        """Return both numbers of nodes, of which each may be given."""
        if num_nodes is None:
            highest_src = self.highest_src if num_src_nodes is None else -1
            num_nodes = 1 + max(self.highest_dst, highest_src)
        return num_nodes, num_nodes if num_src_nodes is None else num_src_nodes


@dataclass(frozen=True)
class Csc:
    """An edge list turned into CSC form."""

    indptr: Tensor
    """int64 `[num_nodes + 1]`."""
    columns: Columns
    """`indices` and the other columns of the list, by destination."""
    num_src_nodes: int
    """Number of source nodes."""


def build_csc(
    edges: EdgeList,
    num_nodes: int | None,
    num_src_nodes: int | None,
    *,
    node_time: Tensor | None,
    coalesce: bool,
    progress: Progress | None,
) -> Csc:
    """Sort edges by destination, and the edges into a node by time where they have one.

    Args:
        edges: The list, of the right dtypes and shapes.
        num_nodes: Number of destination nodes; None for one more than the highest that is named.
        num_src_nodes: Number of source nodes; None for `num_nodes`, the same nodes.
        node_time: Time of every source node, which its edges have.
        coalesce: Keep the first of each set of repeated edges.
        progress: Told of edges, over all passes.

    Raises:
        GraphError: A number of nodes is negative, a node is outside of its range, `node_time` has
            the wrong layout, or sources and destinations of a symmetric graph are different nodes.
        HostMemoryError: There is too little host memory for so many nodes.
    """
    for name, count in (("num_nodes", num_nodes), ("num_src_nodes", num_src_nodes)):
        if count is not None:
            check_count(name, count)
    timed = node_time is not None or "edge_time" in edges.values
    meter = Meter(progress, edges.edge_index.size(1) + edges.num_read * (2 + 2 * coalesce + timed))
    survey = edges.check(num_nodes, num_nodes if num_src_nodes is None else num_src_nodes, meter)
    named = num_nodes is None
    num_nodes, num_src_nodes = survey.sizes(num_nodes, num_src_nodes)
    _check_sizes(edges, num_nodes, num_src_nodes, node_time)
    in_order = survey.ascending and not (edges.symmetric or coalesce or timed)
    # A list that has to be placed takes a second number for every node.
    _require_memory(edges, num_nodes, (1 if in_order else 2) * torch.int64.itemsize, named=named)
    indptr = _count(edges, num_nodes, meter)
    if in_order:
        # The list is in order already: its sources stay where they are, an edge's id is its place.
        columns = {"indices": edges.edge_index[0].contiguous(), **edges.values}
    else:
        columns = _place(edges, indptr, meter)
    if coalesce:
        _sort_neighbours(indptr, columns, lambda part: columns["indices"][part], meter)
        indptr = _drop_repeats(indptr, columns, meter)
    if timed:
        _sort_neighbours(indptr, columns, lambda part: edge_times(columns, node_time, part), meter)
    meter.finish()
    return Csc(indptr.to(edges.home), columns, num_src_nodes)


def _check_sizes(
    edges: EdgeList, num_nodes: int, num_src_nodes: int, node_time: Tensor | None
) -> None:
    if node_time is not None:
        check_vector("node_time", node_time, num_src_nodes)
    if edges.symmetric and num_nodes != num_src_nodes:
        raise GraphError(
            f"symmetric is asked for with {num_src_nodes} source and {num_nodes} destination "
            "nodes; expected one set of nodes: leave num_src_nodes or symmetric out"
        )


def _require_memory(edges: EdgeList, num_nodes: int, bytes_each: int, *, named: bool) -> None:
    """Raise where `num_nodes` are too many for host memory: often one id of the list is wrong."""
    nbytes = num_nodes * bytes_each
    if edges.home.type != "cpu" or nbytes <= pages.available_memory():
        return
    purpose = f"num_nodes is {num_nodes}"
    if named:
        place = edges.place_of(num_nodes - 1)
        purpose += f", as {place} is {num_nodes - 1} (correct the edge, if it is wrong)"
    pages.require_available(nbytes, purpose)


def _count(edges: EdgeList, num_nodes: int, meter: Meter) -> Tensor:
    """Return where the in-edges of every node start, int64 `[num_nodes + 1]`."""
    indptr = torch.zeros(num_nodes + 1, dtype=torch.int64, device=edges.device)
    for dst, _ in edges.chunks(meter):
        _add_one_at(indptr[1:], dst)
    return indptr.cumsum_(0)


def _add_one_at(counts: Tensor, nodes: Tensor) -> None:
    one = torch.ones((), dtype=counts.dtype, device=counts.device)
    counts.scatter_add_(0, nodes.long(), one.expand(nodes.numel()))


def _place(edges: EdgeList, indptr: Tensor, meter: Meter) -> Columns:
    """Return all columns by destination, in the order of the list for each."""
    num_edges = int(indptr[-1])
    placed = {
        name: torch.empty(num_edges, dtype=dtype, device=edges.home)
        for name, dtype in edges.columns.items()
    }
    cursor = indptr[:-1].clone()
    for dst, columns in edges.chunks(meter, *placed):
        by_dst, order = torch.sort(dst, stable=True)
        position = _take_places(cursor, by_dst).to(edges.home)
        for name, column in columns.items():
            placed[name].scatter_(0, position, column[order].to(edges.home))
    return placed


def _take_places(cursor: Tensor, nodes: Tensor) -> Tensor:
    """Give each of the ascending `nodes` its next free place, and move `cursor` past it."""
    node, count = torch.unique_consecutive(nodes.long(), return_counts=True)
    first = cursor[node]
    cursor[node] = first + count
    shift = first - (count.cumsum(0) - count)
    place: Tensor = shift.repeat_interleave(count, output_size=nodes.numel())
    return place.add_(torch.arange(nodes.numel(), device=nodes.device))


def _sort_neighbours(
    indptr: Tensor, columns: Columns, key: Callable[[slice], Tensor], meter: Meter
) -> None:
    """Sort the in-edges of every node by a key, stably, in place."""
    for _, part, row in _neighbourhoods(indptr):
        order = torch.argsort(key(part).to(row.device), stable=True)
        order = order[torch.argsort(row[order], stable=True)]
        for column in columns.values():
            column[part] = column[part][order.to(column.device)]
        meter.advance(part.stop - part.start)


def _drop_repeats(indptr: Tensor, columns: Columns, meter: Meter) -> Tensor:
    """Keep the first of each run of one source into one node, and return the new `indptr`."""
    kept = torch.zeros_like(indptr)
    end = 0
    for first, part, row in _neighbourhoods(indptr):
        src = columns["indices"][part].to(row.device)
        fresh = torch.ones_like(src, dtype=torch.bool)
        fresh[1:] = (src[1:] != src[:-1]) | (row[1:] != row[:-1])
        _add_one_at(kept[first + 1 :], row[fresh])
        start, end = end, end + int(fresh.sum())
        for column in columns.values():
            column[start:end] = column[part][fresh.to(column.device)]
        meter.advance(part.stop - part.start)
    if end < int(indptr[-1]):
        for name in columns:
            columns[name] = columns[name][:end].clone()
    return kept.cumsum_(0)


def _neighbourhoods(indptr: Tensor) -> Iterator[tuple[int, slice, Tensor]]:
    """Go through the edges by runs of nodes: those of one chunk of edges, or one that has more.

    Yields:
        The first node of the run, the places of its edges, and for each of these the number of its
        destination in the run.
    """
    first, num_nodes = 0, indptr.numel() - 1
    while first < num_nodes:
        limit = indptr[first] + EDGES_AT_ONCE
        last = max(first + 1, int(torch.searchsorted(indptr, limit, right=True)) - 1)
        bounds = indptr[first : last + 1]
        part = slice(int(bounds[0]), int(bounds[-1]))
        row = torch.arange(last - first, device=indptr.device).repeat_interleave(bounds.diff())
        if part.start < part.stop:
            yield first, part, row
        first = last
