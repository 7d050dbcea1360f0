import errno
import logging
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

import torch_direct
from torch_direct.cli import main
from torch_direct.errors import DatasetError

runner = CliRunner()


@pytest.fixture(autouse=True)
def level_of_the_log():
    """What the command line sets for its whole process."""
    logger = logging.getLogger("torch_direct")
    before = logger.level
    yield
    logger.setLevel(before)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_names_the_commands():
    result = runner.invoke(main.app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.output for command in ("train", "convert", "doctor"))


def test_version():
    result = runner.invoke(main.app, ["--version"])
    assert result.output == f"torch-direct {torch_direct.__version__}\n"


def test_start_up_imports_no_heavy_library():
    heavy = ["torch_geometric", "matplotlib", "sklearn", "triton", "ogb"]
    result = python(
        "import sys; from torch_direct.cli.main import app; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert result.stdout == "[]\n", result.stderr


def test_missing_typer_is_one_line_that_says_how_to_install_it():
    result = python("import sys; sys.modules['typer'] = None; import torch_direct.cli.main")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: typer is not installed; the command line needs it: "
        "pip install 'torch-direct[train]'"
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DatasetError("the data is 'x'; expected y"), "error: the data is 'x'; expected y\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "report.png"),
            "error: [Errno 28] No space left on device: 'report.png'\n",
        ),
        (MemoryError(), "error: too little memory (MemoryError): ask for less, or free some\n"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes\nframe #0: C++"),
            "error: too little memory (DefaultCPUAllocator: can't allocate memory: 8 bytes): ask "
            "for less, or free some\n",
        ),
        (
            RuntimeError("Storage size calculation overflowed with sizes=[9]"),
            "error: too little memory (Storage size calculation overflowed with sizes=[9]): ask "
            "for less, or free some\n",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "error: too little memory (CUDA out of memory.): ask for less, or free some\n",
        ),
    ],
)
def test_an_error_that_can_be_mended_is_one_line(monkeypatch, capsys, error, line):
    def fail() -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as caught:
        main.run()
    assert caught.value.code == 1
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("error", [ZeroDivisionError, RuntimeError])
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    def fail() -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(error):
        main.run()


def test_the_package_is_the_command_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "torch_direct", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split()[-1] == torch_direct.__version__
