"""The attributes of a PyG `Data` or `HeteroData`: read by the device, and cut to a batch."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data.storage import EdgeStorage, NodeStorage
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from torch_direct.graph.plain import plain
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
        self._known: dict[tuple[Any, str], tuple[Any, Tensor]] = {}
        """What was registered, by store and name: the attribute as it was, and as it is read."""

    def register(self, data: Any, *, graph: int) -> None:
        """Register every node and edge attribute but `edge_index`, and tell the program's log.

        Args:
            data: A `Data` or `HeteroData`.
            graph: Bytes of the graph, which are read there as well.

        Raises:
            TypeError: As `read_by`, or a tensor is in a layout of which PyTorch selects no rows.
        """
        read = {
            id(value): self._table(store, key, value)
            for store in data.stores
            for key, value in store.items()
            if key != "edge_index" and is_cut(store, key)
        }
        if self._device.type == "cuda":
            _LOGGER.info(
                "%s reads %.3f GB of attributes and %.3f GB of graph out of host memory.",
                self._device,
                sum(tensor.nbytes for tensor in read.values() if is_unified(tensor)) / 1e9,
                graph / 1e9,
            )

    def forget(self, data: Any) -> None:
        """Let go of what is no attribute of `data` any more."""
        present = {
            (store._key, key): value for store in data.stores for key, value in store.items()
        }
        self._known = {
            name: entry
            for name, entry in self._known.copy().items()
            if entry[0] is present.get(name)
        }

    def _table(self, store: Any, key: str, value: Any) -> Tensor:
        """Return an attribute as the device reads it."""
        known = self._known.get((store._key, key))
        if known is not None and known[0] is value:
            return known[1]
        _check_layout(key, value)
        table = read_by(self._device, key, value)
        if is_unified(table):
            self._known[store._key, key] = value, table
        return table

    def cut(
        self, data: Any, output: SamplerOutput | HeteroSamplerOutput, *, new_edges: bool = False
    ) -> Any:
        """Return a copy of a `Data` or `HeteroData` with the nodes and edges of a batch only.

        Attributes of the graph, and what else the object holds, are kept as they are.

        Args:
            data: The whole graph; `edge_index` is not read.
            output: What was sampled from it, with edges numbered in its order.
            new_edges: Give the batch an `edge_index` also where `data` has none.
        """
        data = copy.copy(data)  # what the training loop replaces meanwhile is of the next batch
        batch = copy.copy(data)
        if isinstance(output, SamplerOutput):
            target = batch.stores[0]
            self._cut_store(data, data.stores[0], target, output.node, output.edge)
            if new_edges or "edge_index" in target:
                target["edge_index"] = torch.stack([output.row, output.col])
            return batch
        for kind, store in data.node_items():
            self._cut_store(data, store, batch.get_node_store(kind), output.node[kind], None)
        for kind, store in data.edge_items():
            edges = None if output.edge is None else output.edge[kind]
            self._cut_store(data, store, batch.get_edge_store(*kind), None, edges)
        for kind, row in output.row.items():
            target = batch[kind]
            if new_edges or "edge_index" in target:
                target["edge_index"] = torch.stack([row, output.col[kind]])
        return batch

    def _cut_store(
        self, data: Any, store: Any, target: Any, nodes: Tensor | None, edges: Tensor | None
    ) -> None:
        for key, value in store.items():
            if key == "num_nodes" and nodes is not None:
                target.num_nodes = nodes.numel()
            elif key != "edge_index" and is_cut(store, key):
                ids = nodes if store.is_node_attr(key) else edges
                table, dim = self._table(store, key, value), data.__cat_dim__(key, value, store)
                target[key] = self._rows(table, ids, dim)

    def _rows(self, table: Tensor, ids: Tensor | None, dim: int) -> Tensor | None:
        if ids is None:
            return None
        if is_unified(table) and table.device.type == "cuda":  # not so in a forked child
            # Its memory is not to be handed out again before this stream has read it.
            table.record_stream(torch.cuda.current_stream(table.device))
        readable = table.layout == torch.strided and table.device == self._device
        if readable and dim % table.dim() == 0:
            return gather(table, ids)
        return table.index_select(dim, ids.to(table.device)).to(self._device)


def is_cut(store: Any, key: str) -> bool:
    """Whether an attribute has one entry for every node, or for every edge."""
    of_graph = not isinstance(store, (NodeStorage, EdgeStorage))
    return not of_graph and bool(store.is_node_attr(key) or store.is_edge_attr(key))


def _check_layout(key: str, value: Any) -> None:
    if isinstance(value, Tensor) and value.layout not in (torch.strided, torch.sparse_coo):
        raise TypeError(
            f"{key} has one entry for each node or edge and the layout {value.layout}; expected a "
            "dense tensor or COO, of which rows can be selected: use .to_sparse_coo() or "
            f".to_dense(), or delete it (del data.{key})"
        )


def read_by(device: torch.device, key: str, value: Any) -> Tensor:
    """Return an attribute as a device reads it, registered with CUDA where need be.

    Sparse tensors are returned as they are, and so are those that want a gradient, which another
    tensor over their memory would not hand on to them.

    Args:
        device: The device.
        key: The name of the attribute.
        value: The attribute.

    Raises:
        TypeError: It is neither a tensor nor an array that PyTorch takes.
    """
    if isinstance(value, np.ndarray):
        try:
            return from_numpy(value, device=device)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{key} is an array of {value.dtype} with the strides {value.strides}; expected "
                "numbers in native byte order and no strides below 0: convert it, for instance "
                "with .astype(), or delete it"
            ) from error
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{key} has one entry for each node or edge and is a {type(value).__name__}; "
            f"expected a tensor or an array: convert it, or delete it (del data.{key})"
        )
    if value.layout != torch.strided or value.requires_grad:
        return value
    if device.type == "cpu":
        return plain(value)
    if is_unified(value):
        return unified(value, device=device)
    return unified(plain(value), device=device) if value.device.type == "cpu" else value
