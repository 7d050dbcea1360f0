"""What the loaders of nodes and of links share: they go through seeds and make batches."""

from __future__ import annotations

import functools
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from torch_direct.loader.arguments import (
    bytes_in_host_memory,
    check_data,
    check_device,
    check_edges,
    check_nodes,
    check_sampler,
    choose_device,
    device_of,
    sampler_for,
    say_ignored,
    without_ignored,
)
from torch_direct.loader.attributes import Attributes
from torch_direct.loader.outputs import DrawKey, Output, of_every_type
from torch_direct.loader.prefetch import Stages, on_device, prefetched, through
from torch_direct.sampler import NeighborSampler
from torch_direct.sampler.arguments import seed_number

_PREPARED = {"node_sampler", "_device", "_attributes", "_seeds", "_negatives"}
"""What follows from the arguments, and is made anew in another process."""

_DESCRIBED = ("batch", "num_sampled_nodes", "num_sampled_edges")
"""What batches and sampler outputs call alike."""


class GraphLoader(torch.utils.data.DataLoader[Any]):
    """A `DataLoader` over the positions of seeds, whose batches are graphs on one device.

    There are no worker processes: one thread makes the batches, on the GPU where there is one.
    """

    data: Any
    epoch: int
    """Number of the next epoch, from 0: with `seed` it says what is drawn. It may be set."""
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
                Lightning makes a loader anew.
        """
        named = {k: v for k, v in arguments.items() if k not in ("self", "kwargs", "__class__")}
        given = without_ignored(named | arguments["kwargs"])
        options = {k: v for k, v in given.items() if k not in named}
        vars(self).update(named)
        self.epoch = 0
        positions: Any = range(self._prepare())
        super().__init__(positions, collate_fn=self.collate_fn, **options)
        # An attribute that is a method of its own would be a cycle around registered memory.
        del self.collate_fn

    def _prepare(self) -> int:
        """Make all that is not among the arguments; return how many seeds there are."""
        check_data(self.data)
        if not isinstance(self.prefetch, int) or self.prefetch < 0:
            raise ValueError(f"prefetch is {self.prefetch!r}; expected 0 batches or more")
        if self.seed is not None:
            self.seed = seed_number(self.seed)
        self._choose_sampler()
        self._attributes = Attributes(self._device)
        count = self._read_seeds()
        self._attributes.register(self.data, graph=bytes_in_host_memory(self.node_sampler.graph))
        return count

    def _choose_sampler(self) -> None:
        """Make a sampler, or check the one that was given, and with it the device of batches."""
        if self.neighbor_sampler is None:
            self._device = choose_device(self.data, self.device)
            self.node_sampler = sampler_for(vars(self), self._device)
            return
        check_sampler("neighbor_sampler", self.neighbor_sampler)
        check_nodes(self.neighbor_sampler.graph, self.data)
        check_edges(self.neighbor_sampler.graph, self.data)
        self.node_sampler = self.neighbor_sampler
        self._device = device_of(self.node_sampler.graph)
        check_device(self.device, self._device)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Return the batches of an epoch, `prefetch` of them made in advance."""
        return self.batches()

    def batches(self, first: int = 0) -> Iterator[Any]:
        """Return the batches of an epoch from a number on, without making those before.

        Args:
            first: Number of the first one, from 0, such as that at which a program was stopped. The
                batches are those that it would have made if `seed` is set, `epoch` is what it was,
                and so is the state of `generator` (by default torch's), which shuffles.

        Raises:
            ValueError: `first` is below 0.
        """
        if first < 0:
            raise ValueError(f"first is {first}; expected the number of a batch, from 0")
        self._attributes.forget(self.data)
        draw = self._next_draw()
        self.epoch += 1
        tasks = (
            (index, replace(draw, batch=number))
            for number, index in islice(enumerate(self._index_sampler), first, None)
        )
        return prefetched(
            self._stages(), tasks, ahead=self.prefetch, device=self._device, shared=self._shared()
        )

    def _shared(self) -> list[Any]:
        """What batches hold in common with the data, as it is."""
        values = (value for store in self.data.stores for value in store.values())
        return [value for value in values if not isinstance(value, Tensor)]

    def __call__(self, index: Tensor | list[int]) -> Any:
        """Return the batch of the seeds at some positions.

        With `seed` the positions and `epoch` say what is drawn: set `epoch` to draw anew for them.

        Args:
            index: Positions among the seeds, integers, those below 0 from the end; or a mask, bool
                `[num seeds]`.

        Returns:
            A `Data` or `HeteroData`, on the device of the loader.

        Raises:
            IndexError: A position is none of a seed, or a mask has another length.
            TypeError: They are neither integers nor a mask.
        """
        positions = self._positions(index)
        draw = replace(self._next_draw(), batch=zlib.crc32(positions.numpy().tobytes()))
        with on_device(self._device):
            return through(self._stages(), (positions, draw))

    def collate_fn(self, index: Tensor | list[int]) -> Any:
        """As calling the loader."""
        return self(index)

    def filter_fn(self, batch: Any) -> Any:
        """Return a batch as it is: calling the loader has cut it, which PyG's do here."""
        return batch

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _PREPARED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def enable_cpu_affinity(self, loader_cores: object = None) -> AbstractContextManager[None]:
        """Do nothing: there are no workers, whose processors PyG's loaders choose here."""
        del loader_cores
        say_ignored("enable_cpu_affinity")
        return nullcontext()

    def enable_multithreading(self, worker_threads: object = None) -> AbstractContextManager[None]:
        """Do nothing: there are no workers, whose threads PyG's loaders choose here."""
        del worker_threads
        say_ignored("enable_multithreading")
        return nullcontext()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _next_draw(self) -> DrawKey:
        """Return the draw of this epoch, or one that is drawn as `DataLoader` draws its seed."""
        if self.seed is not None:
            return DrawKey(self.seed, self.epoch)
        number = torch.empty((), dtype=torch.int64, device="cpu")
        return DrawKey(int(number.random_(generator=self.generator)))

    def _stages(self) -> Stages:
        """Sampling waits for the latency of the link, gathering for its bandwidth."""
        return (self._draw, self._fetch)

    def _draw(self, task: tuple[Any, DrawKey]) -> Output:
        index, draw = task
        output = self._sample(self._positions(index), draw)
        if self.transform_sampler_output is not None:
            output = _checked(self.transform_sampler_output(output))
        return of_every_type(output, self.data, self._device)

    def _fetch(self, output: Output) -> Any:
        new_edges = self.neighbor_sampler is not None
        batch = self._attributes.cut(self.data, output, new_edges=new_edges)
        _describe(batch, output)
        self._label(batch, output.metadata)
        return batch if self.transform is None else self.transform(batch)

    def _positions(self, index: Any) -> Tensor:
        """Return positions among the seeds, int64 on the CPU, given as such or as a mask.

        As in PyG negative ones count from the end.
        """
        count = len(cast("range", self.dataset))
        if isinstance(index, list) and {*map(type, index)} == {int}:
            # What samplers give, a thousand at a time: NumPy reads a list faster than PyTorch.
            return _inside(torch.tensor(np.array(index, dtype=np.int64), device="cpu"), count)
        given = torch.as_tensor(index, device="cpu")
        if given.dtype == torch.bool:
            return torch.arange(count, device="cpu")[given]
        if given.is_floating_point() and given.numel() > 0:
            raise TypeError(
                f"index is {given.dtype}; expected positions among the seeds, which are integers, "
                "or a mask: convert it with .long()"
            )
        return _inside(given.reshape(-1).long(), count)

    @abstractmethod
    def _read_seeds(self) -> int:
        """Read the seeds; return how many there are."""

    @abstractmethod
    def _sample(self, index: Tensor, draw: DrawKey) -> Output:
        """Sample the seeds at some positions."""

    @abstractmethod
    def _label(self, batch: Any, metadata: Any) -> None:
        """Add to a batch what it says of its seeds."""


def _inside(index: Tensor, count: int) -> Tensor:
    """Return positions among so many, those below 0 counted from the end."""
    if index.numel() == 0:
        return index
    low, high = torch.aminmax(index)
    if low < -count or high >= count:
        raise IndexError(
            f"index has {int(high if high >= count else low)}; expected positions among the "
            f"{count} seeds: correct it, or the sampler that it is of"
        )
    return torch.where(index < 0, index + count, index) if low < 0 else index


def _checked(output: object) -> Output:
    if not isinstance(output, (SamplerOutput, HeteroSamplerOutput)):
        raise TypeError(
            f"transform_sampler_output returned a {type(output).__name__}; expected the "
            "SamplerOutput or HeteroSamplerOutput that it was given, changed or not: return it"
        )
    return output


def _describe(batch: Any, output: Output) -> None:
    """Add to a batch what it says of its nodes and edges."""
    if not isinstance(output, HeteroSamplerOutput):
        store = batch.stores[0]
        for name, ids in (("n_id", output.node), ("e_id", output.edge)):
            if ids is not None and name not in store:
                store[name] = ids
        for name in _DESCRIBED:
            store[name] = getattr(output, name)
        return
    store_of = functools.cache(batch.__getitem__)  # which compares with every type
    for name, values in (("n_id", output.node), ("e_id", output.edge)):
        for kind, ids in (values or {}).items():
            if ids is not None and name not in store_of(kind):
                store_of(kind)[name] = ids
    for name in _DESCRIBED:
        for kind, value in (getattr(output, name) or {}).items():
            store_of(kind)[name] = value
