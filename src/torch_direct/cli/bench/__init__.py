"""`torch-direct bench`: measure, and say what was measured where."""

from __future__ import annotations

import typer

from torch_direct.cli.bench.gather import gather
from torch_direct.cli.bench.sample import sample
from torch_direct.cli.bench.train import train

bench = typer.Typer(help="Measure speed, after checking every answer.", no_args_is_help=True)
bench.command()(gather)
bench.command()(sample)
bench.command()(train)


@bench.callback()
def main() -> None:
    """Measure speed, after checking every answer."""
