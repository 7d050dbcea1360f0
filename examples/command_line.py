"""How the examples are called: `python examples/NAME.py [PATH]`, with `--help`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from torch_direct.errors import DatasetError


def run(main: Callable[[str | None], Any], description: str | None) -> None:
    """Call an example with the path of its data, if one is given; a wrong one ends in one line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("path", nargs="?", help="of the data; without it a random graph is made")
    try:
        main(parser.parse_args().path)
    except (OSError, DatasetError) as error:
        parser.error(f"{error}; expected the data that --help names")
