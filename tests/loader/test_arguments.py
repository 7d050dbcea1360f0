"""What is accepted and does nothing, and what is refused with a remedy."""

from __future__ import annotations

import logging

import pytest
import torch
from graphs import NUM_NODES, heterogeneous, homogeneous, with_times
from torch_geometric.data import Data
from torch_geometric.sampler import BaseSampler

import torch_direct as td
from torch_direct.errors import GraphError
from torch_direct.loader import arguments

WORKERS = {
    "num_workers": 4,
    "pin_memory": True,
    "persistent_workers": True,
    "prefetch_factor": 2,
    "filter_per_worker": True,
    "worker_init_fn": print,
    "multiprocessing_context": "spawn",
    "timeout": 3,
}


def test_arguments_of_workers_are_accepted_and_said_once(caplog):
    arguments._say_ignored.cache_clear()
    with caplog.at_level(logging.WARNING, logger="torch_direct"):
        for _ in range(2):
            loader = td.NeighborLoader(homogeneous(), [3], batch_size=20, **WORKERS)
    assert len(list(loader)) == 3
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert sorted(said) == sorted(WORKERS)


def test_their_defaults_are_not_worth_a_word(caplog):
    arguments._say_ignored.cache_clear()
    with caplog.at_level(logging.WARNING, logger="torch_direct"):
        td.NeighborLoader(homogeneous(), [3], num_workers=0, pin_memory=False)
    assert not caplog.records


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="nonsense"):
        td.NeighborLoader(homogeneous(), [3], nonsense=1)


class Theirs(BaseSampler):
    def sample_from_nodes(self, index, **kwargs):
        raise NotImplementedError

    def sample_from_edges(self, index, neg_sampling=None):
        raise NotImplementedError


def frame():
    data = homogeneous()
    data.words = ["a"] * NUM_NODES
    return data


def stored_as_adj_t():
    data = homogeneous()
    data.adj_t = torch.eye(NUM_NODES).to_sparse()
    return data


def with_edge_times():
    return with_times(homogeneous(), "edges")


@pytest.mark.parametrize(
    ("make", "given", "error", "message"),
    [
        (lambda: (None, None), {}, TypeError, "tuple; expected .*FeatureStore"),
        (homogeneous, {"custom_cls": Data}, ValueError, "custom_cls .* transform"),
        (homogeneous, {"sample_direction": "backward"}, ValueError, "flip"),
        (homogeneous, {"neighbor_sampler": Theirs()}, TypeError, "Theirs; expected .*from_pyg"),
        (homogeneous, {"prefetch": -1}, ValueError, "prefetch is -1"),
        (homogeneous, {"input_time": torch.zeros(60)}, ValueError, "time_attr"),
        (homogeneous, {"time_attr": "absent"}, GraphError, "'absent'"),
        (homogeneous, {"weight_attr": "absent"}, GraphError, "'absent'"),
        (homogeneous, {"input_id": torch.arange(3)}, ValueError, "input_id has 3 entries"),
        (with_edge_times, {"time_attr": "time"}, ValueError, "seed_time"),
        (frame, {}, TypeError, "words .* list; expected a tensor"),
        (stored_as_adj_t, {}, GraphError, "adj_t"),
        (heterogeneous, {}, ValueError, "input_nodes names the type None; expected one of user"),
        (heterogeneous, {"input_nodes": "shop"}, ValueError, "'shop'; expected one of user"),
        (
            heterogeneous,
            {"input_nodes": "user", "num_neighbors": {("user", "buys", "item"): [2]}},
            ValueError,
            "number of neighbors",
        ),
    ],
)
def test_what_cannot_be_taken_says_what_to_do(make, given, error, message):
    given = {"num_neighbors": [2], **given}
    with pytest.raises(error, match=message):
        next(iter(td.NeighborLoader(make(), **given)))


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (with_edge_times, {"time_attr": "time"}, "edge_label_time is not given"),
        (homogeneous, {"edge_label_time": torch.zeros(240)}, "time_attr is not given"),
        (
            homogeneous,
            {"neg_sampling": "triplet", "edge_label": torch.zeros(240)},
            "edge_label is given with triplet",
        ),
        (homogeneous, {"edge_label": torch.zeros(3)}, "edge_label has 3 entries; expected 240"),
        (homogeneous, {"edge_label_index": torch.zeros(4, 2)}, r"shape \(4, 2\)"),
        (heterogeneous, {}, "names the type None"),
        (heterogeneous, {"edge_label_index": ("user", "eats", "item")}, "expected one of"),
        (
            homogeneous,
            {"neg_sampling": {"mode": "binary", "dst_weight": torch.ones(3)}},
            "dst_weight has 3 entries",
        ),
    ],
)
def test_links_that_cannot_be_taken(make, given, message):
    with pytest.raises(ValueError, match=message):
        td.LinkNeighborLoader(make(), [2], **given)
