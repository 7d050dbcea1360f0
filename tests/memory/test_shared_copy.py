"""One copy of a file in named shared memory."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import torch_direct as td
from torch_direct.errors import CudaError
from torch_direct.memory import files, shared_copy
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
    (folder / shared_copy._name_of(source.stat())).write_bytes(source.read_bytes()[:300])
    copy = SharedCopy(source)
    assert copy.mapping[:] == source.read_bytes()


def test_a_copy_that_cannot_be_finished_takes_no_memory(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_halfway(file: Any, target: Any, chunk: int) -> None:
        target.write(file.read(300))
        target.flush()
        raise OSError("the disk is gone")

    monkeypatch.setattr(shared_copy.shutil, "copyfileobj", stop_halfway)
    with pytest.raises(OSError, match="the disk is gone"):
        SharedCopy(source)
    assert [name.stat().st_size for name in folder.iterdir()] == [0]


def test_a_forked_child_does_not_remove_the_copy(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = SharedCopy(source)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    del copy
    gc.collect()
    assert len(list(folder.iterdir())) == 1


def test_readers_that_begin_together_share_one_copy(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filling, made = threading.Event(), []
    fills = []
    copy = shutil.copyfileobj

    def copy_slowly(*args: Any) -> None:
        fills.append(args)
        filling.set()
        time.sleep(0.3)
        copy(*args)

    monkeypatch.setattr(shared_copy.shutil, "copyfileobj", copy_slowly)
    # Locks belong to the opened file, so threads wait for each other as processes do.
    readers = [
        threading.Thread(target=lambda: made.append(SharedCopy(source)), daemon=True)
        for _ in range(3)
    ]
    readers[0].start()
    assert filling.wait(60)
    for reader in readers[1:]:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert len(made) == 3, "a reader waits for another to let go of the copy"
    assert len(fills) == 1
    assert len(list(folder.iterdir())) == 1
    made[0].mapping[200] = 7
    assert [reader.mapping[200] for reader in made] == [7] * 3


def before_a_lock(monkeypatch: pytest.MonkeyPatch, kind: int, happen: Callable[[], object]) -> None:
    """Let something happen once, just before a lock of a kind is taken."""
    lock = shared_copy.fcntl.flock
    waiting = [happen]

    def flock(descriptor: int, operation: int) -> None:
        if operation & kind and waiting:
            waiting.pop()()
        lock(descriptor, operation)

    monkeypatch.setattr(shared_copy.fcntl, "flock", flock)


def test_a_copy_that_was_removed_before_it_was_locked_is_made_again(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = folder / shared_copy._name_of(source.stat())
    before_a_lock(monkeypatch, shared_copy.fcntl.LOCK_SH, name.unlink)
    copy = SharedCopy(source)
    assert name.read_bytes() == copy.mapping[:] == source.read_bytes()


def test_a_copy_that_was_made_before_it_was_locked_is_taken(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = folder / shared_copy._name_of(source.stat())
    others = bytes(source.stat().st_size)
    before_a_lock(monkeypatch, shared_copy.fcntl.LOCK_EX, lambda: name.write_bytes(others))
    assert SharedCopy(source).mapping[:] == others


def test_a_copy_of_another_user_is_refused(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(PermissionError, match=f"belongs to user {user}; expected .* {user + 1} "):
        SharedCopy(source)


def test_a_link_is_not_followed(folder: Path, source: Path, tmp_path: Path) -> None:
    (folder / shared_copy._name_of(source.stat())).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        SharedCopy(source)
    assert not (tmp_path / "elsewhere").exists()


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
    again = files.reopen(u.owner.source, u.owner.nbytes, writable=False)
    assert again.source == u.owner.source
    with pytest.raises(td.errors.ReadOnlyError):
        u[0] = 1
    with pytest.raises(CudaError, match="tmpfs"):
        td.load(source, writable=True)
