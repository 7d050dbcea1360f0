"""One copy of a file in named shared memory."""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import torch_direct as td
from torch_direct.errors import CudaError
from torch_direct.memory import shared_copy
from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.memory.shared_copy import SharedCopy


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        monkeypatch.setattr(shared_copy, "FOLDER", Path(name))
        yield Path(name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(1000, dtype=np.float32))
    return path


def test_readers_share_one_copy_and_the_last_removes_it(folder: Path, source: Path) -> None:
    first, second = SharedCopy(source), SharedCopy(source)
    (name,) = folder.iterdir()
    assert name.read_bytes() == source.read_bytes()
    first.mapping[200] = 7
    assert second.mapping[200] == 7
    del first
    gc.collect()
    assert name.exists()
    del second
    gc.collect()
    assert not name.exists()


def test_a_changed_file_gets_a_copy_of_its_own(folder: Path, source: Path) -> None:
    old = SharedCopy(source)
    np.save(source, np.zeros(1000, dtype=np.float32))
    os.utime(source, ns=(1, 1))
    new = SharedCopy(source)
    assert len(list(folder.iterdir())) == 2
    assert old.mapping[:] != new.mapping[:]


def test_a_half_made_copy_is_made_again(folder: Path, source: Path) -> None:
    (folder / shared_copy._name_of(source)).write_bytes(source.read_bytes()[:300])
    copy = SharedCopy(source)
    assert copy.mapping[:] == source.read_bytes()


def _hold(path: str, folder: str, ready: object, leave: object) -> None:
    shared_copy.FOLDER = Path(folder)
    copy = SharedCopy(Path(path))
    ready.set()
    leave.wait(60)
    del copy


def test_another_process_keeps_the_copy(folder: Path, source: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(str(source), str(folder), ready, leave))
    child.start()
    assert ready.wait(60)
    mine = SharedCopy(source)
    del mine
    gc.collect()
    assert len(list(folder.iterdir())) == 1
    leave.set()
    child.join(60)
    assert child.exitcode == 0
    assert list(folder.iterdir()) == []


def test_load_reads_a_copy_where_the_mapping_is_refused(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = HOST_MEMORY.register

    def refuse_mappings_of_files(owner: object) -> None:
        if owner.source is not None and not owner.source.copied:
            raise CudaError("this kind of mapping is refused")
        register(owner)

    monkeypatch.setattr(HOST_MEMORY, "register", refuse_mappings_of_files)
    u = td.load(source)
    assert len(list(folder.iterdir())) == 1
    assert u.numpy().tolist() == list(range(1000))
    with pytest.raises(td.errors.ReadOnlyError):
        u[0] = 1
    with pytest.raises(CudaError, match="tmpfs"):
        td.load(source, writable=True)
