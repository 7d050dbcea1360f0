"""Neighbour sampling: a mini-batch of seed nodes and their random neighbourhoods."""

from torch_direct.sampler.neighbor import Batch, NeighborSampler
from torch_direct.sampler.subgraph import bidirectional, induced

__all__ = ["Batch", "NeighborSampler", "bidirectional", "induced"]
