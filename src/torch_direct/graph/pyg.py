"""What PyG's `Data` and `HeteroData` say of a graph. PyG itself is not imported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from torch_direct.errors import GraphError
from torch_direct.graph.plain import plain
from torch_direct.graph.validate import require_tensor


def homogeneous(data: Any, weight_attr: str | None, time_attr: str | None) -> dict[str, Any]:
    """Return the arguments of `Graph.from_edge_index` for a `torch_geometric.data.Data`.

    Raises:
        GraphError: An attribute does not exist, or the graph is stored as `adj_t`.
        TypeError: `data` is no `Data`, or an attribute is no tensor.
    """
    # Of the class: data may have an attribute of any name.
    if hasattr(type(data), "edge_types"):
        raise TypeError(
            "data is a HeteroData; expected a Data: use td.HeteroGraph.from_pyg(data), or "
            "data.to_homogeneous()"
        )
    _require(data, "is_node_attr", "torch_geometric.data.Data")
    arguments = {"edge_index": edge_index_of(data, "data"), "num_nodes": data.num_nodes}
    if weight_attr is not None:
        _require_attribute(data, weight_attr, lambda name: _may_be_of_edges(data, name), "edge")
        arguments["edge_weight"] = weight_of(data[weight_attr])
    if time_attr is not None:
        _require_attribute(
            data,
            time_attr,
            lambda name: data.is_node_attr(name) or data.is_edge_attr(name),
            "node or edge",
        )
        kind = "node_time" if data.is_node_attr(time_attr) else "edge_time"
        arguments[kind] = data[time_attr]
    return arguments


def _may_be_of_edges(data: Any, name: str) -> bool:
    """Whether an attribute has an entry for every edge; PyG says node where it has both."""
    as_many = data.num_nodes == data.num_edges
    return bool(data.is_edge_attr(name) or (as_many and data.is_node_attr(name)))


def require_heterogeneous(data: Any) -> None:
    """Check that an object is a `torch_geometric.data.HeteroData`.

    Raises:
        TypeError: It is not.
    """
    _require(data, "edge_types", "torch_geometric.data.HeteroData")


def num_nodes_of(data: Any, node_type: str) -> int:
    """Return the number of nodes of a type: 0 of one that reading it by mistake has made.

    Raises:
        GraphError: It is not known.
    """
    if len(data[node_type]) == 0 and not _has_edges(data, node_type):
        return 0
    count = data[node_type].num_nodes
    if count is None:
        raise GraphError(
            f"the number of nodes of type {node_type!r} is not known; expected features or a "
            f"number: set data[{node_type!r}].num_nodes"
        )
    return int(count)


def _has_edges(data: Any, node_type: str) -> bool:
    return any(node_type in (source, target) for source, _, target in data.edge_types)


def attribute_by_type(data: Any, types: Iterable[Any], name: str | None) -> dict[Any, Tensor]:
    """Return an attribute of a `HeteroData` for those of the node or edge types that have it.

    Raises:
        TypeError: It is no tensor.
    """
    if name is None:
        return {}
    found = {key: data[key][name] for key in types if name in data[key]}
    for key, value in found.items():
        require_tensor(f"data[{key!r}].{name}", value)
    return found


def weight_of(value: Tensor) -> Tensor:
    """Return an attribute as weights: PyG takes numbers of any type, also of shape `[E, 1]`."""
    weight = plain(value).detach()
    if weight.dim() == 2 and weight.size(1) == 1:
        weight = weight.squeeze(1)
    if not weight.is_floating_point():
        return weight.double()
    return weight.float() if weight.itemsize < 4 else weight


def edge_index_of(store: Any, where: str) -> Tensor:
    """Return the edges of a `Data` or of one edge type of a `HeteroData`, perhaps none.

    Raises:
        GraphError: They are stored in another form.
    """
    has_edges = "edge_index" in store
    if "adj_t" in store or ("adj" in store and not has_edges):
        name = "adj_t" if "adj_t" in store else "adj"
        pairs = f"torch_geometric.utils.to_edge_index({where}.{name})[0]"
        raise GraphError(
            f"{where} stores its edges as {name}; expected edge_index: {where}.edge_index = "
            f"{pairs}{'.flip(0)' if name == 'adj_t' else ''}; del {where}.{name}"
        )
    if not has_edges:
        return torch.empty(2, 0, dtype=torch.int64, device="cpu")
    edge_index: Tensor = store["edge_index"]
    return edge_index


def _require(data: Any, attribute: str, expected: str) -> None:
    if not hasattr(type(data), attribute):
        raise TypeError(
            f"data is a {type(data).__name__}; expected a {expected}. A graph in another form goes "
            "through from_edge_index or from_csc"
        )


def _require_attribute(data: Any, name: str, fits: Any, kind: str) -> None:
    if name not in data or not fits(name):
        found = "has another length" if name in data else "is not in data"
        raise GraphError(
            f"the attribute {name!r} {found}; expected an attribute with one entry for every "
            f"{kind}: correct the name, or set data[{name!r}]"
        )
    require_tensor(f"data.{name}", data[name])
