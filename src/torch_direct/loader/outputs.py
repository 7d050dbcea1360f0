"""Draws of the sampler as PyG's sampler outputs: what its loaders and transforms expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput, NodeSamplerInput, SamplerOutput

from torch_direct.graph import HeteroGraph
from torch_direct.kernels.philox import philox, split
from torch_direct.sampler import NeighborSampler

Output: TypeAlias = SamplerOutput | HeteroSamplerOutput

_NO_HOP = 2**32 - 1


@dataclass(frozen=True)
class DrawKey:
    """Which batch of which epoch, under which seed; decides all that is random in a batch."""

    seed: int
    epoch: int = 0
    batch: int = 0

    def generator(self) -> torch.Generator:
        """Return a generator for what is drawn beside the neighbours."""
        # Of a seed PyTorch's generator on the CPU takes 32 bits. The neighbours have no such hop.
        word, _, _, _ = philox((self.epoch, self.batch, _NO_HOP, 0), split(self.seed))
        return torch.Generator().manual_seed(word)


def node_output(sampler: NeighborSampler, seeds: NodeSamplerInput, draw: DrawKey) -> Output:
    """Sample the neighbourhoods of nodes.

    Where a node is there more than once, as where a `DataLoader`'s sampler draws with replacement,
    the seeds of the batch get trees of their own, so that each has its neighbours.

    Args:
        sampler: Where from; its own seed is not used.
        seeds: The nodes.
        draw: Which draw.

    Returns:
        The output, on the device of the sampler; `metadata` holds the ids and times of the seeds.
    """
    repeated = not sampler.disjoint and seeds.node.unique().numel() < seeds.node.numel()
    output = sample(
        sampler, seeds.node, seeds.time, seeds.input_type, draw, disjoint=bool(repeated)
    )
    if repeated:
        output.batch = None
    output.metadata = beside(output, seeds.input_id, seeds.time)
    return output


def sample(
    sampler: NeighborSampler,
    seeds: Tensor | Mapping[str, Tensor],
    time: Tensor | Mapping[str, Tensor] | None,
    input_type: str | None,
    draw: DrawKey,
    *,
    disjoint: bool = False,
) -> Output:
    """Sample the neighbourhoods of seeds of one type or more, without `metadata`."""
    one: Any = sampler  # no overload takes seeds of either form
    batch = one.sample(
        seeds,
        seed_time=time,
        input_type=input_type,
        seed=draw.seed,
        epoch=draw.epoch,
        batch=draw.batch,
        disjoint=disjoint,
    )
    directional = sampler.subgraph_type == "directional"
    hops = (batch.num_sampled_nodes, batch.num_sampled_edges) if directional else (None, None)
    if not isinstance(sampler.graph, HeteroGraph):
        row, col = batch.edge_index.unbind()
        return SamplerOutput(batch.n_id, row, col, batch.e_id, batch.batch, *hops)
    row = {kind: edge_index[0] for kind, edge_index in batch.edge_index.items()}
    col = {kind: edge_index[1] for kind, edge_index in batch.edge_index.items()}
    return HeteroSamplerOutput(batch.n_id, row, col, batch.e_id, batch.batch, *hops)


def of_every_type(output: Output, data: Any, device: torch.device) -> Output:
    """Return an output with empty tensors for the types of `data` that it leaves out."""
    if isinstance(output, SamplerOutput):
        return output
    none = torch.empty(0, dtype=torch.int64, device=device)
    no_edges = dict.fromkeys(data.edge_types, none)
    return replace(
        output,
        node=dict.fromkeys(data.node_types, none) | output.node,
        row=no_edges | output.row,
        col=no_edges | output.col,
        edge=None if output.edge is None else no_edges | output.edge,
    )


def beside(output: Output, *values: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return CPU tensors on the device of an output, without waiting for it."""
    node = output.node
    device = (next(iter(node.values())) if isinstance(node, Mapping) else node).device
    if device.type == "cpu":
        return values
    return tuple(
        None if value is None else value.pin_memory().to(device, non_blocking=True)
        for value in values
    )
