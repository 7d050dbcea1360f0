"""How much unified memory there is, by kind."""

from __future__ import annotations

from collections import Counter

from torch_direct.memory.owner import Kind


class Statistics:
    """Bytes and pieces in use, by kind, and the most that ever were."""

    def __init__(self) -> None:
        self._bytes: Counter[Kind] = Counter()
        self._pieces: Counter[Kind] = Counter()
        self._made: Counter[Kind] = Counter()
        self._peak = 0

    def add(self, kind: Kind, nbytes: int) -> None:
        """Count a piece of memory that came into use."""
        self._bytes[kind] += nbytes
        self._pieces[kind] += 1
        self._made[kind] += 1
        self._peak = max(self._peak, sum(self._bytes.values()))

    def remove(self, kind: Kind, nbytes: int) -> None:
        """Count a piece of memory that went out of use."""
        self._bytes[kind] -= nbytes
        self._pieces[kind] -= 1

    def as_dict(self, cached: int) -> dict[str, int]:
        """The figures by name.

        Args:
            cached: bytes that wait for reuse.
        """
        figures = {}
        for kind in Kind:
            figures[f"{kind.value}.bytes"] = self._bytes[kind]
            figures[f"{kind.value}.count"] = self._pieces[kind]
            figures[f"{kind.value}.total_count"] = self._made[kind]
        figures["in_use.bytes"] = sum(self._bytes.values())
        figures["in_use.peak_bytes"] = self._peak
        figures["cached.bytes"] = cached
        return figures
