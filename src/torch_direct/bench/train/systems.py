"""All systems, in the order of tables."""

from __future__ import annotations

from collections.abc import Callable

from torch_direct.bench.outcome import Absent
from torch_direct.bench.train.data import TrainData
from torch_direct.bench.train.goals import GRAPH_IN_GPU, IN_GPU, OURS, STOCK, STRONG, TWO_LINES
from torch_direct.bench.train.ours import our_system, system_in_gpu, system_with_graph_in_gpu
from torch_direct.bench.train.pyg import stock_system, strong_system, two_line_system
from torch_direct.bench.train.system import Start

SYSTEMS: dict[str, Callable[[TrainData], Start | Absent]] = {
    STOCK: stock_system,
    STRONG: strong_system,
    TWO_LINES: two_line_system,
    OURS: our_system,
    GRAPH_IN_GPU: system_with_graph_in_gpu,
    IN_GPU: system_in_gpu,
}
"""By name, what sets a system up over a graph, once, or says why it cannot be measured."""
