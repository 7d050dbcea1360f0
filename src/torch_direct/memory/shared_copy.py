"""One copy of a file in named shared memory, for all processes of a user that read it.

Needed where the file's own mapping cannot be given to the GPU. Who uses the copy holds a shared
lock on it; who lets go last removes it. A copy that a crashed process left behind is used again by
the next reader of the same, unchanged file.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import time
from pathlib import Path

import numpy as np

from torch_direct.memory.pages import require_available

FOLDER = Path("/dev/shm")
"""Where named shared memory lives."""

_CHUNK = 64 << 20
_PAUSE = 0.05
"""Seconds between two looks at a copy that another process makes."""


class SharedCopy:
    """A mapping of the copy, writable so that it can be registered anywhere."""

    def __init__(self, source: Path) -> None:
        """Map the copy of a file, made first if nobody has.

        Raises:
            HostMemoryError: there is not enough free memory for the copy.
            OSError: the file cannot be read, shared memory cannot be written, or somebody else
                has put a file where the copy belongs.
        """
        status = source.stat()
        self._path = FOLDER / _name_of(status)
        self._process = os.getpid()
        self._descriptor = self._open_locked(source, status.st_size)
        try:
            self.mapping = mmap.mmap(self._descriptor, 0)
        except (OSError, ValueError):
            self._let_go()
            raise
        self.address = int(np.frombuffer(self.mapping, dtype=np.uint8).ctypes.data)

    def __del__(self) -> None:
        if hasattr(self, "mapping"):
            self._let_go()

    def _open_locked(self, source: Path, size: int) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                _require_own(self._path, descriptor)
                self._fill_if_empty(descriptor, source, size)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                # Between two locks another process may have removed the name.
                if _is_still(self._path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _fill_if_empty(self, descriptor: int, source: Path, size: int) -> None:
        while os.fstat(descriptor).st_size != size:
            # Whoever fills it holds a shared lock from then on, for which this one would wait.
            if not _locked_now(descriptor):
                time.sleep(_PAUSE)
                continue
            if os.fstat(descriptor).st_size != size:
                _fill(descriptor, source, size)
            return

    def _let_go(self) -> None:
        # A forked child shares its parent's lock, and must not remove what the parent uses.
        if os.getpid() == self._process and _locked_now(self._descriptor):
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _locked_now(descriptor: int) -> bool:
    """Take the exclusive lock unless somebody else holds any."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fill(descriptor: int, source: Path, size: int) -> None:
    require_available(size)
    os.ftruncate(descriptor, 0)
    try:
        # The size is right only once all is copied, so that a broken copy is never taken for one.
        with source.open("rb") as file, open(descriptor, "wb", closefd=False) as target:
            shutil.copyfileobj(file, target, _CHUNK)
    except BaseException:
        os.ftruncate(descriptor, 0)  # a part of it would stay in memory, for nobody
        raise


def _require_own(path: Path, descriptor: int) -> None:
    owner = os.fstat(descriptor).st_uid
    if owner != os.geteuid():
        raise PermissionError(
            f"{path} belongs to user {owner}; expected a copy that user {os.geteuid()} made. "
            "Remove it, or load the file from a folder on tmpfs or ext4."
        )


def _name_of(status: os.stat_result) -> str:
    version = f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    return f"torch-direct-{os.getuid()}-{version}"


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
