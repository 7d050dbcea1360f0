"""Neighbour sampling: a mini-batch of seed nodes and their random neighbourhoods."""

from torch_direct.sampler.neighbor import Batch, NeighborSampler

__all__ = ["Batch", "NeighborSampler"]
