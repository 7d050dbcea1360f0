"""What users ask of the memory: figures, a table, and to let go of what is free."""

from __future__ import annotations

from torch_direct.memory.host_memory import HOST_MEMORY
from torch_direct.memory.owner import Kind
from torch_direct.memory.pages import size_text

_MEANING = {
    Kind.REGISTERED: "tensors' own memory, registered in place",
    Kind.ALLOCATED: "allocated private",
    Kind.SHARED: "allocated shared",
    Kind.MAPPED: "files, mapped",
    Kind.PINNED: "page-locked by PyTorch already",
}


def memory_stats() -> dict[str, int]:
    """How much unified memory this process has, by kind.

    Returns:
        For each kind (``registered``, ``allocated``, ``shared``, ``mapped``, ``pinned``) the
        bytes in use (``allocated.bytes``), the pieces (``allocated.count``) and the pieces ever
        made (``allocated.total_count``); ``in_use.bytes`` and ``in_use.peak_bytes`` over all
        kinds; ``cached.bytes``, free memory kept for reuse. All bytes as asked for.
    """
    return HOST_MEMORY.statistics()


def memory_summary() -> str:
    """The figures of `memory_stats` as a table for people."""
    figures = HOST_MEMORY.statistics()
    lines = [f"{'unified memory':<44}{'in use':>16}{'pieces':>9}{'ever made':>11}"]
    for kind, meaning in _MEANING.items():
        name = kind.value
        lines.append(
            f"{meaning:<44}{size_text(figures[f'{name}.bytes']):>16}"
            f"{figures[f'{name}.count']:>9,}{figures[f'{name}.total_count']:>11,}"
        )
    lines.append(f"{'all, now':<44}{size_text(figures['in_use.bytes']):>16}")
    lines.append(f"{'all, at most':<44}{size_text(figures['in_use.peak_bytes']):>16}")
    lines.append(f"{'free, kept for reuse':<44}{size_text(figures['cached.bytes']):>16}")
    return "\n".join(lines)


def empty_cache() -> None:
    """Give unified memory that is not in use back to the operating system.

    Waits for the GPUs, since one of them might still read it.
    """
    HOST_MEMORY.empty_cache()
