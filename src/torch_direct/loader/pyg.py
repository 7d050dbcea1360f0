"""Our sampler and unified memory in PyG's own loaders."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    NegativeSampling,
    NodeSamplerInput,
)

from torch_direct.graph import EdgeType
from torch_direct.loader.arguments import check_data, check_sampler, choose_device, device_of
from torch_direct.loader.attributes import is_cut, read_by
from torch_direct.loader.link_outputs import link_output
from torch_direct.loader.negatives import Negatives, negatives_for
from torch_direct.loader.outputs import DrawKey, Output, node_output
from torch_direct.loader.prefetch import on_device
from torch_direct.sampler import NeighborSampler


class PyGSampler(BaseSampler):  # type: ignore[misc]
    """A sampler for `NodeLoader`, `LinkLoader` and `LightningNodeData` of PyG.

    Every call draws anew, under a seed from torch's generator. On a GPU the loader must have no
    workers, which cannot use CUDA.
    """

    def __init__(self, sampler: NeighborSampler) -> None:
        """Keep the sampler.

        Args:
            sampler: Where to draw from; its own seed is not used.

        Raises:
            TypeError: It is another sampler than ours.
        """
        check_sampler("sampler", sampler)
        self.sampler = sampler
        self._device = device_of(sampler.graph)
        self._negatives: Negatives | None = None
        self._kind: EdgeType | None = None

    def sample_from_nodes(self, index: NodeSamplerInput, **kwargs: Any) -> Output:
        """Sample the neighbourhoods of nodes.

        Args:
            index: Distinct node ids, and their times and type, if they have any.
            kwargs: Not used.

        Returns:
            A `SamplerOutput` or `HeteroSamplerOutput`, on the device of the sampler.

        Raises:
            IndexError: A node is not in the graph.
            ValueError: The times or the type do not fit the graph.
        """
        del kwargs
        with on_device(self._device):
            return node_output(self.sampler, index, _new_draw())

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> Output:
        """Sample the neighbourhoods of the ends of links, and of negative ones.

        Args:
            index: The ends of links, and their labels, times and type, if they have any.
            neg_sampling: What negative links to draw.

        Returns:
            A `SamplerOutput` or `HeteroSamplerOutput`, on the device of the sampler.

        Raises:
            IndexError: A node is not in the graph.
            ValueError: The times, the type or `neg_sampling` do not fit the graph.
        """
        negatives = None
        if neg_sampling is not None:
            negatives = self._negatives_for(index.input_type, neg_sampling)
        with on_device(self._device):
            return link_output(self.sampler, index, negatives, _new_draw())

    def _negatives_for(self, kind: EdgeType | None, config: NegativeSampling) -> Negatives:
        """Prepare to draw negatives, once for the batches of a loader."""
        known = self._negatives
        if known is None or known.config is not config or self._kind != kind:
            known = negatives_for(self.sampler.graph, kind, config)
            self._negatives, self._kind = known, kind
        return known


def prepare(data: Any, device: torch.device | str | int | None = None) -> Any:
    """Make a graph ready for PyG's own loaders with `torch_direct.loader.PyGSampler`.

    Args:
        data: `Data` or `HeteroData`, in host memory or on a GPU.
        device: The device that reads it, by default as in the loaders.

    Returns:
        A shallow copy. Tensors in host memory, and arrays with one entry for each node or edge, are
        unified tensors over the same memory, or plain ones without a GPU; sparse tensors and those
        that require a gradient stay what they are. `edge_index` is unified too, as PyG's loaders
        put the edges of a batch where it is.

    Raises:
        TypeError: `data` is neither, or an attribute of nodes or edges is no tensor.
        ValueError: `device` is a GPU, and there is none.
        UnifiedMemoryError: Host memory cannot be registered with CUDA.
    """
    check_data(data)
    reader = choose_device(data, device)
    prepared = copy.copy(data)
    for store in prepared.stores:
        for key, value in list(store.items()):
            if isinstance(value, Tensor) or is_cut(store, key):
                store[key] = read_by(reader, key, value)
    return prepared


def _new_draw() -> DrawKey:
    return DrawKey(int(torch.empty((), dtype=torch.int64, device="cpu").random_()))
