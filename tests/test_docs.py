"""The documentation says what the code does: its tables, its picture and its examples."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from torch_direct.placement import RULES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "torch_direct"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def python_examples(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if python_examples(p)], ids=lambda p: p.name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    try:
        for example in python_examples(page):
            exec(compile(example, str(page), "exec"), names)
    finally:
        forget_device_spelling()


def forget_device_spelling() -> None:
    import torch
    from torch.overrides import _get_current_function_mode_stack, _pop_mode

    from torch_direct.tensor import device_mode

    while _get_current_function_mode_stack():
        _pop_mode()
    if "unified" in torch.Tensor.__dict__:
        device_mode._forget_methods()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_placement_page_prints_the_table() -> None:
    lines = (ROOT / "docs" / "placement.md").read_text().splitlines()
    start = lines.index("|---|---|---|") + 1
    printed = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in lines[start : start + len(RULES)]
    ]
    assert printed == [(r.operands, r.compute.value, r.result.value) for r in RULES]
    assert lines[start + len(RULES)] == ""


def layer_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_between_layers() -> set[tuple[str, str]]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        importer = layer_of(path)
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                parts = module.split(".")
                if parts[0] == "torch_direct" and len(parts) > 1:
                    found.add((importer, parts[1]))
    layers = {layer_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    return {(a, b) for a, b in found if a != b and a in layers and b in layers}


def test_the_picture_of_the_layers_matches_the_imports() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", page, flags=re.MULTILINE))
    drawn = {(a.rstrip("_"), b.rstrip("_")) for a, b in drawn}
    assert drawn == imports_between_layers()
