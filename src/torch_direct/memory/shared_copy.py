"""One copy of a file in named shared memory, for all processes of a user that read it.

Needed where the file's own mapping cannot be given to the GPU. Who uses the copy holds a shared
lock on it; who lets go last removes it. A copy that a crashed process left behind is used again by
the next reader of the same, unchanged file.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import shutil
from pathlib import Path

import numpy as np

from torch_direct.memory.pages import require_available

FOLDER = Path("/dev/shm")
"""Where named shared memory lives."""

_CHUNK = 64 << 20


class SharedCopy:
    """A mapping of the copy, writable so that it can be registered anywhere."""

    def __init__(self, source: Path) -> None:
        """Map the copy of a file, made first if nobody has.

        Raises:
            HostMemoryError: there is not enough free memory for the copy.
            OSError: the file cannot be read, or shared memory cannot be written.
        """
        self._path = FOLDER / _name_of(source)
        self._process = os.getpid()
        self._descriptor = self._open_locked(source)
        try:
            self.mapping = mmap.mmap(self._descriptor, 0)
        except (OSError, ValueError):
            self._let_go()
            raise
        self.address = int(np.frombuffer(self.mapping, dtype=np.uint8).ctypes.data)

    def __del__(self) -> None:
        if hasattr(self, "mapping"):
            self._let_go()

    def _open_locked(self, source: Path) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._fill_if_empty(descriptor, source)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                # Between two locks another process may have removed the name.
                if _is_still(self._path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _fill_if_empty(self, descriptor: int, source: Path) -> None:
        size = source.stat().st_size
        if os.fstat(descriptor).st_size == size:
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_size == size:
            return
        require_available(size)
        os.ftruncate(descriptor, 0)
        # The size is right only once all is copied, so that a broken copy is never taken for one.
        with source.open("rb") as file, open(descriptor, "wb", closefd=False) as target:
            shutil.copyfileobj(file, target, _CHUNK)

    def _let_go(self) -> None:
        # A forked child shares its parent's lock, and must not remove what the parent uses.
        if os.getpid() == self._process:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _name_of(source: Path) -> str:
    status = source.stat()
    version = f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    return f"torch-direct-{os.getuid()}-{version}"


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
