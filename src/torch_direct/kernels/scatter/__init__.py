"""Write rows: ``dst[index[i]] = values[i]``, or added to what is there."""

from __future__ import annotations

from torch import Tensor

from torch_direct.kernels.backend import use_triton
from torch_direct.kernels.plan import plan_for
from torch_direct.kernels.rows import as_carrier, row_layout
from torch_direct.kernels.scatter import reference


def scatter_rows(
    dst: Tensor,
    index: Tensor,
    values: Tensor,
    fault: Tensor | None,
    *,
    over_link: bool = True,
) -> None:
    """Write rows, on the device that all tensors are seen from.

    Of several rows with the same number any may win, on a GPU for each element of up to 8 bytes
    anew. Values must not share memory with the table.

    Args:
        dst: ``[n, ...]``, any dtype and strides.
        index: ``[m]`` int32 or int64, contiguous; negatives count from the end. A row out of
            range is not written.
        values: ``[m, ...]``, the dtype of ``dst``, of any strides.
        fault: ``[4]`` int64 that takes a row out of range; None to wait and raise at once,
            with nothing written where the PyTorch reference runs.
        over_link: whether ``dst`` lies in host memory, rather than in GPU memory.

    Raises:
        IndexError: a row is out of range and ``fault`` is None.
    """
    if index.numel() == 0:
        return
    layout = row_layout(dst, values) if use_triton(dst) else None
    if layout is None and use_triton(dst) and row_layout(dst, dst) is not None:
        values = _with_dense_rows(as_carrier(values))
        layout = row_layout(dst, values)
    if layout is None:
        reference.scatter_rows(dst, index, values, fault)
        return
    from torch_direct.kernels.triton_rows import move_rows

    plan = plan_for(layout, index.shape[0], dst.shape[0], is_sorted=False, over_link=over_link)
    move_rows(dst, values, index, fault, layout, plan, to_table=True)


def _with_dense_rows(values: Tensor) -> Tensor:
    """The same values with the elements of each row side by side; one row, where all are one."""
    if values.stride(0) == 0:
        return values[:1].contiguous().expand(values.shape)
    return values.contiguous()


add_rows = reference.add_rows
