"""The loader of nodes and their sampled neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torch_direct.graph import EdgeType
from torch_direct.loader.arguments import check_seed_times
from torch_direct.loader.base import GraphLoader
from torch_direct.loader.outputs import DrawKey, Output, node_output
from torch_direct.loader.seeds import node_seeds
from torch_direct.sampler import NeighborSampler
from torch_direct.sampler.arguments import NODES


class NeighborLoader(GraphLoader):
    """As `torch_geometric.loader.NeighborLoader`: its names, arguments and batches.

    The graph and all node and edge attributes stay in host memory, where the GPU samples and
    gathers them; batches are on the GPU. Without CUDA the same happens on the CPU.

    All that is random in a batch comes from `(seed, epoch, batch)`, and the order of the seed nodes
    from torch's generators, as in `DataLoader`.
    """

    input_nodes: Any
    input_time: Tensor | None
    input_id: Tensor | None

    def __init__(
        self,
        data: Any,
        num_neighbors: Sequence[int] | Mapping[EdgeType, Sequence[int]] | Any,
        input_nodes: Any = None,
        input_time: Tensor | None = None,
        replace: bool = False,
        subgraph_type: Any = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        transform_sampler_output: Callable[[Any], Any] | None = None,
        is_sorted: bool = False,
        filter_per_worker: bool | None = None,
        neighbor_sampler: NeighborSampler | None = None,
        directed: bool = True,
        *,
        input_id: Tensor | None = None,
        prefetch: int = 2,
        seed: int | None = None,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        """Sort the edges by destination, and register graph and attributes with CUDA.

        Args:
            data: `Data` or `HeteroData`. The loader holds this very object; attributes that are
                changed hold for the batches that are not made yet. Edges, the times and weights to
                sample by, and the seeds are those of now: do not write to them.
            num_neighbors: Largest number of in-neighbours to draw for a node, for each hop; -1 for
                all. In heterogeneous graphs also a dictionary by edge type.
            input_nodes: Seed nodes: ids, of any integers `[num seeds]`, a mask, bool `[num nodes]`,
                or None for all; in heterogeneous graphs a node type, or a pair of one and its
                seeds.
            input_time: Times of the seed nodes `[num seeds]`, in place of those in `time_attr`.
            replace: Draw with replacement.
            subgraph_type: `"directional"` (the edges drawn), `"bidirectional"` (and their reverses)
                or `"induced"` (all edges among the nodes drawn).
            disjoint: Give every seed a tree of its own; so it is where there are times.
            temporal_strategy: `"uniform"` or `"last"`, among the neighbours no later than the seed.
            time_attr: Name of the node or edge attribute that is the time, integers or floating
                point, one for each node or edge.
            weight_attr: Name of the edge attribute that is the weight of an edge in the draw,
                floating point or integers, one for each edge.
            transform: Called with every batch, in the thread that makes it. One that draws from
                torch's generators shares them with the training loop; `prefetch=0` calls it there.
            transform_sampler_output: Called with every `SamplerOutput`, likewise.
            is_sorted: Does nothing: whether edges are sorted is seen.
            filter_per_worker: Does nothing.
            neighbor_sampler: Used in place of one made of `num_neighbors` and the other arguments
                of sampling, which then do nothing; it is on the device of its graph, which has the
                nodes of `data`, and numbers its edges as `data` does, if those have attributes. Its
                own seed is not used.
            directed: False is the old name of `subgraph_type="induced"`.
            input_id: What to call the seeds in batches `[num seeds]`; by default the node id where
                `input_nodes` is a mask, else the position in it.
            prefetch: How many batches to make in advance, on a thread and streams of their own; 0
                makes each when it is asked for.
            seed: Makes what is drawn for given seed nodes reproducible; `epoch`, an attribute,
                counts the epochs. By default every epoch has a seed drawn from torch's generator.
                The order of `shuffle` comes from `generator`, by default torch's, in either case.
            device: Where batches are made: by default on the GPU in whose memory the edges are, or
                an attribute, or that unified edges are for; else on the current one, or on the CPU
                where there is none.
            kwargs: Of `torch.utils.data.DataLoader`. Those that concern worker processes do
                nothing, and are said once to the program's log.

        Raises:
            GraphError: The graph is malformed or stored as `adj_t`, or an attribute does not exist.
            IndexError: A seed is no node of the graph.
            TypeError: `data` is no `Data` or `HeteroData`, an attribute of nodes or edges is no
                tensor, seeds are no ids and no mask, `num_neighbors` are no integers, or
                `neighbor_sampler` is not ours.
            ValueError: An argument does not fit the graph or another argument, or asks for what is
                not supported.
            UnifiedMemoryError: Host memory cannot be registered with CUDA.
        """
        if input_time is not None and time_attr is None and neighbor_sampler is None:
            raise ValueError(
                "input_time is given and time_attr is not; expected both: name the attribute that "
                "holds the times of the graph"
            )
        super().__init__(locals())

    def _read_seeds(self) -> int:
        graph = self.node_sampler.graph
        self._seeds = node_seeds(self.data, graph, self.input_nodes, self.input_id, self.input_time)
        own_type = self._seeds.input_type or NODES
        check_seed_times("input_time", self._seeds.time, graph, own_type)
        return self._seeds.count

    def _sample(self, index: Tensor, draw: DrawKey) -> Output:
        return node_output(self.node_sampler, self._seeds[index], draw)

    def _label(self, batch: Any, metadata: Any) -> None:
        kind = self._seeds.input_type
        store = batch if kind is None else batch[kind]
        store.input_id, store.seed_time = metadata
        store.batch_size = metadata[0].numel()
