"""Neighbour sampling: a mini-batch of seed nodes and their random neighbourhoods."""

from torch_direct.sampler.batch import Batch, HeteroBatch
from torch_direct.sampler.neighbor import NeighborSampler

__all__ = ["Batch", "HeteroBatch", "NeighborSampler"]
