"""How well logits agree with labels."""

from __future__ import annotations

from torch import Tensor

from torch_direct.errors import DatasetError, MissingExtraError

METRIC_NAMES = {"accuracy": "accuracy", "roc_auc": "ROC AUC"}
"""How the metrics are spelled for people."""


def score(metric: str, logits: Tensor, labels: Tensor) -> float:
    """Return `metric`, between 0 and 1, larger being better.

    Args:
        metric: `"accuracy"`, or `"roc_auc"`: the area under the receiver operating characteristic
            of class 1 against class 0.
        logits: float32 `[num nodes, num_classes]`, on any device.
        labels: int64 `[num nodes]`, on the same device.

    Raises:
        DatasetError: The metric is unknown, or ROC AUC is asked for with other than two classes or
            of nodes that are all of one class.
    """
    if metric == "accuracy":
        return int((logits.argmax(dim=1) == labels).sum()) / labels.numel()
    if metric == "roc_auc":
        return _roc_auc(logits, labels)
    expected = " or ".join(map(repr, METRIC_NAMES))
    raise DatasetError(f"metric is {metric!r}; expected {expected}")


def _roc_auc(logits: Tensor, labels: Tensor) -> float:
    if logits.size(1) != 2:
        raise DatasetError(
            f"ROC AUC was asked for with {logits.size(1)} classes; expected 2: use accuracy"
        )
    if labels.unique().numel() != 2:
        raise DatasetError(
            "ROC AUC was asked for over nodes that are all of one class; expected both classes in "
            "the validation and the test nodes: split the data again"
        )
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise MissingExtraError(
            "scikit-learn is not installed; it computes the ROC AUC: "
            "pip install 'torch-direct[train]'"
        ) from error
    margin = logits[:, 1] - logits[:, 0]
    return float(roc_auc_score(labels.cpu().numpy(), margin.cpu().numpy()))
