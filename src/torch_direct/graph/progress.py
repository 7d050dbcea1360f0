"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called from time to time with how much is done and how much there is in all; at the end the two
are the same. `torch-direct convert` draws a bar of it."""


class Meter:
    """Adds up what is done and reports it."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        """Begin at 0.

        Args:
            progress: Whom to report to, if anybody.
            total: How much there is, or at most is, to do.
        """
        self._progress = progress
        self._done, self._total = 0, total

    def advance(self, amount: int) -> None:
        """Report that `amount` more is done."""
        self._done = min(self._done + amount, self._total)
        if self._progress is not None:
            self._progress(self._done, self._total)

    def finish(self) -> None:
        """Report that all is done, where `total` was more than there was to do."""
        if self._done < self._total:
            self.advance(self._total)
