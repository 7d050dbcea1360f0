"""Whether folders can be written, before there is anything to write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import typer


def folder_name(text: str) -> Path:
    """Parse the name of a folder; an empty one would be the current folder.

    Raises:
        typer.BadParameter: It is empty.
    """
    if not text:
        raise typer.BadParameter("the name is empty; expected a folder: . is the current one")
    return Path(text)


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


def check_no_folders(files: Iterable[Path]) -> None:
    """Refuse folders at the names of files that are going to be written.

    Raises:
        typer.BadParameter: One of them is a folder.
    """
    for file in files:
        if file.is_dir():
            raise typer.BadParameter(
                f"{file} is a folder; expected a file, or nothing: remove it or name another place"
            )
