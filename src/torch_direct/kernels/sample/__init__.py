"""Sample the in-neighbourhoods of seed nodes, hop by hop."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from torch_direct.kernels.backend import use_triton
from torch_direct.kernels.sample import reference
from torch_direct.kernels.sample.hops import ALL, Hop, Sample

__all__ = ["ALL", "Hop", "Sample", "sample_hops"]


def sample_hops(
    indptr: Tensor,
    indices: Tensor,
    seeds: Tensor,
    hops: Sequence[Hop],
    *,
    disjoint: bool = False,
    over_link: bool = False,
) -> Sample:
    """Sample the in-neighbourhoods of seeds; a vertex is expanded in the hop after it is first met.

    On a GPU it waits once, at its end, and once or more for every hop without a bound.

    Args:
        indptr: `[num_nodes + 1]`, int32 or int64, where every node's in-edges begin.
        indices: `[num_edges]`, int32 or int64, the source of every edge.
        seeds: `[batch_size]`, int64, on the device that reads the graph.
        hops: what to draw, nearest the seeds first.
        disjoint: whether every seed has a tree of its own: what is met from two seeds is two
            vertices, and draws differ.
        over_link: whether the graph lies in host memory, rather than in GPU memory.

    Returns:
        The sample, on the device of the seeds.

    Raises:
        IndexError: a seed lies outside the graph.
        ValueError: a seed is given more than once and `disjoint` is False; a node that draws has
            more than `2**31 - 1` in-edges.
    """
    some = seeds.numel() > 0 and indices.numel() > 0 and indptr.numel() > 1
    readable = indptr.is_contiguous() and indices.is_contiguous() and use_triton(indices)
    if not (some and readable):
        return reference.sample_hops(indptr, indices, seeds, hops, disjoint=disjoint)
    from torch_direct.kernels.sample.device import sample_hops as sample_on_device

    return sample_on_device(indptr, indices, seeds, hops, disjoint=disjoint, over_link=over_link)
