"""The entry point `torch-direct` and its commands."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, NoReturn

try:
    import typer
except ModuleNotFoundError:
    raise SystemExit(
        "error: typer is not installed; the command line needs it: "
        "pip install 'torch-direct[train]'"
    ) from None

import torch

from torch_direct import __version__
from torch_direct.cli.bench import bench
from torch_direct.cli.convert import convert
from torch_direct.cli.doctor import doctor
from torch_direct.cli.train import train
from torch_direct.errors import TorchDirectError

_SHORTAGES = ("can't allocate memory", "Storage size calculation overflowed")
"""What PyTorch says of host memory that there is not, or cannot be."""

app = typer.Typer(
    name="torch-direct",
    help="Train graph neural networks whose features and graph stay in host memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(convert)
app.command()(doctor)
app.add_typer(bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torch-direct {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train graph neural networks whose features and graph stay in host memory."""


def run() -> None:
    """Run the command line; what the user can mend ends it with one line and exit status 1."""
    # The commands say in words of their own where they run.
    logging.getLogger("torch_direct").setLevel(logging.ERROR)
    try:
        app()
    except (TorchDirectError, OSError) as error:
        _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_shortage(error):
            raise
        what = str(error).partition("\n")[0] or type(error).__name__
        _fail(f"too little memory ({what}): ask for less, or free some")


def _is_shortage(error: Exception) -> bool:
    """Whether memory ran out; PyTorch has a class of its own for that on GPUs only."""
    on_cpu = any(text in str(error) for text in _SHORTAGES)
    return on_cpu or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)
