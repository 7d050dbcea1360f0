"""The loader of links and the sampled neighbourhoods of their ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import NegativeSampling

from torch_direct.graph import EdgeType
from torch_direct.loader.arguments import check_seed_times
from torch_direct.loader.base import GraphLoader
from torch_direct.loader.exclude import without_links
from torch_direct.loader.link_outputs import link_output
from torch_direct.loader.negatives import negatives_for
from torch_direct.loader.outputs import DrawKey, Output
from torch_direct.loader.seeds import as_host_tensor, link_seeds
from torch_direct.sampler import NeighborSampler


class LinkNeighborLoader(GraphLoader):
    """As `torch_geometric.loader.LinkNeighborLoader`: its names, arguments and batches.

    What is said of `NeighborLoader` holds here too.
    """

    edge_label_index: Any
    edge_label: Tensor | None
    edge_label_time: Tensor | None
    neg_sampling: Any
    neg_sampling_ratio: float | None
    input_id: Tensor | None
    exclude_true_edges: bool
    exclude_seed_edges: bool

    def __init__(
        self,
        data: Any,
        num_neighbors: Sequence[int] | Mapping[EdgeType, Sequence[int]] | Any,
        edge_label_index: Any = None,
        edge_label: Tensor | None = None,
        edge_label_time: Tensor | None = None,
        replace: bool = False,
        subgraph_type: Any = "directional",
        disjoint: bool = False,
        temporal_strategy: str = "uniform",
        neg_sampling: Any = None,
        neg_sampling_ratio: float | None = None,
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
        exclude_true_edges: bool = False,
        exclude_seed_edges: bool = False,
        prefetch: int = 2,
        seed: int | None = None,
        device: torch.device | str | int | None = None,
        **kwargs: Any,
    ) -> None:
        """Sort the edges by destination, and register graph and attributes with CUDA.

        Arguments that are not named here are those of `NeighborLoader`.

        Args:
            data: `Data` or `HeteroData`.
            num_neighbors: As in `NeighborLoader`.
            edge_label_index: Seed links, of any integers `[2, num links]`, or None for all edges;
                in heterogeneous graphs an edge type, or a pair of one and its links.
            edge_label: Labels of the links `[num links, ...]`.
            edge_label_time: Times of the links `[num links]`: neighbours and negative ends are no
                later. Given together with `time_attr`.
            replace: As in `NeighborLoader`.
            subgraph_type: As in `NeighborLoader`.
            disjoint: As in `NeighborLoader`; both ends of a link have trees of their own, which
                have one number in `batch`.
            temporal_strategy: As in `NeighborLoader`.
            neg_sampling: PyG's `NegativeSampling`, or what it is made of. `"binary"` puts negative
                links after the others, with the label 0, and adds one to labels that begin at 0;
                `"triplet"` draws negative destinations for each link.
            neg_sampling_ratio: The old name of binary negatives: how many for each link.
            time_attr: As in `NeighborLoader`.
            weight_attr: As in `NeighborLoader`.
            transform: As in `NeighborLoader`.
            transform_sampler_output: As in `NeighborLoader`.
            is_sorted: Does nothing.
            filter_per_worker: Does nothing.
            neighbor_sampler: As in `NeighborLoader`.
            directed: As in `NeighborLoader`.
            input_id: What to call the links in batches; by default their positions.
            exclude_true_edges: Draw a negative link that is an edge of the graph again, up to 20
                times. Reads the in-edges of all negative destinations.
            exclude_seed_edges: Leave the seed links and their reverses out of the edges of the
                batch; in heterogeneous graphs the reverses of a relation are the edges back of the
                same name, and of the one with `rev_` before it or without.
            prefetch: As in `NeighborLoader`.
            seed: As in `NeighborLoader`; decides the negatives too.
            device: As in `NeighborLoader`.
            kwargs: As in `NeighborLoader`.

        Raises:
            GraphError: As in `NeighborLoader`.
            IndexError: As in `NeighborLoader`.
            TypeError: As in `NeighborLoader`.
            ValueError: As in `NeighborLoader`; or labels are given with triplets.
            UnifiedMemoryError: As in `NeighborLoader`.
        """
        if neighbor_sampler is None and (edge_label_time is None) != (time_attr is None):
            raise ValueError(
                f"{'time_attr' if time_attr is None else 'edge_label_time'} is not given; expected "
                "edge_label_time, the times of the links, together with time_attr, the name of the "
                "times of the graph"
            )
        super().__init__(locals())

    def _read_seeds(self) -> int:
        config = self._negative_sampling()
        given = self.edge_label
        label = None if given is None else as_host_tensor(given, "edge_label")
        if config is not None and label is not None:
            if config.is_triplet():
                raise ValueError(
                    "edge_label is given with triplet negatives, which have no labels; expected "
                    "None: src_index, dst_pos_index and dst_neg_index of a batch tell links from "
                    "negatives"
                )
            label = label + 1 if label.numel() > 0 and label.min() == 0 else label
        graph = self.node_sampler.graph
        self._seeds = link_seeds(
            self.data, graph, self.edge_label_index, label, self.input_id, self.edge_label_time
        )
        # Not those of the ends: what a link is predicted from comes before the link.
        check_seed_times("edge_label_time", self._seeds.time, graph, None)
        self._negatives = None
        if config is not None:
            self._negatives = negatives_for(
                graph,
                self._seeds.input_type,
                config,
                exclude_true_edges=self.exclude_true_edges,
            )
        return self._seeds.pairs.size(1)

    def _negative_sampling(self) -> Any:
        if self.neg_sampling_ratio:
            return NegativeSampling("binary", self.neg_sampling_ratio)
        return NegativeSampling.cast(self.neg_sampling)

    def _sample(self, index: Tensor, draw: DrawKey) -> Output:
        seeds = self._seeds[index]
        output = link_output(self.node_sampler, seeds, self._negatives, draw)
        if self.exclude_seed_edges:
            output = without_links(output, seeds.row, seeds.col, seeds.input_type)
        return output

    def _label(self, batch: Any, metadata: Any) -> None:
        kind = self._seeds.input_type
        links = batch if kind is None else batch[kind]
        links.input_id = metadata[0]
        if self._negatives is None or self._negatives.config.is_binary():
            links.edge_label_index, links.edge_label, links.edge_label_time = metadata[1:]
            return
        src, dst = (batch, batch) if kind is None else (batch[kind[0]], batch[kind[-1]])
        src.src_index, dst.dst_pos_index, dst.dst_neg_index = metadata[1:4]
        src.seed_time = dst.seed_time = metadata[4]
        # Attributes of the whole graph, about other links than these.
        for name in ("edge_label_index", "edge_label_time"):
            links.pop(name, None)
