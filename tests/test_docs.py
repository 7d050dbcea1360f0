"""The documentation says what the code does: its tables, its picture and its examples."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

from torch_direct.bench.results import short
from torch_direct.placement import RULES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "torch_direct"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTIONAL = {"lightning", "torch_geometric"}
"""Libraries that examples import and a test environment may lack."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_examples(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    fences = re.findall(r"^```(.*?)\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = "\n".join(block for language, block in fences if not language)
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith("torch-direct ")]


def libraries(example: str) -> set[str]:
    imported = set()
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    return imported


@pytest.mark.filterwarnings("ignore:::lightning")
@pytest.mark.parametrize("page", [p for p in PAGES if python_examples(p)], ids=name_of)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in OPTIONAL & libraries("\n".join(python_examples(page))):
        pytest.importorskip(library, reason=f"{page.name} needs {library}, which is not installed")
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


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=name_of)
def test_commands_have_these_options(page: Path) -> None:
    pytest.importorskip("typer", reason="the command line needs typer, which is not installed")
    from typer.testing import CliRunner

    from torch_direct.cli.main import app

    for command in commands(page):
        _, *arguments = shlex.split(command)
        done = CliRunner().invoke(app, [*arguments, "--help"])
        assert done.exit_code == 0, f"{command}: {done.output}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_table_of_epochs_shows_what_was_measured() -> None:
    files = (ROOT / "benchmarks" / "results").glob("train-*.json")
    rows = [row for file in files for row in json.loads(file.read_text())["rows"]]
    measured = {(r["graph"], r["system"]): r["epoch_s"] for r in rows if r["model"] == "sage"}
    lines = [
        line.strip("| ").split(" | ") for line in (ROOT / "README.md").read_text().splitlines()
    ]
    systems = next([cell.strip("`") for cell in line] for line in lines if line[0] == "graph")[3:]
    shown = {line[0]: line[3:] for line in lines if (line[0], "torch-direct") in measured}
    assert shown.keys() == {graph for graph, _ in measured}
    for graph, cells in shown.items():
        epochs = (measured.get((graph, system)) for system in systems)
        expected = ["does not fit" if epoch is None else short(epoch) for epoch in epochs]
        assert cells == expected, graph


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
    layers = {layer_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}
    return {(a, b) for a, b in found if a != b and a in layers and b in layers}


def test_the_picture_of_the_layers_matches_the_imports() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+)$", page, flags=re.MULTILINE))
    drawn = {(a.rstrip("_"), b.rstrip("_")) for a, b in drawn}
    assert drawn == imports_between_layers()
