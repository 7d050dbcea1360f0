"""Imports go one way, and what is optional or touches CUDA stays in its place."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import torch_direct

PACKAGE = Path(torch_direct.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")

TIERS = [
    {"errors"},
    {"memory", "kernels", "placement", "nvml", "picture"},
    {"tensor"},
    {"graph", "diagnosis"},
    {"sampler"},
    {"loader"},
    {"datasets"},
    {"training"},
    {"bench"},
    {"cli"},
    {"__main__"},
]
"""Layers from the bottom. A layer imports those of lower tiers only."""

OPTIONAL = {"torch_geometric", "ogb", "typer", "rich", "matplotlib", "sklearn", "pynvml"}
OPTIONAL_IN = {"nvml", "picture", "loader", "datasets", "training", "bench", "cli"}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def tier_of(layer: str) -> int:
    (tier,) = (i for i, layers in enumerate(TIERS) if layer in layers)
    return tier


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules that a file imports, anywhere in it, split at the dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            module = tuple(node.module.split("."))
            yield from ((*module, alias.name) for alias in node.names)


def names(path: Path) -> set[str]:
    """Every name, attribute and string in a file."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return (
        {node.id for node in nodes if isinstance(node, ast.Name)}
        | {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        | {
            node.value
            for node in nodes
            if isinstance(node, ast.Constant)
            if type(node.value) is str
        }
    )


def short(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_go_down(path: Path) -> None:
    layer = layer_of(path)
    for package, *rest in imports(path):
        if package == PACKAGE.name and rest and rest[0] != "__version__":
            imported = rest[0]
            assert imported == layer or tier_of(imported) < tier_of(layer)


def test_every_layer_has_a_tier() -> None:
    assert {layer_of(path) for path in FILES} == set().union(*TIERS)


@pytest.mark.parametrize("path", FILES, ids=short)
def test_kernels_know_raw_tensors_only(path: Path) -> None:
    for package, *rest in imports(path):
        if package == "triton":
            assert layer_of(path) == "kernels"
        if layer_of(path) == "kernels" and package not in sys.stdlib_module_names:
            assert package in {"torch", "triton"} or rest[0] == "kernels"


@pytest.mark.parametrize("path", FILES, ids=short)
def test_cuda_driver_calls_are_in_one_file(path: Path) -> None:
    if short(path) == "memory/driver.py":
        assert any(name.startswith("cuMemHostRegister") for name in names(path))
        return
    calls = {name for name in names(path) if name.startswith(("cuMem", "cuCtx", "cuDevice"))}
    assert not calls | names(path) & {"cudart", "libcuda.so.1", "libcudart.so"}
    if ("ctypes",) in set(imports(path)):
        assert layer_of(path) == "memory"


@pytest.mark.parametrize("path", FILES, ids=short)
def test_optional_libraries_are_around_the_core(path: Path) -> None:
    if OPTIONAL & {module[0] for module in imports(path)}:
        assert layer_of(path) in OPTIONAL_IN


@pytest.mark.parametrize("path", FILES, ids=short)
def test_nothing_depends_on_assertions(path: Path) -> None:
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))


def in_a_fresh_interpreter(code: str) -> object:
    """What code that ends by printing JSON printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_starts_nothing() -> None:
    found = in_a_fresh_interpreter(
        "import json, sys, torch\n"
        "before = set(sys.modules)\n"
        "import torch_direct\n"
        "from torch_direct.memory import driver, process\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps([\n"
        "    sorted(new), torch.cuda.is_initialized(),\n"
        "    driver._library.cache_info().currsize, process._available.cache_info().currsize,\n"
        "    torch.overrides._len_torch_function_stack(), hasattr(torch.Tensor, 'is_unified'),\n"
        "]))"
    )
    modules, initialized, libraries, asked, modes, spelled = found  # type: ignore[misc]
    assert not {"triton", *OPTIONAL} & set(modules)
    assert (initialized, libraries, asked) == (False, 0, 0)
    assert (modes, spelled) == (0, False)


def test_help_loads_no_heavy_library() -> None:
    pytest.importorskip("typer")
    loaded = in_a_fresh_interpreter(
        "import json, sys\n"
        "from torch_direct.cli.main import run\n"
        "sys.argv = ['torch-direct', '--help']\n"
        "try:\n"
        "    run()\n"
        "except SystemExit:\n"
        "    pass\n"
        "print()\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    heavy = {"torch_geometric", "ogb", "matplotlib", "sklearn", "triton"}
    assert "torch_direct" in loaded  # type: ignore[operator]
    assert not heavy & set(loaded)  # type: ignore[call-overload]
