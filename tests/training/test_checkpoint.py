import errno
import os
from pathlib import Path

import pytest
import torch

from torch_direct.errors import CheckpointError
from torch_direct.training.checkpoint import CheckpointStore, check_same_settings


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "new" / "folder", "seed-0")


def flip_last_bit(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def replace_by_other_file(path):
    torch.save({"epoch": 1}, path)


DAMAGES = [flip_last_bit, truncate, empty, replace_by_other_file]


def test_state_comes_back(store):
    state = {"weights": torch.arange(5.0), "epochs": [{"loss": 0.5}], "best": None, "name": "x"}
    assert not store.exists()
    store.save(state)
    assert store.exists()
    loaded = store.load()
    assert loaded.complaint is None
    assert torch.equal(loaded.state.pop("weights"), state.pop("weights"))
    assert loaded.state == state


def test_newest_and_the_one_before_are_kept_and_nothing_else(store):
    for epoch in range(4):
        store.save({"epoch": epoch})
    assert store.load().state == {"epoch": 3}
    assert sorted(path.name for path in store.newest.parent.iterdir()) == [
        "seed-0.previous.pt",
        "seed-0.pt",
    ]


def test_what_an_earlier_run_left_is_set_aside(store):
    assert store.set_aside() is None
    for epoch in range(3):
        store.save({"epoch": epoch})
    earlier = store.set_aside()
    assert earlier == store.newest.with_name("seed-0.earlier.pt")
    assert not store.exists()
    store.save({"epoch": 0})
    store.save({"epoch": 1})
    assert store.load().state == {"epoch": 1}
    earlier.replace(store.newest)
    assert store.load().state == {"epoch": 2}


def test_what_was_set_aside_before_stays(store):
    for epochs in (20, 0, 0):
        store.save({"epochs": epochs})
        store.set_aside()
    names = ["seed-0.earlier-2.pt", "seed-0.earlier-3.pt", "seed-0.earlier.pt"]
    assert sorted(path.name for path in store.newest.parent.iterdir()) == names
    (store.newest.parent / "seed-0.earlier.pt").replace(store.newest)
    assert store.load().state == {"epochs": 20}


def test_nothing_to_load_but_what_was_set_aside_is_named(store):
    for _ in range(2):
        store.save({})
        store.set_aside()
    names = r"rename seed-0\.earlier-2\.pt or seed-0\.earlier\.pt to seed-0\.pt"
    with pytest.raises(CheckpointError, match=f"there is no checkpoint .* {names}"):
        store.load()
    store.newest.touch()
    with pytest.raises(CheckpointError, match=f"no checkpoint can be used: .* {names}"):
        store.load()


def test_before_its_first_save_a_store_calls_back_once_with_the_old_checkpoint_in_place(store):
    store.save({"epochs": 20})
    there = []
    anew = CheckpointStore(
        store.newest.parent, "seed-0", before_first_save=lambda: there.append(store.load().state)
    )
    for epochs in range(3):
        anew.save({"epochs": epochs})
    assert there == [{"epochs": 20}]


def test_without_space_nothing_changes_and_nothing_calls_back(store, monkeypatch):
    def fail(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.save({"epochs": 20})
    monkeypatch.setattr(os, "fsync", fail)
    anew = CheckpointStore(
        store.newest.parent, "seed-0", before_first_save=lambda: pytest.fail("called back")
    )
    with pytest.raises(CheckpointError, match="No space left"):
        anew.save({"epochs": 0})
    assert list(store.newest.parent.iterdir()) == [store.newest]
    assert store.load().state == {"epochs": 20}


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink])
def test_what_is_set_aside_is_what_would_be_loaded(store, damage):
    store.save({"epoch": 1})
    store.save({"epoch": 2})
    damage(store.newest)
    store.set_aside().replace(store.newest)
    assert store.load().state == {"epoch": 1}


def test_what_cannot_be_read_is_set_aside_all_the_same(store):
    store.save({"epoch": 1})
    flip_last_bit(store.newest)
    damaged = store.newest.read_bytes()
    assert store.set_aside().read_bytes() == damaged
    assert not store.exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_reported_and_the_one_before_is_used(store, damage):
    store.save({"epoch": 1})
    store.save({"epoch": 2})
    damage(store.newest)
    loaded = store.load()
    assert loaded.state == {"epoch": 1}
    assert str(store.newest) in loaded.complaint


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_never_pushes_the_good_one_out(store, damage):
    store.save({"epoch": 1})
    store.save({"epoch": 2})
    damage(store.newest)
    store.load()
    store.save({"epoch": 3})
    damage(store.newest)
    assert store.load().state == {"epoch": 1}


def test_a_crash_between_the_two_renames_loses_nothing(store):
    store.save({"epoch": 1})
    store.newest.replace(store.previous)
    loaded = store.load()
    assert loaded.state == {"epoch": 1}
    assert "cannot be read" in loaded.complaint


@pytest.mark.parametrize("damage", DAMAGES)
def test_both_damaged_is_an_error_naming_both(store, damage):
    store.save({"epoch": 1})
    store.save({"epoch": 2})
    damage(store.newest)
    damage(store.previous)
    with pytest.raises(CheckpointError, match="no checkpoint can be used") as caught:
        store.load()
    assert str(store.newest) in str(caught.value)
    assert str(store.previous) in str(caught.value)


def test_nothing_to_load(store):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        store.load()


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        CheckpointStore(tmp_path / "file" / "folder", "seed-0").save({})


def test_code_in_a_checkpoint_is_not_run(store):
    store.save({"payload": torch.nn.Linear})
    with pytest.raises(CheckpointError):
        store.load()


def test_same_settings_pass():
    check_same_settings({"model": "gcn", "older": 1}, {"model": "gcn"})


def test_other_settings_are_named_with_both_values():
    with pytest.raises(CheckpointError, match="hidden was 16 and is now 64, model was 'gcn'"):
        check_same_settings(
            {"hidden": 16, "model": "gcn", "seed": 0}, {"hidden": 64, "model": "gat", "seed": 0}
        )
