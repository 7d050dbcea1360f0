"""Read rows: ``out[i] = src[index[i]]``."""

from __future__ import annotations

from torch import Tensor

from torch_direct.kernels.backend import use_triton
from torch_direct.kernels.gather import reference
from torch_direct.kernels.plan import plan_for
from torch_direct.kernels.rows import row_layout


def gather_rows(
    src: Tensor,
    index: Tensor,
    out: Tensor,
    fault: Tensor | None,
    *,
    is_sorted: bool = False,
    over_link: bool = True,
) -> None:
    """Read rows of one tensor into another, on the device that both are seen from.

    Args:
        src: ``[n, ...]``, any dtype and strides.
        index: ``[m]`` int32 or int64, contiguous; negatives count from the end.
        out: ``[m, ...]``, the dtype of ``src``. A row out of range becomes zero.
        fault: ``[4]`` int64 that takes a row out of range; None to wait and raise at once.
        is_sorted: whether row numbers ascend already; a wrong word costs time alone.
        over_link: whether ``src`` lies in host memory, rather than in GPU memory.

    Raises:
        IndexError: a row is out of range and ``fault`` is None.
    """
    layout = row_layout(src, out) if use_triton(src) else None
    if layout is None or index.numel() == 0:
        reference.gather_rows(src, index, out, fault)
        return
    from torch_direct.kernels.triton_rows import move_rows

    plan = plan_for(layout, index.shape[0], src.shape[0], is_sorted=is_sorted, over_link=over_link)
    move_rows(src, out, index, fault, layout, plan, to_table=False)
