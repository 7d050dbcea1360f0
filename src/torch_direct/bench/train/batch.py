"""A batch as the training step takes it, whichever system made it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Ready on the current stream of the device that trains."""

    x: Tensor
    """Features of `n_id`, in the dtype in which they are stored."""
    y: Tensor
    """Classes of the seeds, int64 `[batch_size]`."""
    n_id: Tensor
    """Global ids of the nodes, the seeds first, int32 or int64."""
    edge_index: Tensor
    """Local ids, int64 `[2, num_edges]`, hop by hop."""
    num_sampled_nodes: list[int]
    """Nodes first met in each hop, one entry more than hops."""
    num_sampled_edges: list[int]
    """Edges of each hop."""
    link_bytes: int
    """Useful bytes that were read or copied out of host memory for it."""
