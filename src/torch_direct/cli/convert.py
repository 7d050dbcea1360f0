"""`torch-direct convert`: write any data set in the form that is mapped instead of read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


def convert(
    source: Annotated[
        str,
        typer.Argument(help="synthetic, FILE.npz, a FOLDER of .npy files, pyg:NAME or ogb:NAME."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; made if it does not exist.")],
    seed: Annotated[
        int, typer.Option(min=0, help="Draws or chooses the split that is written.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data set in a folder that has one.")
    ] = False,
) -> None:
    """Write a data set as a folder of .npy files, which training maps instead of reading."""
    from torch_direct.datasets import open_dataset
    from torch_direct.datasets.folder import check_target, nbytes, save_folder

    check_target(out, overwrite=overwrite)
    console = Console(stderr=True)
    with console.status(f"opening {source}"):
        dataset = open_dataset(source, seed=seed)
    total = nbytes(dataset)
    with Progress(
        TextColumn("writing"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("writing", total=total)
        save_folder(
            dataset, out, overwrite=overwrite, progress=lambda count: bar.advance(task, count)
        )
    typer.echo(
        f"{out}: {dataset.graph.num_nodes:,} nodes, {dataset.graph.num_edges:,} edges, "
        f"{dataset.x.size(1):,} features, {total / 1e9:.3f} GB"
    )
