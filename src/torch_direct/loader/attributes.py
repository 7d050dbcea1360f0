"""The attributes of a PyG `Data` or `HeteroData`: read by the device, and cut to a batch."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from torch_direct.graph.placement import plain
from torch_direct.tensor.create import from_numpy, is_unified, unified
from torch_direct.tensor.gather import gather

_LOGGER = logging.getLogger("torch_direct")


class Attributes:
    """Tensors and arrays as a device reads them.

    Those in host memory are registered with CUDA where they lie, once, when they are first seen.
    The user's object keeps its own; what it is given later is registered then.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = WeakIdKeyDictionary()

    def register(self, data: Any, *, graph: int) -> None:
        """Register every node and edge attribute but `edge_index`, and tell the program's log.

        Args:
            data: A `Data` or `HeteroData`.
            graph: Bytes of the graph, which are read there as well.

        Raises:
            TypeError: An attribute of nodes or edges is neither a tensor nor an array.
        """
        read = {
            id(value): self.on_device(key, value)
            for store in (*data.node_stores, *data.edge_stores)
            for key, value in store.items()
            if key != "edge_index" and _is_cut(store, key)
        }
        if self._device.type == "cuda":
            _LOGGER.info(
                "%s reads %.3f GB of attributes and %.3f GB of graph out of host memory.",
                self._device,
                sum(tensor.nbytes for tensor in read.values() if is_unified(tensor)) / 1e9,
                graph / 1e9,
            )

    def on_device(self, key: str, value: Any) -> Tensor:
        """Return an attribute as the device reads it.

        Raises:
            TypeError: It is neither a tensor nor an array.
        """
        if not isinstance(value, (Tensor, np.ndarray)):
            raise TypeError(
                f"{key} has one entry for each node or edge and is a {type(value).__name__}; "
                f"expected a tensor or an array: convert it, or delete it (del data.{key})"
            )
        known: Tensor | None = self._known.get(value)
        if known is None:
            known = read_by(self._device, value)
            if is_unified(known):
                self._known[value] = known
        return known

    def cut(self, data: Any, output: SamplerOutput | HeteroSamplerOutput) -> Any:
        """Return a copy of a `Data` or `HeteroData` with the nodes and edges of a batch only.

        Attributes of the graph, and what else the object holds, are kept as they are.

        Args:
            data: The whole graph; `edge_index` is not read.
            output: What was sampled from it, with edges numbered in its order.
        """
        batch = copy.copy(data)
        if isinstance(output, SamplerOutput):
            edge_index = torch.stack([output.row, output.col])
            self._cut_store(data, data.stores[0], batch.stores[0], output.node, output.edge)
            if "edge_index" in batch:
                batch.edge_index = edge_index
            return batch
        for node_type in data.node_types:
            nodes = output.node[node_type]
            self._cut_store(data, data[node_type], batch[node_type], nodes, None)
        for edge_type in data.edge_types:
            edges = output.edge[edge_type]
            self._cut_store(data, data[edge_type], batch[edge_type], None, edges)
            if "edge_index" in batch[edge_type]:
                ends = output.row[edge_type], output.col[edge_type]
                batch[edge_type].edge_index = torch.stack(ends)
        return batch

    def _cut_store(
        self, data: Any, store: Any, target: Any, nodes: Tensor | None, edges: Tensor | None
    ) -> None:
        for key, value in store.items():
            if key == "num_nodes" and nodes is not None:
                target.num_nodes = nodes.numel()
            elif key != "edge_index" and _is_cut(store, key):
                ids = nodes if store.is_node_attr(key) else edges
                target[key] = self._rows(key, value, ids, data.__cat_dim__(key, value, store))

    def _rows(self, key: str, value: Any, ids: Tensor | None, dim: int) -> Tensor | None:
        if ids is None:
            return None
        table = self.on_device(key, value)
        if dim % table.dim() == 0:
            return gather(table, ids)
        return table.index_select(dim, ids.to(table.device))


def _is_cut(store: Any, key: str) -> bool:
    """Whether an attribute has one entry for every node, or for every edge."""
    return bool(store.is_node_attr(key) or store.is_edge_attr(key))


def read_by(device: torch.device, value: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """Return a tensor or an array as a device reads it, registered with CUDA where need be."""
    if isinstance(value, np.ndarray):
        return from_numpy(value, device=device)
    if device.type == "cpu":
        return plain(value)
    if is_unified(value):
        return unified(value, device=device)
    return unified(plain(value), device=device) if value.device.type == "cpu" else value
