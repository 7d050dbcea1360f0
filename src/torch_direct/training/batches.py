"""The batches of a data set, from the loader that every program has."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from torch_direct.errors import MissingExtraError
from torch_direct.graph import Graph
from torch_direct.sampler import NeighborSampler
from torch_direct.training.clock import Border, border
from torch_direct.training.placed import PlacedData

try:
    from torch_geometric.data import Data

    from torch_direct.loader import NeighborLoader
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "torch_geometric is not installed; models and batches are made with it: "
        "pip install 'torch-direct[train]'"
    ) from error


class Batches:
    """Batches of some nodes, which follow from the seed and the number of the epoch.

    They are what `td.NeighborLoader` makes, with two attributes more: `stages`, the borders of the
    stages that it was made in, and for models that read it `degree`, the in-degree of `n_id` in the
    whole graph. Where the model computes on a GPU they are made ahead of the training.
    """

    def __init__(
        self,
        placed: PlacedData,
        nodes: Tensor,
        fanout: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        shuffle: bool = False,
        degree: bool = False,
        prefetch: int = 2,
    ) -> None:
        """Make the loader.

        Args:
            placed: What to load from.
            nodes: Seed nodes, int64 `[num seeds]`.
            fanout: Of `torch_direct.sampler.NeighborSampler`.
            batch_size: Seeds of a batch.
            seed: From 0 to `2**32 - 1`.
            shuffle: Give every epoch an order of its own.
            degree: Add `degree`.
            prefetch: How many batches to make ahead, where the model computes on a GPU.
        """
        self._device = placed.device
        self._seed = seed
        self._order = torch.Generator()
        sampler = _TimedSampler(placed.graph, fanout)
        self._loader = NeighborLoader(
            Data(x=placed.x, y=placed.y),
            fanout,
            nodes,
            batch_size=batch_size,
            shuffle=shuffle,
            generator=self._order,
            neighbor_sampler=sampler,
            transform=partial(_finish, sampler, degree),
            prefetch=prefetch if self._device.type == "cuda" else 0,
            seed=seed,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, number: int, *, first: int = 0) -> Iterator[Any]:
        """Yield the batches of an epoch, on the device of the model.

        Args:
            number: Of the epoch, from 0.
            first: Of the batch to begin at.
        """
        self._loader.epoch = number
        self._order.manual_seed((self._seed << 24) + number)
        for batch in self._loader.batches(first):
            yield batch.to(self._device)


def _finish(sampler: _TimedSampler, degree: bool, batch: Any) -> Any:
    """Add to a batch what the training reads beside it."""
    if degree:
        batch.degree = sampler.graph.degree(batch.n_id)
    last, end = sampler.borders, border(batch.n_id.device)
    # A batch is sampled while the one before is gathered, and gathered once that is.
    batch.stages = {
        "sample": (last.start, last.sampled),
        "gather": (last.sampled, last.gathered or last.sampled, end),
    }
    last.gathered = end
    return batch


class _TimedSampler(NeighborSampler):
    """Keeps the borders of the last batch, for each thread that makes some."""

    def __init__(self, graph: Graph, fanout: Sequence[int]) -> None:
        super().__init__(graph, fanout)
        self.graph: Graph = graph
        self.borders = _Borders()

    @override
    def sample(self, *args: Any, **options: Any) -> Any:
        device = self.graph.indptr.device
        self.borders.start = border(device)
        drawn = super().sample(*args, **options)
        self.borders.sampled = border(device)
        return drawn


class _Borders(threading.local):
    start: Border
    sampled: Border
    gathered: Border | None = None
