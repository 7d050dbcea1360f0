"""Multi-hop sampling on a GPU that waits for it once, when all hops are queued."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from torch_direct.kernels.sample.batch import QueuedBatch, Task
from torch_direct.kernels.sample.hops import Hop, Relation, Sample, Seeds
from torch_direct.kernels.sample.kept import Kept

_kept = Kept()


def sample_hops(
    relations: Sequence[Relation],
    num_nodes: Sequence[int],
    seeds: Seeds,
    hops: Sequence[Sequence[Hop]],
    *,
    over_link: bool,
) -> Sample:
    """As `torch_direct.kernels.sample.sample_hops`."""
    with torch.cuda.device_of(seeds.groups[0][1]):
        roots = _inside(seeds, num_nodes).vertices(len(num_nodes))
        task = Task(relations, num_nodes, roots, seeds, hops, over_link)
        shape = task.shape
        batch = _kept.take(shape)
        if batch is None:
            batch = QueuedBatch(task)
        else:
            batch.repeat(task)
        sample = batch.read()
        _kept.give(shape, batch)
        if sum(by_hop[0] for by_hop in sample.num_vertices) < seeds.num_seeds:
            seeds.check(num_nodes)
        return sample


def _inside(seeds: Seeds, num_nodes: Sequence[int]) -> Seeds:
    """Seeds whose vertices do not overflow: those out of range are next to it."""
    if not seeds.disjoint:
        return seeds
    return seeds._replace(
        groups=[(kind, nodes.clamp(-1, num_nodes[kind])) for kind, nodes in seeds.groups]
    )
