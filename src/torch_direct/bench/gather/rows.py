"""Which rows are read: drawn, or the node ids of batches that were really sampled."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torch_direct.bench.gather.cases import POWER_LAW, REAL_GRAPHS, Case
from torch_direct.datasets.synthetic import SyntheticSpec, make_synthetic
from torch_direct.errors import DatasetError
from torch_direct.graph import Graph
from torch_direct.sampler.neighbor import NeighborSampler

FANOUT = (15, 10, 5)
BATCH_SIZE = 1024
DEGREE = 15.0
"""Mean in-degree of the power-law graph."""

_FILES = {
    "cnr2000": Path("cnr2000", "cnr-2000.graph-txt.gz"),
    "ego_twitter": Path("ego_twitter", "ego-twitter-undirected.jlg"),
}


def has_graph(folder: Path | None, name: str) -> bool:
    """Whether traces of a graph can be made: the power-law graph, or a file of the folder."""
    if name == POWER_LAW:
        return True
    return folder is not None and (folder / _FILES[name]).is_file()


def draw_rows(
    case: Case, count: int, device: torch.device, graphs: Path | None, *, seed: int
) -> list[Tensor]:
    """Draw the rows of several reads.

    Args:
        case: What to read.
        count: Number of reads.
        device: Where to draw, which decides the numbers drawn along with the seed.
        graphs: Folder of the real graphs, for their traces.
        seed: 64 bits.

    Returns:
        int64 ``[rows]`` each, on the device.

    Raises:
        DatasetError: The file of a real graph is not the one that is expected.
    """
    generator = torch.Generator(device).manual_seed(seed)
    if case.graph is not None:
        return _traces(_graph(case, graphs), count, device, generator)
    if case.rows is None:
        raise ValueError(f"rows of the order {case.order} is None; expected a number")
    draw = _ascending if case.order == "sorted" else _uniform
    return [draw(case.rows, case.table_rows, generator) for _ in range(count)]


def _uniform(rows: int, table_rows: int, generator: torch.Generator) -> Tensor:
    return torch.randint(table_rows, (rows,), generator=generator, device=generator.device)


def _ascending(rows: int, table_rows: int, generator: torch.Generator) -> Tensor:
    """Draw distinct rows, at most half of the table, by leaving some of too many out."""
    drawn = _uniform(0, table_rows, generator)
    while drawn.numel() < rows:
        more = _uniform(rows + rows // 2, table_rows, generator)
        drawn = torch.unique(torch.cat([drawn, more]))
    chosen = torch.randperm(drawn.numel(), generator=generator, device=generator.device)[:rows]
    return drawn[chosen.sort().values]


def _traces(
    graph: Graph, count: int, device: torch.device, generator: torch.Generator
) -> list[Tensor]:
    sampler = NeighborSampler(graph.to_unified() if device.type == "cuda" else graph, FANOUT)
    nodes = torch.randperm(graph.num_nodes, generator=generator, device=device)
    batches = nodes[: count * BATCH_SIZE].split(BATCH_SIZE)
    return [sampler.sample(seeds, batch=number).n_id for number, seeds in enumerate(batches)]


def _graph(case: Case, folder: Path | None) -> Graph:
    if case.graph == POWER_LAW:
        spec = SyntheticSpec(num_nodes=case.table_rows, avg_degree=DEGREE, num_features=1)
        return make_synthetic(spec).graph
    if folder is None or case.graph is None:
        raise DatasetError(f"the trace of {case.graph} needs a folder of graphs; expected --graphs")
    read = {"cnr2000": _read_successors, "ego_twitter": _read_edges}[case.graph]
    graph = read(folder / _FILES[case.graph])
    if graph.num_nodes != REAL_GRAPHS[case.graph]:
        raise DatasetError(
            f"{case.graph} has {graph.num_nodes} nodes; expected {REAL_GRAPHS[case.graph]}: fetch "
            "the file again"
        )
    return graph


def _read_successors(path: Path) -> Graph:
    """Read a line of successors for each node, after one with the number of nodes."""
    first, *lines = _text(path).splitlines()
    successors = [np.array(line.split(), dtype=np.int64) for line in lines]
    sources = np.repeat(np.arange(len(lines)), [node.size for node in successors])
    edges = torch.from_numpy(np.stack([sources, np.concatenate(successors)]))
    return Graph.from_edge_index(edges, int(first))


def _read_edges(path: Path) -> Graph:
    """Read undirected edges between nodes from 1 on, after a line ``nodes,edges,u,graph``."""
    first, _, rest = _text(path).partition("\n")
    pairs = np.array(rest.replace(",", " ").split(), dtype=np.int64).reshape(-1, 2) - 1
    edges = torch.from_numpy(pairs.T.copy())
    return Graph.from_edge_index(edges, int(first.split(",")[0]), symmetric=True)


def _text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()
