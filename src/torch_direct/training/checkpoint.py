"""Checkpoints that survive a crash while they are written and tell when they were damaged.

A checkpoint is a file of `torch.save` behind two lines: a mark with the version of the form, and
the SHA-256 of what follows, because `torch.load` does not notice a flipped bit in a weight.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

from torch_direct.errors import CheckpointError

_MARK = b"torch-direct checkpoint 2\n"
_DIGEST_BYTES = 64


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read."""

    state: dict[str, Any]
    """What was saved, with tensors on the CPU."""
    complaint: str | None
    """What was wrong with the newest checkpoint, where the one before it had to be used."""


class CheckpointStore:
    """The newest checkpoint of a run and the one before it, as two files in a folder."""

    def __init__(
        self, folder: Path, name: str, *, before_first_save: Callable[[], None] | None = None
    ) -> None:
        """Keep the names; nothing is read or made.

        Args:
            folder: Where the files are; made by the first `save`.
            name: How the files begin, so that several runs can share a folder.
            before_first_save: Called once, when the first checkpoint has been written and is about
                to take the name `newest`.
        """
        self.newest = folder / f"{name}.pt"
        self.previous = folder / f"{name}.previous.pt"
        self._earlier = folder / f"{name}.earlier.pt"
        self._damaged = folder / f"{name}.damaged.pt"
        self._partial = folder / f"{name}.partial"
        self._before_first_save = before_first_save

    @property
    def files(self) -> list[Path]:
        """What `save` and `load` write or replace."""
        return [self.newest, self.previous, self._damaged, self._partial]

    def exists(self) -> bool:
        """Return whether there is a checkpoint, usable or not."""
        return self.newest.exists() or self.previous.exists()

    def set_aside(self) -> Path | None:
        """Keep what an earlier run left under another name; return it, None where nothing is.

        It is what `load` would read. What was set aside before stays: the names are numbered.
        """
        there = [path for path in (self.newest, self.previous) if path.exists()]
        if not there:
            return None
        numbered = (self.newest.with_suffix(f".earlier-{number}.pt") for number in count(2))
        earlier = next(path for path in chain([self._earlier], numbered) if not path.exists())
        next(filter(_can_be_read, there), there[0]).replace(earlier)
        for path in there:
            path.unlink(missing_ok=True)
        return earlier

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` as the newest checkpoint and keep the one before it.

        At every moment, also if the machine stops, one complete checkpoint is there.

        Args:
            state: Tensors, numbers, strings, None, and lists and dictionaries of these.

        Raises:
            CheckpointError: The file cannot be written, for want of space for example.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        try:
            self.newest.parent.mkdir(parents=True, exist_ok=True)
            with self._partial.open("wb") as file:
                file.write(_MARK + _digest(content) + b"\n" + content)
                file.flush()
                os.fsync(file.fileno())
            if self._before_first_save is not None:
                self._before_first_save()
                self._before_first_save = None
            if self.newest.exists():
                self.newest.replace(self.previous)
            self._partial.replace(self.newest)
            _sync_folder(self.newest.parent)
        except OSError as error:
            with suppress(OSError):
                self._partial.unlink()
            raise CheckpointError(
                f"cannot write the checkpoint {self.newest}: {error}; make room or choose another "
                "folder with --checkpoint"
            ) from error

    def load(self) -> Loaded:
        """Read the newest checkpoint, or the one before it where the newest is damaged.

        A damaged newest checkpoint is set aside under another name, so that the next `save` does
        not push the good one out.

        Raises:
            CheckpointError: There is no checkpoint, or both are damaged.
        """
        if not self.exists():
            raise CheckpointError(
                f"there is no checkpoint {self.newest}; expected one that an earlier run wrote: "
                f"{self._use_earlier()}start without --resume, or name its folder with --checkpoint"
            )
        try:
            return Loaded(_read(self.newest), None)
        except CheckpointError as newest_error:
            try:
                state = _read(self.previous)
            except CheckpointError as previous_error:
                raise CheckpointError(
                    f"no checkpoint can be used: {newest_error}; {previous_error}; "
                    f"{self._use_earlier()}start again without --resume"
                ) from newest_error
            if self.newest.exists():
                self.newest.replace(self._damaged)
            return Loaded(state, f"{newest_error}; going on from the one before it")

    def _use_earlier(self) -> str:
        """Return how to go on from what was set aside, nothing where nothing was."""
        there = sorted(self.newest.parent.glob(f"{self.newest.stem}.earlier*.pt"))
        names = " or ".join(path.name for path in there)
        return f"rename {names} to {self.newest.name} to go on from it, " if names else ""


def check_same_settings(saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Compare the settings of a checkpoint with those of the run that wants to go on from it.

    Raises:
        CheckpointError: Some differ; the message names them with both values.
    """
    names = [name for name in current if saved.get(name) != current[name]]
    if names:
        differences = ", ".join(
            f"{name} was {saved.get(name)!r} and is now {current[name]!r}" for name in names
        )
        raise CheckpointError(
            f"the checkpoint is of a run with other settings: {differences}; give the same "
            "settings, or start again without --resume"
        )


def _can_be_read(path: Path) -> bool:
    try:
        _read(path)
    except CheckpointError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    start = len(_MARK) + _DIGEST_BYTES + 1
    content = raw[start:]
    if not raw.startswith(_MARK):
        raise CheckpointError(f"{path} is not a checkpoint of this version of torch-direct")
    if raw[len(_MARK) : start - 1] != _digest(content):
        raise CheckpointError(f"{path} is damaged (its content does not match its SHA-256)")
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than weights and numbers") from error
    return state


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _sync_folder(folder: Path) -> None:
    """Make the renames in `folder` last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
