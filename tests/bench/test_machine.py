import getpass
import importlib.metadata
import json
import socket
import sys
from types import SimpleNamespace

import pytest

from torch_direct.bench import machine as machine_module
from torch_direct.bench.machine import describe_machine, short_name
from torch_direct.bench.results import header, write_results


def test_names_the_machine_and_not_its_owner():
    machine = describe_machine()
    text = json.dumps(machine)
    assert machine["cores"] >= 1
    assert machine["memory_bytes"] > 2**30
    assert machine["torch"]
    values = [value for value in machine.values() if isinstance(value, str)]
    assert not {socket.gethostname(), getpass.getuser()} & set(values)
    assert "/home" not in text


def test_a_library_without_metadata_says_its_version_itself(monkeypatch):
    def no_metadata(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setitem(sys.modules, "pyg_lib", SimpleNamespace(__version__="0.9.0"))
    monkeypatch.setattr(machine_module, "_PACKAGES", {"pyg_lib": "pyg-lib", "none": "no-such"})
    monkeypatch.setattr(importlib.metadata, "version", no_metadata)
    machine = describe_machine()
    assert (machine["pyg_lib"], machine["none"]) == ("0.9.0", None)


@pytest.mark.gpu
def test_names_the_gpu():
    machine = describe_machine()
    assert machine["gpu"]
    assert machine["cuda"]


@pytest.mark.parametrize(
    ("gpu", "name"),
    [("NVIDIA H100 80GB HBM3", "h100-80gb-hbm3"), ("NVIDIA H200", "h200"), (None, "cpu")],
)
def test_short_name(gpu, name):
    assert short_name({"gpu": gpu}) == name


def test_results_are_json_with_a_line_for_each_entry(tmp_path):
    path = tmp_path / "new" / "results.json"
    results = {**header({"gpu": None}, "a command"), "rows": [{"a": 1}, {"a": 2}], "none": []}
    write_results(results, path)
    assert json.loads(path.read_text()) == results
    assert '    {"a": 1},\n    {"a": 2}\n' in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
    assert results["date"].endswith("+00:00")
