import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from torch_direct.errors import CheckpointError, DatasetError, TorchDirectError
from torch_direct.sampler import NeighborSampler
from torch_direct.training import trainer as trainer_module
from torch_direct.training.batches import Batches
from torch_direct.training.checkpoint import CheckpointStore
from torch_direct.training.config import MODELS, TrainConfig
from torch_direct.training.models import build_model
from torch_direct.training.placed import place
from torch_direct.training.trainer import Trainer


def small_config(model: str = "sage", **options) -> TrainConfig:
    return TrainConfig.for_model(
        model, **{"hidden": 8, "fanout": (4, 3), "batch_size": 25, "epochs": 4, **options}
    )


class StopAfter:
    """Says stop once it was asked about `batches` batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def without_times(report: dict) -> dict:
    """Drop what no two runs have in common."""
    timeless = {name: value for name, value in report.items() if "seconds" not in name}
    timeless["epochs"] = [
        {name: value for name, value in record.items() if "seconds" not in name}
        for record in report["epochs"]
    ]
    return timeless


def run(dataset, config, folder: Path | None = None, device: str = "cpu") -> dict:
    store = CheckpointStore(folder, "run") if folder else None
    trainer = Trainer(dataset, config, device=device, checkpoints=store, checkpoint_every=0)
    assert trainer.fit()
    return trainer.report()


@pytest.mark.parametrize("model", MODELS)
def test_learns_and_reports(make_dataset, model):
    report = run(make_dataset(), small_config(model, epochs=15, lr=0.02, dropout=0.2))
    losses = [record["loss"] for record in report["epochs"]]
    vals = [record["val"] for record in report["epochs"]]
    assert losses[-1] < losses[0]
    assert report["test"] > 0.75
    assert report["best_val"] == max(vals) == vals[report["best_epoch"] - 1]
    assert report["seconds"].keys() == {"sample", "gather", "wait", "train"}
    assert all(seconds > 0 for seconds in report["seconds"].values())


def test_a_step_is_one_of_adam_on_the_mean_loss(make_dataset):
    dataset = make_dataset()
    whole = {"lr": 0.05, "weight_decay": 0.1, "dropout": 0.0, "fanout": (-1, -1), "batch_size": 60}
    config = small_config(**whole)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = build_model(config, 6, 2)
    placed = place(dataset, "cpu", torch.device("cpu"))
    (batch,) = Batches(placed, dataset.train_idx, [-1, -1], 60, seed=0).epoch(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.1)
    losses = []
    for _ in range(config.epochs):
        loss = F.cross_entropy(model(batch.x, batch), batch.y[:60])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = [record["loss"] for record in run(dataset, config)["epochs"]]
    assert found == pytest.approx(losses, rel=1e-3)


def test_the_loss_of_an_epoch_is_the_mean_over_its_nodes(make_dataset):
    """60 of them, in batches that are not alike."""
    still = {"epochs": 1, "lr": 1e-30, "dropout": 0.0, "fanout": (-1, -1)}
    parts, whole = (
        run(make_dataset(), small_config(batch_size=size, **still))["epochs"][0]["loss"]
        for size in (25, 60)
    )
    assert parts == pytest.approx(whole, rel=1e-5)


def test_the_weights_kept_are_those_of_the_best_epoch(make_dataset):
    config = small_config(epochs=40, lr=0.05, seed=4)
    trainer = Trainer(make_dataset(), config, device="cpu")
    trainer.fit()
    report = trainer.report()
    best = [record for record in report["epochs"] if record["val"] == report["best_val"]]
    assert len(best) > 1
    assert report["best_epoch"] == min(best, key=lambda record: record["val_loss"])["epoch"]
    assert report["best_epoch"] < len(report["epochs"])
    config = dataclasses.replace(config, epochs=report["best_epoch"])
    shorter = Trainer(make_dataset(), config, device="cpu")
    shorter.fit()
    kept, last = trainer._model.state_dict(), shorter._model.state_dict()
    assert all(torch.equal(kept[name], last[name]) for name in last)


def test_the_test_nodes_are_those_reported(make_dataset):
    dataset = make_dataset()
    dataset.y[dataset.test_idx] = 1 - dataset.y[dataset.test_idx]
    report = run(dataset, small_config(epochs=15, lr=0.02))
    assert report["test"] < 0.25 < 0.75 < report["best_val"]


def test_features_of_half_precision_are_learnt_from(make_dataset):
    half = dataclasses.replace(make_dataset(), x=make_dataset().x.half())
    losses = [
        [record["loss"] for record in run(dataset, small_config())["epochs"]]
        for dataset in (half, make_dataset())
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("model", MODELS)
def test_same_settings_give_the_same_run(make_dataset, model):
    first, second = (without_times(run(make_dataset(), small_config(model))) for _ in range(2))
    assert first == second


def test_another_seed_gives_another_run(make_dataset):
    first, second = (run(make_dataset(), small_config(seed=seed)) for seed in (0, 1))
    assert first["epochs"][0]["loss"] != second["epochs"][0]["loss"]


def test_unified_and_cpu_placement_give_the_same_run_on_the_cpu(make_dataset):
    unified, cpu = (
        without_times(run(make_dataset(), small_config(placement=placement)))
        for placement in ("unified", "cpu")
    )
    assert unified.pop("placement") == "unified"
    assert cpu.pop("placement") == "cpu"
    assert unified == cpu


def test_the_callers_random_numbers_are_left_alone(make_dataset):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(make_dataset(), small_config())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("batches", [1, 3, 5, 11])
@pytest.mark.parametrize("model", MODELS)
def test_a_stopped_run_ends_where_an_unbroken_one_does(make_dataset, tmp_path, model, batches):
    """Three batches an epoch: stopped within an epoch and at a border."""
    config, store = small_config(model), CheckpointStore(tmp_path, "run")
    unbroken = run(make_dataset(), config)
    stopped = Trainer(make_dataset(), config, device="cpu", checkpoints=store)
    assert not stopped.fit(stop=StopAfter(batches))
    assert len(stopped.epochs) == batches // 3
    resumed = Trainer(make_dataset(), config, device="cpu", checkpoints=store)
    assert resumed.resume() is None
    assert resumed.fit()
    assert without_times(resumed.report()) == without_times(unbroken)


def test_stopped_before_a_batch_nothing_is_written(make_dataset, tmp_path):
    store = CheckpointStore(tmp_path, "run")
    stopped = Trainer(make_dataset(), small_config(), device="cpu", checkpoints=store)
    assert not stopped.fit(stop=StopAfter(0))
    assert not stopped.started
    assert list(tmp_path.iterdir()) == []
    assert not stopped.fit(stop=StopAfter(4))
    before = store.newest.read_bytes()
    resumed = Trainer(make_dataset(), small_config(), device="cpu", checkpoints=store)
    resumed.resume()
    assert resumed.started
    assert not resumed.fit(stop=StopAfter(0))
    assert list(tmp_path.iterdir()) == [store.newest]
    assert store.newest.read_bytes() == before


@pytest.mark.gpu
def test_a_stopped_run_ends_near_an_unbroken_one_on_cuda(make_dataset, tmp_path):
    config, store = small_config(), CheckpointStore(tmp_path, "run")
    unbroken = run(make_dataset(), config, device="cuda")
    stopped = Trainer(make_dataset(), config, device="cuda", checkpoints=store)
    assert not stopped.fit(stop=StopAfter(5))
    resumed = Trainer(make_dataset(), config, device="cuda", checkpoints=store)
    resumed.resume()
    assert resumed.fit()
    losses = [[e["loss"] for e in report["epochs"]] for report in (resumed.report(), unbroken)]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-2, atol=0)


def test_a_finished_run_can_be_reported_again(make_dataset, tmp_path):
    first = run(make_dataset(), small_config(), tmp_path)
    again = Trainer(
        make_dataset(), small_config(), device="cpu", checkpoints=CheckpointStore(tmp_path, "run")
    )
    again.resume()
    assert again.finished
    assert again.fit()
    assert again.report() == first


def test_more_epochs_continue_a_finished_run(make_dataset, tmp_path):
    run(make_dataset(), small_config(epochs=2), tmp_path)
    longer = small_config(epochs=4)
    resumed = Trainer(
        make_dataset(), longer, device="cpu", checkpoints=CheckpointStore(tmp_path, "run")
    )
    resumed.resume()
    assert resumed.fit()
    assert without_times(resumed.report()) == without_times(run(make_dataset(), longer))


def test_a_damaged_checkpoint_is_reported_and_the_run_ends_the_same(make_dataset, tmp_path):
    unbroken = run(make_dataset(), small_config(), tmp_path)
    store = CheckpointStore(tmp_path, "run")
    store.newest.write_bytes(store.newest.read_bytes()[:-1])
    resumed = Trainer(make_dataset(), small_config(), device="cpu", checkpoints=store)
    assert "is damaged" in resumed.resume()
    assert len(resumed.epochs) == 3
    assert resumed.fit()
    assert without_times(resumed.report()) == without_times(unbroken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 16}, "hidden was 8 and is now 16"),
        ({"model": "gcn"}, "model was 'sage' and is now 'gcn'"),
        ({"seed": 3}, "seed was 0 and is now 3"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(make_dataset, tmp_path, change, message):
    run(make_dataset(), small_config(), tmp_path)
    store = CheckpointStore(tmp_path, "run")
    other = Trainer(make_dataset(), small_config(**change), device="cpu", checkpoints=store)
    with pytest.raises(CheckpointError, match=message):
        other.resume()


@pytest.mark.parametrize("change", [{"patience": 7}, {"placement": "cpu"}])
def test_what_does_not_decide_the_weights_may_change(make_dataset, tmp_path, change):
    run(make_dataset(), small_config(), tmp_path)
    store = CheckpointStore(tmp_path, "run")
    other = Trainer(make_dataset(), small_config(**change), device="cpu", checkpoints=store)
    assert other.resume() is None


def test_a_checkpoint_of_other_data_is_refused(make_dataset, tmp_path):
    run(make_dataset(), small_config(), tmp_path)
    store = CheckpointStore(tmp_path, "run")
    other = Trainer(make_dataset(num_nodes=80), small_config(), device="cpu", checkpoints=store)
    with pytest.raises(CheckpointError, match="num_nodes was 120 and is now 80"):
        other.resume()


def test_a_checkpoint_of_features_of_another_type_is_refused(make_dataset, tmp_path):
    run(make_dataset(), small_config(), tmp_path)
    half = dataclasses.replace(make_dataset(), x=make_dataset().x.half())
    store = CheckpointStore(tmp_path, "run")
    other = Trainer(half, small_config(), device="cpu", checkpoints=store)
    with pytest.raises(CheckpointError, match="feature_dtype was 'float32' and is now 'float16'"):
        other.resume()


def test_training_stops_when_nothing_improves(make_dataset):
    report = run(make_dataset(), small_config(epochs=50, lr=1e-30, patience=3))
    assert len(report["epochs"]) == 4
    assert report["best_epoch"] == 1


def test_link_bytes_are_the_gathered_rows(make_dataset):
    dataset, config = make_dataset(), small_config(epochs=1, batch_size=1000, fanout=(-1, -1))
    report = run(dataset, config)
    reached = NeighborSampler(dataset.graph, (-1, -1)).sample(dataset.train_idx).n_id.numel()
    assert report["link_bytes"] == reached * 6 * 4


@pytest.mark.gpu
@pytest.mark.parametrize("placement", ["unified", "cpu", "gpu"])
def test_every_placement_learns_the_same_on_cuda(make_dataset, placement):
    on_cpu = run(make_dataset(), small_config())
    on_gpu = run(make_dataset(), small_config(placement=placement, dropout=0.0), device="cuda")
    reference = run(make_dataset(), small_config(dropout=0.0))
    losses = [[e["loss"] for e in report["epochs"]] for report in (on_gpu, reference)]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-2, atol=0)
    assert on_gpu["link_bytes"] == (0 if placement == "gpu" else on_cpu["link_bytes"])


def test_large_graphs_are_evaluated_by_sampling(make_dataset, monkeypatch):
    monkeypatch.setattr(trainer_module, "EXACT_EVALUATION_EDGES", 0)
    sampled = run(make_dataset(), small_config())
    assert without_times(sampled) == without_times(run(make_dataset(), small_config()))
    monkeypatch.undo()
    exact = run(make_dataset(), small_config())
    assert [e["loss"] for e in sampled["epochs"]] == [e["loss"] for e in exact["epochs"]]
    assert [e["val_loss"] for e in sampled["epochs"]] != [e["val_loss"] for e in exact["epochs"]]


def test_a_loss_that_is_not_finite_stops_the_run(make_dataset):
    dataset = make_dataset()
    dataset.x[dataset.train_idx[0]] = float("inf")
    with pytest.raises(TorchDirectError, match=r"the loss is nan in epoch 1.*learning rate"):
        run(dataset, small_config())


@pytest.mark.parametrize("split", ["train_idx", "val_idx", "test_idx"])
def test_an_empty_split_is_named(make_dataset, split):
    dataset = dataclasses.replace(make_dataset(), **{split: torch.empty(0, dtype=torch.int64)})
    with pytest.raises(DatasetError, match=f"{split} of the data set communities is empty"):
        Trainer(dataset, small_config(), device="cpu")


def test_nothing_to_resume_without_a_store(make_dataset):
    with pytest.raises(TypeError, match="without checkpoints"):
        Trainer(make_dataset(), small_config(), device="cpu").resume()
