"""What users may rely on: the names, their documentation, their types."""

from __future__ import annotations

import ast
import builtins
import importlib.resources
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import torch_direct as td
from torch_direct import errors
from torch_direct.tensor.host_view import HostView

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(td.__file__).parent

NAMES = [
    "Graph",
    "HeteroGraph",
    "LinkNeighborLoader",
    "NeighborLoader",
    "NeighborSampler",
    "UnifiedTensor",
    "check",
    "device_mode",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_device",
    "errors",
    "from_numpy",
    "full",
    "gather",
    "is_unified",
    "load",
    "memory_stats",
    "memory_summary",
    "prepare",
    "unified",
    "zeros",
]

FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(td, name))]


def test_public_names() -> None:
    assert td.__all__ == NAMES == sorted(NAMES)
    assert all(hasattr(td, name) for name in NAMES)
    assert re.match(r"\d+\.\d+", td.__version__)


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_in_the_documentation(name: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    assert re.search(rf"\b(td\.|torch_direct\.)?{name}\b", text)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_say_what_they_take(name: str) -> None:
    function = getattr(td, name)
    doc = inspect.getdoc(function) or ""
    parameters = list(inspect.signature(function).parameters)
    refers_to_another = doc.startswith("As `")
    if len(parameters) > 1 and not refers_to_another:
        assert "Args:" in doc
        assert all(re.search(rf"^ +{parameter}: ", doc, re.M) for parameter in parameters)
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("owner", [td.UnifiedTensor, HostView], ids=lambda c: c.__name__)
def test_public_members_are_documented(owner: type) -> None:
    own = {name: member for name, member in vars(owner).items() if not name.startswith("_")}
    assert own
    for name, member in own.items():
        function = getattr(member, "__func__", member)
        assert (function.__doc__ or "").strip(), f"{owner.__name__}.{name}"


def test_every_error_is_ours_documented_and_drawn() -> None:
    ours = [value for value in vars(errors).values() if inspect.isclass(value)]
    assert len(ours) > 5
    for error in ours:
        assert issubclass(error, errors.TorchDirectError)
        assert error.__doc__
        assert error.__name__ in (errors.__doc__ or "")


def documented() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Every function of the package that has a docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                doc = ast.get_docstring(node)
                if doc:
                    yield f"{path.relative_to(PACKAGE)}:{node.name}", node, doc


def section(doc: str, title: str) -> list[str]:
    """The names in a section of a docstring."""
    found = re.search(rf"^{title}:\n((?:    .*\n?|\n)*)", doc, re.M)
    return re.findall(r"^    (\w+): ", found.group(1), re.M) if found else []


def test_documented_arguments_exist() -> None:
    stale = []
    for where, node, doc in documented():
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        known = {a.arg for a in (*every, arguments.vararg, arguments.kwarg) if a is not None}
        stale += [f"{where}({name})" for name in section(doc, "Args") if name not in known]
    assert stale == []


def test_documented_errors_exist() -> None:
    unknown = [
        f"{where}: {name}"
        for where, _, doc in documented()
        for name in section(doc, "Raises")
        if not (hasattr(errors, name) or hasattr(builtins, name))
    ]
    assert unknown == []


def test_types_ship_with_the_package() -> None:
    assert importlib.resources.files("torch_direct").joinpath("py.typed").is_file()
