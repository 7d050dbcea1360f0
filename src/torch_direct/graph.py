"""A graph in compressed sparse column form (CSC): for every node, where its in-edges come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_direct.errors import GraphError

_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class Graph:
    """A directed graph; the in-neighbours of node `v` are `indices[indptr[v]:indptr[v + 1]]`.

    Making one checks nothing and copies nothing, so that a graph of billions of edges costs
    nothing to wrap; call `validate` on data that you did not make yourself.
    """

    indptr: Tensor
    """Where every node's in-edges start: int64 `[num_nodes + 1]`."""
    indices: Tensor
    """Source node of every edge: int32 or int64 `[num_edges]`."""

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.indptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """Number of edges; an undirected edge counts twice."""
        return self.indices.numel()

    def degree(self, nodes: Tensor) -> Tensor:
        """Return the in-degree of `nodes`.

        Args:
            nodes: Node ids, integer, of any shape.

        Returns:
            int64 of the shape of `nodes`, on the device where indexing `indptr` with them computes.
        """
        nodes = nodes.long()
        return self.indptr[nodes + 1] - self.indptr[nodes]

    def validate(self) -> None:
        """Check the whole graph, a few million entries at a time.

        Raises:
            GraphError: A tensor has the wrong dtype or shape; `indptr` does not start at 0, falls,
                or does not end at the number of edges; an index lies outside `[0, num_nodes)`.
                The message names the first place.
        """
        self._validate_layout()
        self._validate_indptr()
        self._validate_indices()

    @staticmethod
    def from_edge_index(
        edge_index: Tensor, num_nodes: int, *, symmetric: bool = False, coalesce: bool = False
    ) -> Graph:
        """Build a graph from a list of edges by a stable sort on the destination.

        Every edge given is kept, self-loops and repeated edges too, and edges into the same node
        keep the order in which they were given, unless `coalesce` asks otherwise.

        Args:
            edge_index: int32 or int64 `[2, num_edges]`; row 0 is the source, row 1 the
                destination. `indices` gets its dtype and device.
            num_nodes: Number of nodes.
            symmetric: Add the reverse of every edge that is not a self-loop, after the edges given.
            coalesce: Keep one of each set of repeated edges, and order the edges into a node by
                source.

        Raises:
            GraphError: `edge_index` has another dtype or shape, or a node outside
                `[0, num_nodes)`.
        """
        _check_edge_index(edge_index, num_nodes)
        src, dst = edge_index
        if symmetric:
            reverse = src != dst
            src, dst = torch.cat([src, dst[reverse]]), torch.cat([dst, src[reverse]])
        if coalesce:
            src, dst = _coalesce(src, dst)
        order = torch.sort(dst, stable=True).indices
        indptr = torch.zeros(num_nodes + 1, dtype=torch.int64, device=dst.device)
        torch.cumsum(torch.bincount(dst, minlength=num_nodes), 0, out=indptr[1:])
        return Graph(indptr, src[order])

    def to_unified(self, device: torch.device | str | None = None) -> Graph:
        """Return the same graph as unified tensors over the same memory; nothing is copied.

        Args:
            device: The device that reads it, by default the current GPU.

        Raises:
            UnifiedMemoryError: The memory cannot be registered with CUDA.
        """
        from torch_direct.tensor.create import unified

        return Graph(unified(self.indptr, device=device), unified(self.indices, device=device))

    def to(self, device: torch.device | str) -> Graph:
        """Return the graph with both tensors on `device`; what is there already is not copied."""
        return Graph(self.indptr.to(device), self.indices.to(device))

    def _validate_layout(self) -> None:
        if self.indptr.dtype != torch.int64 or self.indptr.dim() != 1 or self.indptr.numel() == 0:
            raise GraphError(
                f"indptr is {self.indptr.dtype} of shape {tuple(self.indptr.shape)}; expected "
                "torch.int64 of shape (num_nodes + 1,): convert it with .long(), begin it with 0"
            )
        if self.indices.dtype not in (torch.int32, torch.int64) or self.indices.dim() != 1:
            raise GraphError(
                f"indices is {self.indices.dtype} of shape {tuple(self.indices.shape)}; expected "
                "torch.int32 or torch.int64 of shape (num_edges,): convert with .int() or .long()"
            )

    def _validate_indptr(self) -> None:
        if (first := int(self.indptr[0])) != 0:
            raise GraphError(f"indptr[0] is {first}; expected 0: subtract it from all of indptr")
        for start, chunk in _chunks(self.indptr, overlap=1):
            falls = chunk[1:] < chunk[:-1]
            if falls.any():
                at = start + int(falls.nonzero()[0])
                raise GraphError(
                    f"indptr falls from {int(self.indptr[at])} at {at} to "
                    f"{int(self.indptr[at + 1])} at {at + 1}; expected each entry at least as "
                    "large as the one before: build it as the running sum of the in-degrees"
                )
        if (last := int(self.indptr[-1])) != self.num_edges:
            raise GraphError(
                f"indptr ends at {last} but indices has {self.num_edges} entries; expected the "
                "same number: one of the two is truncated or belongs to another graph"
            )

    def _validate_indices(self) -> None:
        for start, chunk in _chunks(self.indices):
            low, high = (int(end) for end in torch.aminmax(chunk))
            if low >= 0 and high < self.num_nodes:
                continue
            at = start + int(((chunk < 0) | (chunk >= self.num_nodes)).nonzero()[0])
            raise GraphError(
                f"indices[{at}] is {int(self.indices[at])}; expected a node in "
                f"[0, {self.num_nodes}): drop the edge, or give indptr one entry for every node"
            )


def _chunks(values: Tensor, overlap: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Yield `(start, values[start : start + _CHUNK + overlap])` until all of `values` was seen."""
    for start in range(0, values.numel(), _CHUNK):
        yield start, values[start : start + _CHUNK + overlap]


def _check_edge_index(edge_index: Tensor, num_nodes: int) -> None:
    shape = tuple(edge_index.shape)
    if edge_index.dtype not in (torch.int32, torch.int64) or len(shape) != 2 or shape[0] != 2:
        raise GraphError(
            f"edge_index is {edge_index.dtype} of shape {shape}; expected torch.int32 or "
            "torch.int64 of shape (2, num_edges): transpose it if it holds one edge a row"
        )
    if edge_index.numel() == 0:
        return
    low, high = (int(end) for end in torch.aminmax(edge_index))
    if low < 0 or high >= num_nodes:
        raise GraphError(
            f"edge_index names node {low if low < 0 else high}; expected nodes in "
            f"[0, {num_nodes}): correct the edge or num_nodes"
        )


def _coalesce(src: Tensor, dst: Tensor) -> tuple[Tensor, Tensor]:
    """Sort edges by (destination, source) and keep one of each."""
    order = torch.sort(src, stable=True).indices
    order = order[torch.sort(dst[order], stable=True).indices]
    src, dst = src[order], dst[order]
    first = torch.ones_like(src, dtype=torch.bool)
    first[1:] = (src[1:] != src[:-1]) | (dst[1:] != dst[:-1])
    return src[first], dst[first]
