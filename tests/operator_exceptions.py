"""What of PyTorch's operator database does not work, or cannot be compared, over unified tensors.

Names are those of the database: the operator and, after a dot, its variant. An entry that is not
needed any more fails `test_operators.py`, so the tables can only shrink.
"""

from __future__ import annotations

FAILS: dict[str, str] = {}
"""Operators that do not work, on any machine."""

FAILS_ON_CPU: dict[str, str] = {}
"""Operators that do not work where there is no CUDA, only there."""

FAILS_ON_CUDA: dict[str, str] = {
    "tensor_split": "PyTorch wants the indices of one sample on the CPU, plain or unified",
    "nn.functional.ctc_loss": "PyTorch asks for a GPU kernel with lengths that lie on the CPU",
}
"""Operators that do not work on a GPU, only there."""

FAILS_IN_PLACE: dict[str, str] = {
    "resize_": "the GPU reads the memory where it is, so it cannot be resized",
}
"""Operators that cannot change a unified tensor in place, on any machine."""

FAILS_IN_PLACE_ON_CUDA: dict[str, str] = {}
"""Operators that cannot change a unified tensor in place on a GPU, only there."""

FAILS_WITH_OUT: dict[str, str] = {
    "linalg.matrix_rank": "PyTorch leaves out= alone where an operand is of a tensor subclass",
    "linalg.matrix_rank.hermitian": "as linalg.matrix_rank",
}
"""Operators that cannot write into a unified tensor given as ``out=``, on any machine."""

FAILS_WITH_OUT_ON_CUDA: dict[str, str] = {
    "linspace.tensor_overload": "its device argument, the CPU by default, must be that of out=",
    "logspace.tensor_overload": "as linspace.tensor_overload",
    "normal.number_mean": "as linspace.tensor_overload",
}
"""Operators that cannot write into a unified tensor given as ``out=`` on a GPU, only there."""

CANNOT_RUN_ON_CPU: dict[str, str] = {
    "jiterator_2inputs_2outputs": "compiles its kernels for GPUs only",
    "jiterator_4inputs_with_extra_args": "compiles its kernels for GPUs only",
    "jiterator_binary": "compiles its kernels for GPUs only",
    "jiterator_binary_return_by_ref": "compiles its kernels for GPUs only",
    "jiterator_unary": "compiles its kernels for GPUs only",
}
"""Operators that plain CPU tensors do not have either."""

CANNOT_RUN_ON_CUDA: dict[str, str] = {
    "sparse.mm.reduce": "has a kernel for the CPU only",
}
"""Operators that plain CUDA tensors do not have either."""

UNDEFINED_VALUES: frozenset[str] = frozenset(
    {
        "empty_like",
        "new_empty",
        "new_empty_strided",
    }
)
"""Operators whose results are new memory, its contents unspecified: only the layout is compared."""

FIRST_RESULT_ONLY: frozenset[str] = frozenset(
    {
        "torch.ops.aten._efficient_attention_forward",
        "torch.ops.aten._flash_attention_forward",
    }
)
"""Operators that also return a random state, which is not initialised where nothing is random."""

WITHOUT_OPERANDS: frozenset[str] = frozenset(
    {
        "arange",
        "broadcast_shapes",
        "empty",
        "empty_permuted",
        "empty_strided",
        "eye",
        "full",
        "linspace",
        "logspace",
        "ones",
        "randint",
        "randn",
        "scalar_tensor",
        "signal.windows.bartlett",
        "signal.windows.blackman",
        "signal.windows.cosine",
        "signal.windows.exponential",
        "signal.windows.gaussian",
        "signal.windows.general_cosine",
        "signal.windows.general_hamming",
        "signal.windows.hamming",
        "signal.windows.hann",
        "signal.windows.kaiser",
        "signal.windows.nuttall",
        "tril_indices",
        "triu_indices",
        "zeros",
    }
)
"""Operators that take no tensor, so that there is nothing to make unified."""
