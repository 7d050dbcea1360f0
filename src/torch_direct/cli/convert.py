"""`torch-direct convert`: write a data set or a list of edges in the form that is mapped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from torch_direct.cli.bar import bar
from torch_direct.cli.folders import check_writable
from torch_direct.errors import DatasetError

if TYPE_CHECKING:
    from torch_direct.graph import Graph


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="synthetic, FILE.npz, a FOLDER of .npy files, pyg:NAME or ogb:NAME; or EDGES.npy, "
            "an array [2, num_edges] of sources and destinations."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; made if it does not exist.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of synthetic data and of the split.")] = 0,
    num_nodes: Annotated[
        int | None,
        typer.Option(min=0, help="For EDGES.npy; by default one more than the highest node id."),
    ] = None,
    symmetric: Annotated[
        bool, typer.Option("--symmetric", help="For EDGES.npy: add the reverse of every edge.")
    ] = False,
    coalesce: Annotated[
        bool, typer.Option("--coalesce", help="For EDGES.npy: drop repeated edges.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the graph or data set in the folder.")
    ] = False,
) -> None:
    """Write a data set or a graph as a folder of .npy files, which are mapped instead of read."""
    from torch_direct.datasets import open_dataset, save_folder
    from torch_direct.graph.storage import check_target

    check_target(out, overwrite=overwrite)
    check_writable(out)
    console = Console(stderr=True)
    is_edge_list = source.endswith(".npy")
    if not is_edge_list and (num_nodes is not None or symmetric or coalesce):
        raise typer.BadParameter(
            f"{source} is no EDGES.npy; --num-nodes, --symmetric and --coalesce are for lists of "
            "edges: leave them out"
        )
    if is_edge_list:
        if not Path(source).is_file():
            raise DatasetError(
                f"{source!r} is no file that is there; expected EDGES.npy, an array [2, num_edges] "
                "of sources and destinations: correct it"
            )
        graph = _sort_edges(Path(source), num_nodes, symmetric, coalesce, console)
        with bar("writing", console) as progress:
            graph.save(out, overwrite=overwrite, progress=progress)
        _say(out, graph, "", graph.nbytes)
        return
    with bar(f"opening {source}", console) as progress:
        dataset = open_dataset(source, seed=seed, progress=progress)
    with bar("writing", console) as progress:
        save_folder(dataset, out, overwrite=overwrite, progress=progress)
    nbytes = dataset.graph.nbytes + dataset.x.nbytes
    _say(out, dataset.graph, f", {dataset.x.size(1):,} features", nbytes)


def _sort_edges(
    source: Path, num_nodes: int | None, symmetric: bool, coalesce: bool, console: Console
) -> Graph:
    from torch_direct.graph import Graph
    from torch_direct.graph.storage import map_array

    with bar("sorting", console) as progress:
        return Graph.from_edge_index(
            map_array(source),
            num_nodes,
            symmetric=symmetric,
            coalesce=coalesce,
            progress=progress,
        )


def _say(out: Path, graph: Graph, more: str, nbytes: int) -> None:
    typer.echo(
        f"{out}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges{more}, {nbytes / 1e9:.3f} GB"
    )
