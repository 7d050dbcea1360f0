"""Power-law graphs with planted communities, made straight in CSC, of any size that fits.

The graph is a directed stochastic block model (Holland, Laskey and Leinhardt, Social Networks 1983)
corrected for degrees (Karrer and Newman, Physical Review E 2011): every node has a rank, and the
node of rank `r` has in-edges, and is picked as a source, in proportion to `(r + 1) ** -s`, which
gives in- and out-degrees a power law with the exponent `1 + 1 / s`. Ranks are shuffled over node
ids. An edge may repeat and may be a self-loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_direct.datasets.dataset import NodeDataset
from torch_direct.errors import HostMemoryError
from torch_direct.graph import Graph
from torch_direct.kernels.philox import philox, split
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.memory.pages import require_available

_CHUNK = 1 << 24
_UNIFIED_FROM_BYTES = 1 << 28
_MAX_NODES = 2**31 - 1
_MAX_TRAIN, _MAX_EVALUATED = 1_000_000, 100_000
_STREAMS = {"ranks": 0, "degrees": 1, "edges": 2, "centres": 3, "features": 4, "splits": 5}


@dataclass(frozen=True)
class SyntheticSpec:
    """Size and difficulty of a synthetic data set.

    Raises:
        ValueError: A value is out of its range; the message names it.
    """

    num_nodes: int = 20_000
    """Number of nodes, at most `2**31 - 1`."""
    avg_degree: float = 15.0
    """Mean in-degree, which comes out within a few per cent."""
    num_features: int = 64
    """Features of a node."""
    num_classes: int = 8
    """Communities, of one size; a node's community is its label."""
    homophily: float = 0.5
    """Probability that an edge comes from the community of the node that it goes to."""
    noise: float = 0.6
    """Standard deviation of each feature about the centre of its community, of length 1."""
    exponent: float = 2.5
    """Exponent of the power law of the degrees; above 2, and the lower, the larger the hubs."""
    dtype: torch.dtype = torch.float32
    """Type of the features."""

    def __post_init__(self) -> None:
        checks = {
            "num_classes": (self.num_classes >= 2, "at least 2"),
            "num_nodes": (
                4 * self.num_classes <= self.num_nodes <= _MAX_NODES,
                f"from {4 * self.num_classes}, four for each class, to {_MAX_NODES}",
            ),
            "avg_degree": (0 <= self.avg_degree < self.num_nodes, "from 0 to below num_nodes"),
            "num_features": (self.num_features >= 1, "at least 1"),
            "homophily": (0 <= self.homophily <= 1, "from 0 to 1"),
            "noise": (self.noise >= 0, "0 or more"),
            "exponent": (self.exponent > 2, "above 2"),
            "dtype": (self.dtype.is_floating_point, "a floating point type"),
        }
        for name, (holds, expected) in checks.items():
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)}; expected {expected}")


def make_synthetic(spec: SyntheticSpec, *, seed: int = 0, shared: bool = False) -> NodeDataset:
    """Make the data set, in chunks, on the GPU if there is one.

    Half of the nodes (at most a million) are for training, a quarter each (at most 100,000) for
    validation and test. The seed decides everything, for one type of device.

    Args:
        spec: What to make.
        seed: 64 bits.
        shared: Put the graph and the features into unified memory that forked children can read,
            whatever their size.

    Returns:
        The data set; indices are int32. Where there is a GPU, the graph and the features of a data
        set of 256 MiB or more are unified tensors; all else is in ordinary memory.

    Raises:
        HostMemoryError: The data set does not fit in free host memory.
    """
    _require_memory(spec)
    return _Maker(spec, seed, shared=shared).make()


def _require_memory(spec: SyntheticSpec) -> None:
    """Raise before any work is done, not when the last part is allocated."""
    per_node = spec.num_features * spec.dtype.itemsize + torch.int32.itemsize * spec.avg_degree
    # Besides features and sources every node has a label and an entry of indptr.
    nbytes = round(spec.num_nodes * (per_node + 2 * torch.int64.itemsize))
    purpose = (
        f"synthetic data of {spec.num_nodes:,} nodes (--nodes), {spec.num_features:,} features "
        f"(--features) and mean in-degree {spec.avg_degree:g} (--degree)"
    )
    try:
        require_available(nbytes, purpose)
    except HostMemoryError:
        # A data set that was made before and is no longer in use may wait there for reuse.
        HOST_MEMORY.empty_cache()
        require_available(nbytes, purpose)


class _Maker:
    """One data set in the making; holds what all chunks share, on the device that computes."""

    def __init__(self, spec: SyntheticSpec, seed: int, *, shared: bool) -> None:
        self.spec = spec
        self.seed = seed
        self.shared = shared
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.decay = 1 / (spec.exponent - 1)
        self.node_of_rank = self._permutation("ranks")
        self.rank_of_node = torch.empty_like(self.node_of_rank)
        self.rank_of_node[self.node_of_rank] = torch.arange(
            spec.num_nodes, dtype=torch.int32, device=self.device
        )

    def make(self) -> NodeDataset:
        x, y = self._features()
        return NodeDataset(
            name="synthetic",
            graph=self._graph(),
            x=x,
            y=y,
            num_classes=self.spec.num_classes,
            metric="accuracy",
            **self._splits(),
        )

    def _graph(self) -> Graph:
        indptr = self._allocate((self.spec.num_nodes + 1,), torch.int64)
        indptr[:1] = 0
        num_edges = 0
        for number, start, end in self._node_chunks(width=1):
            ends = self._degrees(number, start, end).cumsum(0) + num_edges
            indptr[start + 1 : end + 1].copy_(ends)
            num_edges = int(ends[-1])
        indices = self._allocate((num_edges,), torch.int32)
        for number, start, end in self._node_chunks(width=max(1, round(self.spec.avg_degree))):
            bounds = indptr[start : end + 1].to(self.device, copy=True)
            sources = self._sources(number, start, bounds.diff())
            indices[int(bounds[0]) : int(bounds[-1])].copy_(sources)
        return Graph(indptr, indices)

    def _degrees(self, number: int, start: int, end: int) -> Tensor:
        """Return the in-degrees of the nodes `[start, end)`, rounded up or down at random."""
        spec, decay = self.spec, self.decay
        rank = self.rank_of_node[start:end].double()
        mean = spec.avg_degree * (1 - decay) * (spec.num_nodes / (rank + 0.5)) ** decay
        coin = self._uniform(end - start, self._generator("degrees", number))
        return (mean.clamp(max=spec.num_nodes) + coin).long()

    def _sources(self, number: int, start: int, degree: Tensor) -> Tensor:
        """Draw the sources of all in-edges of the nodes from `start` on, int32."""
        spec = self.spec
        generator = self._generator("edges", number)
        own = self.rank_of_node[start : start + degree.numel()].long() % spec.num_classes
        own = own.repeat_interleave(degree)
        other = torch.randint(
            1, spec.num_classes, own.shape, generator=generator, device=self.device
        )
        stays = self._uniform(own.numel(), generator) < spec.homophily
        community = torch.where(stays, own, (own + other) % spec.num_classes)
        size = (spec.num_nodes - 1 - community) // spec.num_classes + 1
        skewed = self._uniform(own.numel(), generator).pow_(1 / (1 - self.decay))
        position = (skewed * size).long().clamp_(max=size - 1)
        return self.node_of_rank[position * spec.num_classes + community]

    def _features(self) -> tuple[Tensor, Tensor]:
        spec = self.spec
        x = self._allocate((spec.num_nodes, spec.num_features), spec.dtype)
        y = torch.empty(spec.num_nodes, dtype=torch.int64, device="cpu")
        centres = torch.randn(
            spec.num_classes,
            spec.num_features,
            generator=self._generator("centres", 0),
            device=self.device,
        )
        centres /= centres.norm(dim=1, keepdim=True)
        for number, start, end in self._node_chunks(width=spec.num_features):
            community = self.rank_of_node[start:end].long() % spec.num_classes
            generator = self._generator("features", number)
            chunk = torch.randn(
                end - start, spec.num_features, generator=generator, device=self.device
            )
            chunk.mul_(spec.noise).add_(centres[community])
            # Converted here, so that the copy to host memory is one of bytes.
            x[start:end].copy_(chunk.to(spec.dtype))
            y[start:end].copy_(community)
        return x, y

    def _splits(self) -> dict[str, Tensor]:
        num_nodes = self.spec.num_nodes
        num_train = min(num_nodes // 2, _MAX_TRAIN)
        num_other = min(num_nodes // 4, _MAX_EVALUATED)
        nodes = self._permutation("splits")[: num_train + 2 * num_other].long().cpu()
        train, val, test = nodes.split([num_train, num_other, num_other])
        return {"train_idx": train.clone(), "val_idx": val.clone(), "test_idx": test.clone()}

    def _allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return host memory; unified if the data set is large and there is a GPU to write it."""
        spec = self.spec
        nbytes = spec.num_nodes * (spec.num_features * spec.dtype.itemsize + 4 * spec.avg_degree)
        is_small = self.device.type == "cpu" or nbytes < _UNIFIED_FROM_BYTES
        if is_small and not self.shared:
            return torch.empty(shape, dtype=dtype, device="cpu")
        from torch_direct.tensor.create import empty

        return empty(shape, dtype=dtype, shared=self.shared)

    def _permutation(self, stream: str) -> Tensor:
        return torch.randperm(
            self.spec.num_nodes,
            generator=self._generator(stream, 0),
            dtype=torch.int32,
            device=self.device,
        )

    def _uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` numbers of [0, 1), fine enough to reach each of 2**31 nodes."""
        return torch.rand(count, generator=generator, dtype=torch.float64, device=self.device)

    def _generator(self, stream: str, number: int) -> torch.Generator:
        """Return the generator of one chunk of one stream, independent of all others."""
        low, high, _, _ = philox((number, _STREAMS[stream], 0, 0), split(self.seed))
        return torch.Generator(self.device).manual_seed(high << 32 | low)

    def _node_chunks(self, width: int) -> Iterator[tuple[int, int, int]]:
        """Yield `(number, start, end)` of runs of nodes with about `_CHUNK` entries each."""
        step = max(1, _CHUNK // width)
        for number, start in enumerate(range(0, self.spec.num_nodes, step)):
            yield number, start, min(start + step, self.spec.num_nodes)
