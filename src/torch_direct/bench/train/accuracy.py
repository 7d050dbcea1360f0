"""How well the model predicts that all systems have trained, where labels are real."""

from __future__ import annotations

from dataclasses import replace

import torch

from torch_direct.bench.train.data import TrainData
from torch_direct.bench.train.models import Net, Workload
from torch_direct.bench.train.ours import our_system
from torch_direct.bench.train.system import Case

_MOST_NODES = 10_000
"""Whose classes are predicted, chosen at random."""


def validation_accuracy(model: Net, data: TrainData, workload: Workload) -> float | None:
    """Return the part of the validation nodes whose class is predicted, in sampled neighbourhoods.

    Args:
        model: As it is trained so far.
        data: The graph.
        workload: Whose fanout is sampled.

    Returns:
        From 0 to 1; None where there are no validation nodes, as in a stand-in.
    """
    count = data.val_nodes.numel()
    size = min(workload.batch_size, count, _MOST_NODES)
    if size == 0:
        return None
    batches = min(count, _MOST_NODES) // size
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    nodes = data.val_nodes[order[: batches * size]]
    right = torch.zeros((), dtype=torch.int64, device=data.device)
    case = Case(replace(workload, batch_size=size), nodes, 0)
    with torch.no_grad(), our_system(data)(case) as ready:
        for batch in ready.batches(range(batches)):
            right += (model(batch).argmax(dim=1) == batch.y).sum()
    return int(right) / nodes.numel()
