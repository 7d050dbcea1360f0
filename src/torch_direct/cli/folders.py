"""Whether folders can be written, before there is anything to write."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer


def check_there(option: str, folder: Path | None) -> None:
    """Refuse a folder that is not there.

    Raises:
        typer.BadParameter: It is given and is no folder.
    """
    if folder is not None and not folder.is_dir():
        raise typer.BadParameter(f"{option} has {folder}; expected a folder that is there")


def check_writable(folder: Path) -> None:
    """Refuse a folder in which no file can be made; one that is not there is left to be made.

    Raises:
        typer.BadParameter: A file cannot be made there, or in the nearest folder that is there.
    """
    path = folder.absolute()
    try:
        nearest = next(place for place in (path, *path.parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise typer.BadParameter(
            f"the folder {folder} cannot be written ({error.strerror}): name another one"
        ) from error
