"""The documentation site is built without a warning, and documents every public name."""

from __future__ import annotations

import inspect
import subprocess
import sys
import zlib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

NEEDED = ("sphinx", "furo", "myst_parser", "sphinxcontrib.mermaid", "torch_geometric")
for module in NEEDED:
    pytest.importorskip(module, reason=f"building the site needs {module}: pip install '.[docs]'")

DOCS = Path(__file__).resolve().parents[1] / "docs"
PUBLIC = ["", ".datasets", ".errors", ".graph", ".loader", ".sampler"]
"""The modules of `torch_direct` whose names users may rely on."""


def public_names(module: ModuleType) -> list[str]:
    """What a module offers: `__all__`, or the classes that it defines."""
    classes = inspect.getmembers(module, inspect.isclass)
    return getattr(module, "__all__", [name for name, _ in classes])


def spellings() -> list[set[str]]:
    """The public names, those of one object together."""
    by_object: dict[int, set[str]] = {}
    for suffix in PUBLIC:
        module = import_module(f"torch_direct{suffix}")
        for name in public_names(module):
            value = getattr(module, name)
            if not isinstance(value, ModuleType):
                by_object.setdefault(id(value), set()).add(f"{module.__name__}.{name}")
    return list(by_object.values())


def test_the_site_is_built_without_a_warning_and_has_every_public_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

    *_, packed = (tmp_path / "objects.inv").read_bytes().split(b"\n", maxsplit=4)
    entries = [line.split() for line in zlib.decompress(packed).decode().splitlines()]
    documented = {name for name, kind, *_ in entries if kind.startswith("py:")}
    assert [names for names in spellings() if not names & documented] == []

    page = (tmp_path / "api" / "tensors.html").read_text()
    assert "own memory to the GPU; nothing is copied." in page
    assert "somebody else registered the memory." in page
