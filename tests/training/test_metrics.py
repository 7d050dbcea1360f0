import pytest
import torch

from torch_direct.errors import DatasetError
from torch_direct.training.metrics import score


def test_accuracy():
    logits = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert score("accuracy", logits, torch.tensor([1, 0, 2, 2])) == 0.75


def test_roc_auc_counts_the_pairs_in_order():
    margin = torch.tensor([0.1, 0.4, 0.35, 0.8])
    other = torch.tensor([9.0, -1.0, -7.0, 0.0])
    logits = torch.stack([other, other + margin], dim=1)
    assert score("roc_auc", logits, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.75)


def test_unknown_metric():
    with pytest.raises(DatasetError, match="metric is 'f1'; expected 'accuracy' or 'roc_auc'"):
        score("f1", torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))


def test_roc_auc_of_three_classes():
    with pytest.raises(DatasetError, match="with 3 classes; expected 2"):
        score("roc_auc", torch.zeros(2, 3), torch.tensor([0, 1]))


def test_roc_auc_of_one_class_only():
    with pytest.raises(DatasetError, match="all of one class"):
        score("roc_auc", torch.zeros(2, 2), torch.tensor([1, 1]))
