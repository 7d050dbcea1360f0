import json

import pytest

from torch_direct.errors import TorchDirectError
from torch_direct.training.config import TrainConfig
from torch_direct.training.report import combine, write_report
from torch_direct.training.trainer import Trainer

KEYS = {
    "metric",
    "test",
    "best_val",
    "best_epoch",
    "epochs",
    "seconds",
    "validation_seconds",
    "link_bytes",
    "placement",
    "device",
    "data",
    "num_nodes",
    "num_edges",
    "num_features",
    "feature_dtype",
    "num_classes",
    "model",
    "seed",
    "hidden",
    "heads",
    "fanout",
    "batch_size",
    "max_epochs",
    "lr",
    "weight_decay",
    "dropout",
    "patience",
}
EPOCH_KEYS = {"epoch", "loss", "val", "val_loss", "seconds", "validation_seconds", "link_bytes"}


@pytest.fixture
def make_report(make_dataset):
    def make(seed: int = 0, epochs: int = 2) -> dict:
        config = TrainConfig.for_model("sage", hidden=4, epochs=epochs, seed=seed)
        trainer = Trainer(make_dataset(), config, device="cpu")
        trainer.fit()
        return trainer.report()

    return make


def test_schema(make_report, tmp_path):
    write_report(combine([make_report()]), tmp_path / "new" / "folder")
    report = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert report.keys() == KEYS
    assert [record.keys() for record in report["epochs"]] == [EPOCH_KEYS] * 2
    assert [record["epoch"] for record in report["epochs"]] == [1, 2]
    for stage in ("sample", "gather", "wait", "train"):
        parts = [record["seconds"][stage] for record in report["epochs"]]
        assert report["seconds"][stage] == pytest.approx(sum(parts))
    assert report["link_bytes"] == sum(record["link_bytes"] for record in report["epochs"])
    assert (report["metric"], report["data"], report["model"]) == (
        "accuracy",
        "communities",
        "sage",
    )
    assert (report["placement"], report["device"], report["seed"]) == ("unified", "cpu", 0)
    assert 0 <= report["test"] <= 1


def test_several_seeds(make_report):
    runs = [make_report(seed) for seed in range(3)]
    report = combine(runs)
    assert report["runs"] == runs
    assert report.keys() == KEYS - {"epochs", "best_epoch"} | {"runs", "test_std"}
    mean = sum(run["test"] for run in runs) / 3
    variance = sum((run["test"] - mean) ** 2 for run in runs) / 2
    assert report["test"] == pytest.approx(mean)
    assert report["test_std"] == pytest.approx(variance**0.5)
    assert report["best_val"] == pytest.approx(sum(run["best_val"] for run in runs) / 3)
    assert report["link_bytes"] == sum(run["link_bytes"] for run in runs)
    for stage, seconds in report["seconds"].items():
        assert seconds == pytest.approx(sum(run["seconds"][stage] for run in runs))
    validation = sum(run["validation_seconds"] for run in runs)
    assert report["validation_seconds"] == pytest.approx(validation)


def test_a_report_that_cannot_be_written_says_what_to_do_and_leaves_nothing(make_report, tmp_path):
    (tmp_path / "report.json").mkdir()
    with pytest.raises(TorchDirectError, match=f"cannot write the report in {tmp_path}: .*--out"):
        write_report(make_report(), tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "report.json"]


@pytest.mark.parametrize(("seeds", "epochs"), [(1, 3), (1, 1), (2, 2)])
@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_picture_is_drawn(make_report, tmp_path, seeds, epochs, metric):
    runs = [make_report(seed, epochs) | {"metric": metric} for seed in range(seeds)]
    write_report(combine(runs), tmp_path)
    picture = (tmp_path / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20], "big") == 1500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.png"]
