import io

import pytest

pytest.importorskip("rich")

from rich.console import Console

from torch_direct.cli.bar import bar


def drawn(*, terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=80)
    with bar("sorting", console) as progress:
        progress(1, 4)
        progress(4, 4)
    return output.getvalue()


def test_a_terminal_shows_how_far_it_is():
    assert "sorting" in drawn(terminal=True)
    assert "100%" in drawn(terminal=True)


def test_nothing_is_drawn_into_a_file():
    assert drawn(terminal=False) == ""
