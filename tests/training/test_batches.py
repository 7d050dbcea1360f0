import gc
import weakref

import pytest
import torch

from torch_direct.sampler import NeighborSampler
from torch_direct.training.batches import Batches
from torch_direct.training.placed import place

PLACEMENTS = ["unified", "cpu", "gpu"]


def batches_of(dataset, placement="unified", device="cpu", **options) -> Batches:
    placed = place(dataset, placement, torch.device(device))
    return Batches(placed, dataset.train_idx, [4, 3], 25, seed=7, **options)


def n_ids(batches: Batches, epoch: int, **options) -> list[list[int]]:
    return [batch.n_id.tolist() for batch in batches.epoch(epoch, **options)]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_placement_gives_the_same_batches_on_the_device(make_dataset, placement, device):
    if placement == "gpu" and device.type == "cpu":
        pytest.skip("nothing can be placed on a GPU that is not there")
    dataset = make_dataset()
    found = list(batches_of(dataset, placement, device, degree=True).epoch(2))
    assert len(found) == 3
    sampler = NeighborSampler(dataset.graph, [4, 3], seed=7)
    for number, (batch, seeds) in enumerate(zip(found, dataset.train_idx.split(25), strict=True)):
        drawn = sampler.sample(seeds, epoch=2, batch=number)
        n_id = drawn.n_id
        assert batch.batch_size == seeds.numel()
        assert torch.equal(batch.n_id.cpu(), n_id)
        assert torch.equal(batch.edge_index.cpu(), drawn.edge_index)
        assert torch.equal(batch.x.cpu(), dataset.x[n_id])
        assert torch.equal(batch.y.cpu(), dataset.y[n_id])
        assert torch.equal(batch.degree.cpu(), dataset.graph.degree(n_id))
        assert {batch[key].device for key in ("n_id", "edge_index", "x", "y", "degree")} == {device}


def test_an_epoch_has_an_order_of_its_own_and_can_be_had_again(make_dataset):
    dataset = make_dataset()
    batches = batches_of(dataset, shuffle=True)
    first, second = n_ids(batches, 1), n_ids(batches, 2)
    assert first != second
    assert n_ids(batches, 1) == first
    assert n_ids(batches_of(dataset, shuffle=True), 2) == second
    order = torch.randperm(60, generator=torch.Generator().manual_seed((7 << 24) + 1))
    assert first[0][:25] == dataset.train_idx[order[:25]].tolist()


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_an_epoch_can_be_gone_on_with(make_dataset, first):
    batches = batches_of(make_dataset(), shuffle=True)
    assert n_ids(batches, 5, first=first) == n_ids(batches, 5)[first:]


def test_torchs_generator_is_left_alone(make_dataset):
    batches = batches_of(make_dataset(), shuffle=True)
    before = torch.get_rng_state()
    n_ids(batches, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_stages_of_a_batch_follow_each_other(make_dataset):
    for number, batch in enumerate(batches_of(make_dataset()).epoch(1)):
        assert batch.stages.keys() == {"sample", "gather"}
        (start, sampled), (gather, last, end) = batch.stages.values()
        assert start < sampled == gather < end
        assert last <= start if number else last == sampled


def test_dropped_batches_free_the_data_at_once(make_dataset):
    batches = batches_of(make_dataset())
    next(batches.epoch(1))
    gone = weakref.ref(batches)
    gc.disable()
    try:
        del batches
        assert gone() is None
    finally:
        gc.enable()
