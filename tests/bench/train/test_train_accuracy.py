from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from torch_direct.bench.train import accuracy
from torch_direct.bench.train.accuracy import validation_accuracy
from torch_direct.bench.train.data import load_data
from torch_direct.bench.train.graphs import TINY
from torch_direct.bench.train.models import WORKLOADS
from torch_direct.datasets import save_folder
from torch_direct.datasets.synthetic import SyntheticSpec, make_synthetic

WORKLOAD = replace(WORKLOADS["sage"], fanout=(3, 2), batch_size=32)


@pytest.fixture
def real(tmp_path):
    """A graph of the right size whose name does not call it a stand-in."""
    made = make_synthetic(SyntheticSpec(num_nodes=600, num_features=3))
    save_folder(replace(made, name="measured somewhere"), tmp_path / "folder")
    return load_data(replace(TINY, num_edges=made.graph.num_edges), tmp_path / "folder")


class Knowing:
    """Looks the classes of the seeds up, wrong ones for nodes below a number."""

    def __init__(self, data, wrong_below):
        self.data, self.wrong_below = data, wrong_below
        self.asked = []

    def __call__(self, batch):
        seeds = batch.n_id[: batch.y.numel()].cpu()
        self.asked += seeds.tolist()
        found = self.data.y.host[seeds] + (seeds < self.wrong_below)
        return F.one_hot(found % self.data.num_classes, self.data.num_classes).to(batch.x.device)


def test_counts_the_validation_nodes_whose_class_is_found(real):
    model = Knowing(real, wrong_below=300)
    found = validation_accuracy(model, real, WORKLOAD)
    assert {*model.asked} <= {*real.val_nodes.tolist()}
    assert len({*model.asked}) == len(model.asked) == real.val_nodes.numel() // 32 * 32
    assert found == sum(node >= 300 for node in model.asked) / len(model.asked)
    assert 0 < found < 1


def test_looks_at_no_more_nodes_than_it_has_to(real, monkeypatch):
    monkeypatch.setattr(accuracy, "_MOST_NODES", 70)
    model = Knowing(real, wrong_below=0)
    assert validation_accuracy(model, real, WORKLOAD) == 1.0
    assert len(model.asked) == 64
    monkeypatch.setattr(accuracy, "_MOST_NODES", 10)
    assert validation_accuracy(Knowing(real, wrong_below=0), real, WORKLOAD) == 1.0
    monkeypatch.setattr(accuracy, "_MOST_NODES", 10_000)
    large = replace(WORKLOAD, batch_size=4096)
    assert validation_accuracy(model, real, large) == 1.0
    assert len(model.asked) == 64 + real.val_nodes.numel()


def test_nothing_can_be_learned_from_a_stand_in():
    data = load_data(TINY, None)
    assert validation_accuracy(Knowing(data, 0), data, WORKLOAD) is None
    assert torch.equal(data.val_nodes, torch.empty(0, dtype=torch.int64))
