"""What the loaders of nodes and of links share: they go through seeds and make batches."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput

from torch_direct.loader.arguments import (
    check_data,
    check_sampler,
    device_for,
    device_of,
    sampler_for,
    without_ignored,
)
from torch_direct.loader.attributes import Attributes
from torch_direct.loader.outputs import Draw, Output
from torch_direct.loader.prefetch import on_device, prefetched
from torch_direct.sampler import NeighborSampler


class GraphLoader(torch.utils.data.DataLoader[Any]):
    """A `DataLoader` over the positions of seeds, whose batches are graphs on one device.

    There are no worker processes: one thread makes the batches, on the GPU where there is one.
    """

    data: Any
    device: torch.device | str | int | None
    neighbor_sampler: NeighborSampler | None
    prefetch: int
    seed: int | None
    transform: Any
    transform_sampler_output: Any

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """Make the sampler, read the seeds, and register the data with CUDA.

        Args:
            arguments: The local names of the constructor. They become attributes, of which
                Lightning and pickle make a loader anew.
        """
        named = {k: v for k, v in arguments.items() if k not in ("self", "kwargs", "__class__")}
        given = without_ignored(named | arguments["kwargs"])
        self._torch_options = {k: v for k, v in given.items() if k not in named}
        vars(self).update(named)
        check_data(self.data)
        if self.prefetch < 0:
            raise ValueError(f"prefetch is {self.prefetch}; expected 0 batches or more")
        if self.neighbor_sampler is None:
            self._device = device_for(self.data, self.device)
            self.node_sampler = sampler_for(named, self._device)
        else:
            check_sampler("neighbor_sampler", self.neighbor_sampler)
            self.node_sampler = self.neighbor_sampler
            self._device = device_of(self.node_sampler.graph)
        self.epoch = 0
        self._attributes = Attributes(self._device)
        count = self._read_seeds()
        positions: Any = range(count)
        super().__init__(positions, collate_fn=self.collate_fn, **self._torch_options)
        # An attribute that is a method of its own would be a cycle around registered memory.
        del self.collate_fn
        self._attributes.register(self.data, graph=self.node_sampler.graph.nbytes)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Return the batches of an epoch, `prefetch` of them made in advance."""
        first = self._next_draw()
        self.epoch += 1
        tasks = (
            (index, replace(first, batch=number))
            for number, index in enumerate(self._index_sampler)
        )
        return prefetched(self._make, tasks, ahead=self.prefetch, device=self._device)

    def __call__(self, index: Tensor | list[int]) -> Any:
        """Return the batch of the seeds at some positions.

        Args:
            index: Positions among the seeds.
        """
        with on_device(self._device):
            return self._make((index, self._next_draw()))

    def collate_fn(self, index: Tensor | list[int]) -> Any:
        """As calling the loader."""
        return self(index)

    def __reduce__(self) -> Any:
        names = inspect.signature(type(self).__init__).parameters
        kept = {name: getattr(self, name) for name in names if name not in ("self", "kwargs")}
        return _make_anew, (type(self), kept | self._torch_options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _next_draw(self) -> Draw:
        """Return the draw of this epoch, or one that is drawn as `DataLoader` draws its seed."""
        if self.seed is not None:
            return Draw(self.seed, self.epoch)
        return Draw(int(torch.empty((), dtype=torch.int64).random_(generator=self.generator)))

    def _make(self, task: tuple[Any, Draw]) -> Any:
        index, draw = task
        output = self._sample(torch.as_tensor(index, dtype=torch.int64).reshape(-1), draw)
        if self.transform_sampler_output is not None:
            output = self.transform_sampler_output(output)
        batch = self._attributes.cut(self.data, output)
        _describe(batch, output)
        self._label(batch, output.metadata)
        return batch if self.transform is None else self.transform(batch)

    @abstractmethod
    def _read_seeds(self) -> int:
        """Read the seeds; return how many there are."""

    @abstractmethod
    def _sample(self, index: Tensor, draw: Draw) -> Output:
        """Sample the seeds at some positions."""

    @abstractmethod
    def _label(self, batch: Any, metadata: Any) -> None:
        """Add to a batch what it says of its seeds."""


def _describe(batch: Any, output: Output) -> None:
    """Add to a batch what it says of its nodes and edges."""
    if not isinstance(output, HeteroSamplerOutput):
        ids = {"n_id": output.node, "e_id": output.edge}
        batch.update({name: value for name, value in ids.items() if name not in batch})
        batch.batch = output.batch
        batch.num_sampled_nodes = output.num_sampled_nodes
        batch.num_sampled_edges = output.num_sampled_edges
        return
    for name, values in (("n_id", output.node), ("e_id", output.edge)):
        for kind, value in values.items():
            if name not in batch[kind]:
                batch[kind][name] = value
    batch.set_value_dict("batch", output.batch)
    batch.set_value_dict("num_sampled_nodes", output.num_sampled_nodes)
    batch.set_value_dict("num_sampled_edges", output.num_sampled_edges)


def _make_anew(kind: type[GraphLoader], arguments: dict[str, Any]) -> GraphLoader:
    build: Any = kind
    loader: GraphLoader = build(**arguments)
    return loader
