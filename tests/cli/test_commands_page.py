"""The page of the commands has every command and option, in the words of `--help`."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from torch_direct.cli.main import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command below one, with its whole name."""
    for word, below in getattr(command, "commands", {}).items():
        yield f"{name} {word}", below
        yield from commands(below, f"{name} {word}")


@pytest.mark.parametrize(
    ("name", "command"), [*commands(typer.main.get_command(app), "torch-direct")]
)
def test_the_page_says_what_help_says(name, command):
    page = html.unescape(PAGE.read_text())
    _, _, rest = page.partition(f"# `{name}`\n")
    section = " ".join(rest.partition("\n#")[0].split())
    assert command.help
    assert " ".join(command.help.split()) in section
    for parameter in command.params:
        assert all(spelling in section for spelling in parameter.opts)
        assert " ".join((getattr(parameter, "help", "") or "").split()) in section
