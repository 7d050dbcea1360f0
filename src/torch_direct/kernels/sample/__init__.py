"""Sample the in-neighbourhoods of seed nodes, hop by hop."""

from __future__ import annotations

from collections.abc import Sequence

from torch_direct.kernels.backend import use_triton
from torch_direct.kernels.sample import reference
from torch_direct.kernels.sample.hops import ALL, Hop, Relation, Sample, Seeds

__all__ = ["ALL", "Hop", "Relation", "Sample", "Seeds", "sample_hops"]


def sample_hops(
    relations: Sequence[Relation],
    num_nodes: Sequence[int],
    seeds: Seeds,
    hops: Sequence[Sequence[Hop]],
    *,
    over_link: bool = False,
) -> Sample:
    """Sample the in-neighbourhoods of seeds; a vertex is expanded in the hop after it is first met.

    On a GPU it waits once, at its end, and once or more for every hop without a bound.

    Args:
        relations: the graph.
        num_nodes: nodes of each type.
        seeds: where to start, on the device that reads the graph.
        hops: what to draw of every relation, nearest the seeds first.
        over_link: whether the graph lies in host memory, rather than in GPU memory.

    Returns:
        The sample, on the device of the seeds.

    Raises:
        IndexError: a seed lies outside the graph.
        ValueError: a seed is given more than once and trees are not disjoint; a node that draws has
            more than `2**31 - 1` in-edges.
    """
    some = seeds.num_seeds > 0 and any(r.indices.numel() > 0 for r in relations)
    if not (some and all(_readable(relation) for relation in relations)):
        return reference.sample_hops(relations, num_nodes, seeds, hops)
    from torch_direct.kernels.sample.device import sample_hops as sample_on_device

    return sample_on_device(relations, num_nodes, seeds, hops, over_link=over_link)


def _readable(relation: Relation) -> bool:
    """Whether kernels can read a relation."""
    tensors = (relation.indptr, relation.indices, relation.prefix, relation.time)
    return all(t is None or (t.is_contiguous() and use_triton(t)) for t in tensors)
