"""Can this machine give host memory to a GPU, and if not, why: measured, in words."""

from __future__ import annotations

import enum
import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from torch_direct import nvml
from torch_direct.errors import MissingExtraError, NvmlError, TorchDirectError
from torch_direct.memory import driver, pages
from torch_direct.memory.files import map_file, read_header
from torch_direct.tensor.create import empty, is_unified, unified

_COPY_BYTES = 256 << 20
_COPY_REPEATS = 5
_SLOW_LINK = 20e9
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


class Verdict(enum.Enum):
    """What a finding means for unified memory."""

    GOOD = "good"
    NOTE = "note"
    """It works, and could be better."""
    BROKEN = "broken"
    """Unified memory cannot work on a GPU."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at."""
    verdict: Verdict
    """What it means."""
    found: str
    """What was found, with its figures."""
    remedy: str = ""
    """What to do about it, empty where nothing has to be done."""


def diagnose() -> Iterator[Finding]:
    """Look at everything that unified memory needs, most basic first.

    Starts CUDA where there is a GPU, and copies 256 MiB over the link a few times. What cannot be
    looked at is a finding too.
    """
    needs_gpu: dict[str, Callable[[], Finding | Iterator[Finding]]] = {
        "driver": _driver,
        "registering memory": _registration,
        "link": _link,
        "copy rate": _copy_rate,
        "mapped files": _mapped_files,
    }
    yield from _look("operating system", _operating_system, Verdict.NOTE)
    yield from _look("PyTorch", _torch, Verdict.BROKEN)
    yield from _look("GPU", _gpu, Verdict.BROKEN)
    if torch.cuda.is_available():
        for subject, probe in needs_gpu.items():
            found = list(_look(subject, probe, Verdict.BROKEN))
            yield from found
            if any(finding.verdict is Verdict.BROKEN for finding in found):
                break
    yield from _look("Triton", _triton, Verdict.NOTE)
    yield from _look("C compiler", _c_compiler, Verdict.NOTE)
    yield from _look("locked memory", _locked_memory, Verdict.NOTE)
    yield from _look("host memory", _free_memory, Verdict.NOTE)
    yield from _look("huge pages", _private_huge_pages, Verdict.NOTE)
    yield from _look("huge pages, shared", _shared_huge_pages, Verdict.NOTE)


def _look(
    subject: str, probe: Callable[[], Finding | Iterator[Finding]], if_it_fails: Verdict
) -> Iterator[Finding]:
    try:
        found = probe()
        yield from [found] if isinstance(found, Finding) else list(found)
    except (TorchDirectError, RuntimeError, OSError, KeyError, ValueError) as error:
        yield Finding(subject, if_it_fails, f"{type(error).__name__}: {error}")


def _operating_system() -> Finding:
    found = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    if platform.system() == "Linux":
        return Finding("operating system", Verdict.GOOD, found)
    return Finding("operating system", Verdict.BROKEN, found, "Unified memory needs Linux.")


def _torch() -> Finding:
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    found = f"{torch.__version__}, {build}"
    if torch.version.cuda:
        return Finding("PyTorch", Verdict.GOOD, found)
    return Finding(
        "PyTorch",
        Verdict.BROKEN,
        found,
        "Install a CUDA build of PyTorch (plain `pip install torch` on Linux). Until then "
        "everything runs on the CPU.",
    )


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return Finding(
            "GPU",
            Verdict.BROKEN,
            "none that PyTorch can use",
            "Check `nvidia-smi`, CUDA_VISIBLE_DEVICES and, in a container, `--gpus all`. Until "
            "then everything runs on the CPU.",
        )
    names = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        names.append(
            f"{properties.name}, {pages.size_text(properties.total_memory)}, compute capability "
            f"{properties.major}.{properties.minor}"
        )
    return Finding("GPU", Verdict.GOOD, "; ".join(names))


def _driver() -> Finding:
    major, minor = driver.driver_version()
    supports = f"supports CUDA up to {major}.{minor}"
    try:
        release = Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return Finding("driver", Verdict.GOOD, supports)
    return Finding("driver", Verdict.GOOD, f"{release}, {supports}")


def _registration() -> Finding:
    """Register memory in place, let the GPU read and write it, and look at the host bytes."""
    device = torch.cuda.current_device()
    same = driver.device_attribute(driver.ATTRIBUTE_HOST_POINTER_IS_DEVICE_POINTER, device)
    if not same:
        return Finding(
            "registering memory",
            Verdict.BROKEN,
            "the GPU sees registered memory at another address than the host",
            "This GPU or platform is too old for unified tensors.",
        )
    try:
        host = torch.arange(1024.0, device="cpu")
        view = unified(host)
        view.add_(1)
        torch.cuda.synchronize()
        right = is_unified(view) and bool(host[1] == 2)
    except (TorchDirectError, RuntimeError) as error:
        return Finding("registering memory", Verdict.BROKEN, str(error), _WHY_NOT_REGISTERED)
    if not right:
        return Finding(
            "registering memory",
            Verdict.BROKEN,
            "the host does not see what the GPU wrote",
            _WHY_NOT_REGISTERED,
        )
    return Finding("registering memory", Verdict.GOOD, "the GPU reads and writes it in place")


_WHY_NOT_REGISTERED = (
    "In a container or a virtual machine, allow locking memory (`--ulimit memlock=-1`); under "
    "WSL 2 the share of memory that can be locked is limited by Windows."
)


def _link() -> Finding:
    try:
        link = nvml.Gpu().link()
    except (MissingExtraError, NvmlError) as error:
        return Finding("link", Verdict.NOTE, f"not looked at: {error}")
    found = (
        f"PCIe generation {link.generation} x{link.width} "
        f"(at most {link.most_generation} x{link.most_width})"
    )
    if link.width < link.most_width:
        return Finding(
            "link", Verdict.NOTE, found, "Some lanes are not used: check the slot and the riser."
        )
    return Finding("link", Verdict.GOOD, found)


def _copy_rate() -> Finding:
    source = empty(_COPY_BYTES, dtype=torch.uint8)
    target = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=source.device)
    seconds = []
    for _ in range(_COPY_REPEATS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    rate = _COPY_BYTES / min(seconds)
    found = f"{rate / 1e9:.1f} GB/s from unified memory to the GPU"
    if rate < _SLOW_LINK:
        remedy = "Slower than PCIe 4.0 x16: unified reads will be bound by the link."
        return Finding("copy rate", Verdict.NOTE, found, remedy)
    return Finding("copy rate", Verdict.GOOD, found)


def _mapped_files() -> Iterator[Finding]:
    for folder in (Path(tempfile.gettempdir()), Path("/dev/shm")):
        subject = f"files in {folder}"
        if not os.access(folder, os.W_OK):
            yield Finding(subject, Verdict.NOTE, "not looked at: the folder cannot be written")
            continue
        yield _mapped_file(folder, subject)


def _mapped_file(folder: Path, subject: str) -> Finding:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "probe.npy"
        np.save(path, np.zeros(1 << 20, dtype=np.uint8))
        try:
            owner = map_file(path, read_header(path, None), writable=False)
        except (TorchDirectError, OSError) as error:
            return Finding(subject, Verdict.NOTE, str(error), "td.load will not work there.")
    if owner.source is not None and not owner.source.copied:
        return Finding(subject, Verdict.GOOD, "td.load maps them, processes share one copy")
    return Finding(
        subject,
        Verdict.NOTE,
        "td.load reads them into shared memory: mappings there cannot be registered",
        "Keep .npy files on ext4 or tmpfs to have them mapped.",
    )


def _triton() -> Finding:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            "Triton",
            Verdict.NOTE,
            "not installed: gathers run in plain PyTorch",
            "pip install triton (CUDA builds of PyTorch bring it along).",
        )
    return Finding("Triton", Verdict.GOOD, version)


def _c_compiler() -> Finding:
    """Triton compiles its launchers with a C compiler, once for each kernel and machine."""
    named = os.environ.get("CC")
    compiler = shutil.which(named) if named else shutil.which("gcc") or shutil.which("clang")
    if compiler:
        return Finding("C compiler", Verdict.GOOD, compiler)
    verdict = Verdict.BROKEN if torch.cuda.is_available() else Verdict.NOTE
    remedy = "Triton needs one: install gcc or clang, or point CC at one."
    return Finding("C compiler", verdict, f"none ({named or 'gcc, clang'})", remedy)


def _locked_memory() -> Finding:
    limit = pages.locked_memory_limit()
    if limit is None:
        return Finding("locked memory", Verdict.GOOD, "no limit")
    return Finding(
        "locked memory",
        Verdict.NOTE,
        f"limited to {pages.size_text(limit)} (`ulimit -l`)",
        "The NVIDIA driver does not count against it on bare Linux. Where registering fails, "
        "raise it: `ulimit -l unlimited`, or memlock in /etc/security/limits.conf.",
    )


def _free_memory() -> Finding:
    total = pages.memory_info()["MemTotal"]
    found = f"{pages.size_text(pages.available_memory())} free of {pages.size_text(total)}"
    return Finding("host memory", Verdict.GOOD, found)


def _private_huge_pages() -> Finding:
    return _huge_pages(
        "huge pages",
        "enabled",
        "Allocated unified memory uses 4 KiB pages: echo madvise > "
        "/sys/kernel/mm/transparent_hugepage/enabled",
    )


def _shared_huge_pages() -> Finding:
    return _huge_pages(
        "huge pages, shared",
        "shmem_enabled",
        "td.empty(..., shared=True) uses 4 KiB pages: echo advise > "
        "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
    )


def _huge_pages(subject: str, setting: str, remedy: str) -> Finding:
    try:
        choices = (_HUGE_PAGES / setting).read_text().split()
    except OSError:
        return Finding(subject, Verdict.NOTE, "the kernel does not say")
    chosen = next((c.strip("[]") for c in choices if c.startswith("[")), "unknown")
    if chosen in ("never", "deny"):
        return Finding(subject, Verdict.NOTE, chosen, remedy)
    return Finding(subject, Verdict.GOOD, chosen)
