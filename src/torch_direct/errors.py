"""The errors of this package.

Every message says the value that was met, what was expected, and what to do about it::

    TorchDirectError
    ├── UnifiedMemoryError (RuntimeError)     host memory that the GPU cannot be given
    │   ├── CudaError                         a CUDA driver call failed
    │   ├── AlreadyRegisteredError            somebody else registered this memory
    │   ├── HostMemoryError (MemoryError)     too little memory, or too low a limit for locking it
    │   ├── MovedMemoryError                  the memory went away under a unified tensor
    │   └── ForkedProcessError                private unified memory touched in a forked child
    ├── PlacementError (RuntimeError)         operands that no placement rule accepts
    ├── ReadOnlyError (RuntimeError)          a write to memory that is mapped read-only
    ├── FileFormatError (ValueError)          a file or folder that is not in the form expected
    ├── GraphError (ValueError)               a malformed graph
    ├── DatasetError (ValueError)             unknown or malformed data
    ├── CheckpointError (RuntimeError)        a checkpoint that cannot be used
    ├── MissingExtraError (ImportError)       an optional library is not installed
    ├── NvmlError (RuntimeError)              the driver does not tell what was asked about the GPU
    └── WrongBatchError                       a sampler gave a batch that cannot have been drawn

A row index out of range raises the built-in `IndexError`; an argument of the wrong type or value
raises the built-in `TypeError` or `ValueError`.
"""

from __future__ import annotations


class TorchDirectError(Exception):
    """Root of all errors that this package defines."""


class UnifiedMemoryError(TorchDirectError, RuntimeError):
    """Host memory could not be given to the GPU."""


class CudaError(UnifiedMemoryError):
    """A CUDA driver call returned an error code."""


class AlreadyRegisteredError(UnifiedMemoryError):
    """The memory, or a part of it, is registered with CUDA by somebody else."""


class HostMemoryError(UnifiedMemoryError, MemoryError):
    """Too little host memory, or too low a limit for locking it."""


class MovedMemoryError(UnifiedMemoryError):
    """The memory behind a unified tensor was moved or freed by an operation on its source."""


class ForkedProcessError(UnifiedMemoryError):
    """Private unified memory was touched in a forked child, which does not have it."""


class PlacementError(TorchDirectError, RuntimeError):
    """No placement rule accepts the operands of an operator."""


class ReadOnlyError(TorchDirectError, RuntimeError):
    """A write to memory that is mapped read-only."""


class FileFormatError(TorchDirectError, ValueError):
    """A file cannot be mapped as a tensor, or a folder is not in the form expected."""


class GraphError(TorchDirectError, ValueError):
    """A graph is malformed."""


class DatasetError(TorchDirectError, ValueError):
    """A data set is unknown or malformed."""


class CheckpointError(TorchDirectError, RuntimeError):
    """A checkpoint cannot be used."""


class MissingExtraError(TorchDirectError, ImportError):
    """An optional library is not installed."""


class NvmlError(TorchDirectError, RuntimeError):
    """The driver does not tell what was asked about the GPU."""


class WrongBatchError(TorchDirectError):
    """A sampler gave a batch that cannot have been drawn from its graph."""
