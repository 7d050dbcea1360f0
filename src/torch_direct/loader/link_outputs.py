"""The neighbourhoods of links: both ends are seeds, and so are those of negative links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import EdgeSamplerInput

from torch_direct.loader.negatives import Negatives
from torch_direct.loader.outputs import DrawKey, Output, beside, sample
from torch_direct.sampler import NeighborSampler


def link_output(
    sampler: NeighborSampler, seeds: EdgeSamplerInput, negatives: Negatives | None, draw: DrawKey
) -> Output:
    """Sample the neighbourhoods of both ends of links, and of negative links beside them.

    Args:
        sampler: Where from; its own seed is not used.
        seeds: The links.
        negatives: What to draw negative links from.
        draw: Which draw.

    Returns:
        The output, on the device of the sampler, with the `metadata` that PyG's samplers give: ids,
        then the places of the links, their labels and their times; or, for triplets, the places of
        the sources, of the destinations and of the negative destinations, and the times.
    """
    disjoint = sampler.disjoint
    links = _Links(seeds.row.numel(), seeds.row, seeds.col, seeds.label, seeds.time, seeds.time)
    if negatives is not None:
        links = _with_negatives(links, negatives, draw.generator(), disjoint=disjoint)
    output, src_place, dst_place = _sample_ends(sampler, links, seeds.input_type, draw)
    if disjoint:
        # Trees of all sources, then those of all destinations; negatives follow their links.
        every = links.src.numel()
        output.batch = _each(output.batch, lambda tree: tree % every % links.count)
    if negatives is None or negatives.config.is_binary():
        found: Any = (torch.stack([src_place, dst_place]), links.label, links.src_time)
    else:
        first, more = dst_place[: links.count], dst_place[links.count :]
        shape = links.count, negatives.config.amount
        more = more.view(shape[::-1]).t() if disjoint else more.view(shape)
        found = (src_place, first, more.squeeze(-1), links.src_time)
    output.metadata = beside(output, seeds.input_id, *found)
    return output


@dataclass(frozen=True, eq=False)
class _Links:
    """Links, and negative ones after them."""

    count: int
    """How many are not negative."""
    src: Tensor
    dst: Tensor
    label: Tensor | None
    src_time: Any
    dst_time: Any


def _with_negatives(
    links: _Links, negatives: Negatives, generator: torch.Generator, *, disjoint: bool
) -> _Links:
    """Append negative ends, which have the times of the links that they stand beside.

    The negatives of a link follow each other, as PyG has them; in disjoint trees, and with times,
    they are as many as there are links apart.
    """
    number = torch.arange(negatives.count(links.count), device="cpu")
    total = links.count + number.numel()
    every = _repeated(links.src_time, total)
    latest = None if every is None else every[links.count :]
    if negatives.config.is_binary():
        src, dst = negatives.draw(number.numel(), latest, generator)
        label = torch.ones(links.count, device="cpu") if links.label is None else links.label
        label = torch.cat([label, label.new_zeros(number.numel(), *label.shape[1:])])
        src, dst = torch.cat([links.src, src]), torch.cat([links.dst, dst])
        return _Links(links.count, src, dst, label, every, every)
    link = number % links.count if disjoint else number // negatives.config.amount
    _, dst = negatives.draw(number.numel(), latest, generator, src=links.src[link])
    return replace(links, dst=torch.cat([links.dst, dst]), dst_time=every)


def _sample_ends(
    sampler: NeighborSampler, links: _Links, edge_type: Any, draw: DrawKey
) -> tuple[Output, Tensor, Tensor]:
    """Sample from both ends; return also where each source and each destination is."""
    timed, disjoint = links.src_time is not None, sampler.disjoint
    if edge_type is None or edge_type[0] == edge_type[-1]:
        nodes, place = _distinct(torch.cat([links.src, links.dst]), disjoint)
        time = torch.cat([links.src_time, links.dst_time]) if timed else None
        node_type = None if edge_type is None else edge_type[0]
        output = sample(sampler, nodes, time, node_type, draw)
        return output, place[: links.src.numel()], place[links.src.numel() :]
    src, src_place = _distinct(links.src, disjoint)
    dst, dst_place = _distinct(links.dst, disjoint)
    times = {edge_type[0]: links.src_time, edge_type[-1]: links.dst_time} if timed else None
    output = sample(sampler, {edge_type[0]: src, edge_type[-1]: dst}, times, None, draw)
    return output, src_place, dst_place


def _distinct(nodes: Tensor, disjoint: bool) -> tuple[Tensor, Tensor]:
    """Return the seeds to sample from, and where each of the nodes is among them."""
    if disjoint:
        return nodes, torch.arange(nodes.numel(), device=nodes.device)
    seeds, place = nodes.unique(return_inverse=True)
    return seeds, place


def _repeated(values: Tensor | None, count: int) -> Tensor | None:
    """Repeat the values, over and over, up to a length."""
    if values is None:
        return None
    return values[torch.arange(count, device=values.device) % values.numel()]


def _each(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to a tensor, or to each in a dictionary."""
    if isinstance(values, Tensor):
        return change(values)
    return {key: change(value) for key, value in values.items()}
