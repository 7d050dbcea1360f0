"""A graph with its features in host memory, once, as all systems read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from torch import Tensor

from torch_direct.bench.measure import wait_for_gpu
from torch_direct.bench.train.graphs import GraphSize
from torch_direct.datasets import NodeDataset, SyntheticSpec, open_dataset, save_folder
from torch_direct.datasets.dataset import require
from torch_direct.datasets.libraries import from_ogb
from torch_direct.datasets.synthetic import make_synthetic
from torch_direct.errors import DatasetError
from torch_direct.graph import Graph
from torch_direct.graph.plain import in_host_memory
from torch_direct.graph.storage import META
from torch_direct.tensor.create import empty, is_unified
from torch_direct.tensor.unified import UnifiedTensor

_STAND_IN = "stand-in"
_MAG = "mag240m-papers"
_FOLDER_OF_MAG = "mag240m_kddcup2021"
_EDGES_OFF = 0.01
"""Part of the published edges that a graph may have more or less."""
_CHUNK_BYTES = 1 << 28
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class TrainData:
    """What is trained on: unified tensors in memory that forked children can read."""

    graph: Graph
    """`indptr` and `indices` of one dtype, int32 where the edges can be counted in it."""
    x: UnifiedTensor
    """Features `[num_nodes, num_features]`."""
    y: UnifiedTensor
    """Classes, int64 `[num_nodes]`."""
    num_classes: int
    train_nodes: Tensor
    """Nodes of an epoch, int64, on the CPU."""
    val_nodes: Tensor
    """Nodes to predict the classes of, likewise; none in a stand-in."""
    stand_in: bool
    """Whether it was made in the size of a graph whose name it has."""

    @property
    def device(self) -> torch.device:
        """What reads it, and trains."""
        return self.x.device

    @cached_property
    def graph_on_device(self) -> Graph:
        """The graph in the memory of the device, once for all systems that read it there."""
        return self.graph.to(self.device)

    @property
    def nbytes(self) -> int:
        """Bytes in host memory."""
        return self.graph.nbytes + self.x.nbytes + self.y.nbytes


def load_data(size: GraphSize, folder: Path | None, save: Path | None = None) -> TrainData:
    """Read a graph out of a folder, or make a stand-in for it.

    Args:
        size: Which graph.
        folder: That `torch-direct convert` wrote, or in which OGB keeps the graph; None for a
            stand-in.
        save: Where to write it in this project's form; it must not have anything in it.

    Raises:
        DatasetError: The folder has no such graph, or `save` cannot be written.
        HostMemoryError: It does not fit into host memory.
    """
    dataset = _stand_in(size) if folder is None else _read(size, folder)
    dataset = replace(
        dataset, graph=_shared_graph(dataset.graph), x=_shared(dataset.x), y=_shared(dataset.y)
    )
    # The processes that read it besides the GPU do not wait for what the GPU has to write.
    wait_for_gpu()
    if save is not None:
        save_folder(dataset, save)
    return TrainData(
        dataset.graph,
        cast("UnifiedTensor", dataset.x),
        cast("UnifiedTensor", dataset.y),
        dataset.num_classes,
        dataset.train_idx,
        dataset.val_idx,
        stand_in=dataset.name.endswith(_STAND_IN),
    )


def _stand_in(size: GraphSize) -> NodeDataset:
    """Make a graph of that size without communities; its features say nothing of its classes."""
    spec = SyntheticSpec(
        num_nodes=size.num_nodes,
        avg_degree=size.num_edges / size.num_nodes,
        num_features=size.num_features,
        num_classes=size.num_classes,
        homophily=1 / size.num_classes,
        exponent=size.exponent,
        dtype=size.dtype,
    )
    made = make_synthetic(spec, shared=True)
    n, device = size.num_nodes, made.x.device
    generator = torch.Generator(device).manual_seed(0)
    y = torch.randint(size.num_classes, (n,), generator=generator, device=device).cpu()
    order = torch.randperm(n, generator=generator, dtype=torch.int32, device=device)
    train = order[: size.train_nodes].long().cpu()
    return replace(
        made,
        name=f"{size.name} {_STAND_IN}",
        y=y,
        train_idx=train,
        val_idx=train[:0],
        test_idx=train[:0],
    )


def _read(size: GraphSize, folder: Path) -> NodeDataset:
    if (folder / META).is_file():
        dataset = open_dataset(str(folder))
    elif not any((folder / name).is_dir() for name in _folders_of_ogb(size.name)):
        # OGB would begin to download what it does not find.
        raise DatasetError(
            f"{folder} has neither {META} nor {_folders_of_ogb(size.name)[0]}; expected a folder "
            "that torch-direct convert wrote, or OGB's root: correct --data"
        )
    elif size.name == _MAG:
        dataset = _read_mag240m(folder)
    else:
        dataset = _read_ogb(size.name, folder)
    graph = dataset.graph
    off = abs(graph.num_edges - size.num_edges) > _EDGES_OFF * size.num_edges
    # The edges of a stand-in are drawn.
    if graph.num_nodes != size.num_nodes or (off and not dataset.name.endswith(_STAND_IN)):
        raise DatasetError(
            f"the graph in {folder} has {graph.num_nodes} nodes and {graph.num_edges} edges; "
            f"{size.name} has {size.num_nodes} and {size.num_edges}: correct --graph or --data (of "
            "ogbn-papers100M, which torch-direct convert makes undirected, give OGB's own folder)"
        )
    return dataset


def _folders_of_ogb(name: str) -> tuple[str, ...]:
    """Return what OGB may call the folder of a graph, in its root."""
    if name == _MAG:
        return (_FOLDER_OF_MAG,)
    folder = name.replace("-", "_")
    return folder, f"{folder}_pyg"


@contextmanager
def _opening(name: str, folder: Path) -> Iterator[None]:
    """Say in words what OGB failed with; where data is missing it asks whether to download it."""
    try:
        yield
    except (ValueError, OSError, EOFError, UnpicklingError) as error:
        raise DatasetError(
            f"OGB cannot open {name} in {folder} ({type(error).__name__}: {error}); expected the "
            "whole data, as OGB downloads it: complete it, or convert it with torch-direct convert"
        ) from error


def _read_ogb(name: str, folder: Path) -> NodeDataset:
    library = require("ogb.nodeproppred", "OGB", "ogb")
    with _opening(name, folder):
        dataset = library.NodePropPredDataset(name, root=str(folder))
        (graph, labels), split = dataset[0], dataset.get_idx_split()
    # As published, directed graphs too: so are the numbers of edges of the stand-ins.
    return from_ogb(graph, labels, split, name=name)


def _read_mag240m(folder: Path) -> NodeDataset:
    """Read the papers and their citations out of OGB's form of MAG240M."""
    library = require("ogb.lsc", "OGB", "ogb")
    with _opening(_MAG, folder):
        return _papers(library.MAG240MDataset(root=str(folder)))


def _papers(source: Any) -> NodeDataset:
    y = torch.from_numpy(source.all_paper_label)
    train, valid, test = (
        torch.from_numpy(source.get_idx_split(part)).long()
        for part in ("train", "valid", "test-dev")
    )
    edges = torch.from_numpy(source.edge_index("paper", "cites", "paper"))
    return NodeDataset(
        name=_MAG,
        graph=Graph.from_edge_index(edges, source.num_papers, edge_id=False),
        x=torch.from_numpy(source.paper_feat),
        y=torch.nan_to_num(y, nan=-1.0).long(),
        num_classes=source.num_classes,
        metric="accuracy",
        train_idx=train,
        val_idx=valid,
        test_idx=test,
    )


def _shared_graph(graph: Graph) -> Graph:
    largest = max(graph.num_edges, graph.num_nodes)
    dtype = torch.int32 if largest <= _INT32_MAX else torch.int64
    return Graph(_shared(graph.indptr, dtype), _shared(graph.indices, dtype))


def _shared(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor in unified memory that children can read; itself where it is there."""
    wanted = dtype or tensor.dtype
    if is_unified(tensor) and tensor.dtype == wanted:
        return tensor
    source = in_host_memory(tensor)
    result = empty(source.shape, dtype=wanted, shared=True)
    rows = max(1, _CHUNK_BYTES // max(1, source[:1].nbytes))
    for target, chunk in zip(result.host.split(rows), source.split(rows), strict=True):
        target.copy_(chunk)
    return result
