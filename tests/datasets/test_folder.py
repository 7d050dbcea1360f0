from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from torch_direct.datasets import folder, open_dataset, save_folder
from torch_direct.errors import DatasetError
from torch_direct.graph import Graph, storage
from torch_direct.memory import pages

FORMAT = "torch-direct node dataset"
ARRAYS = ("indptr", "indices", "edge_id", "x", "y", "train_idx", "val_idx", "test_idx")


def dataset_nbytes(dataset):
    return sum(tensor.nbytes for tensor in folder._tensors(dataset).values())


def same(left, right):
    tensors = zip(folder._tensors(left).items(), folder._tensors(right).values(), strict=True)
    return all(a.dtype == b.dtype and torch.equal(a.cpu(), b.cpu()) for (_, a), b in tensors) and (
        left.name,
        left.num_classes,
        left.metric,
    ) == (right.name, right.num_classes, right.metric)


@pytest.mark.parametrize("chunk", [1, 20, 1 << 26])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip(monkeypatch, tmp_path, tiny, dtype, chunk):
    monkeypatch.setattr(storage, "_CHUNK_BYTES", chunk)
    dataset = tiny(x=tiny().x.to(dtype), val_idx=torch.empty(0, dtype=torch.int64))
    reports = []
    save_folder(dataset, tmp_path / "a" / "b", progress=lambda *report: reports.append(report))
    assert reports == sorted(reports)
    assert reports[-1] == (dataset_nbytes(dataset),) * 2
    assert same(open_dataset(str(tmp_path / "a" / "b")), dataset)
    files = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert files == {"meta.json", *(f"{name}.npy" for name in ARRAYS)}


def test_the_graph_and_the_features_are_mapped_and_the_rest_is_read(tmp_path, tiny):
    save_folder(tiny(), tmp_path)
    mapped = {
        name
        for name, tensor in folder._tensors(open_dataset(str(tmp_path))).items()
        for mapping in pages.mappings(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes)
        if mapping.path.startswith("/")  # of the file, or of a copy in shared memory
    }
    assert mapped == {"indptr", "indices", "edge_id", "x"}


def test_numpy_reads_the_files(tmp_path, tiny):
    save_folder(tiny(), tmp_path)
    assert np.load(tmp_path / "x.npy").tolist() == tiny().x.tolist()


def test_a_strided_tensor_is_written_in_order(tmp_path, tiny):
    x = torch.arange(12.0).view(2, 6).t()
    save_folder(tiny(x=x), tmp_path)
    assert torch.equal(open_dataset(str(tmp_path)).x.cpu(), x)


def test_a_folder_that_is_not_empty_is_kept(tmp_path, tiny):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DatasetError, match=r"is not empty.*--overwrite"):
        save_folder(tiny(), tmp_path)
    save_folder(tiny(), tmp_path, overwrite=True)
    save_folder(tiny(num_classes=3), tmp_path, overwrite=True)
    assert open_dataset(str(tmp_path)).num_classes == 3
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_data_set_can_be_written_over_itself(tmp_path, tiny):
    save_folder(tiny(), tmp_path)
    save_folder(open_dataset(str(tmp_path)), tmp_path, overwrite=True)
    assert same(open_dataset(str(tmp_path)), tiny())


def test_a_conversion_that_stops_is_no_data_set(tmp_path, tiny):
    save_folder(tiny(), tmp_path)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_folder(tiny(), tmp_path, overwrite=True, progress=stop)
    with pytest.raises(DatasetError, match=r"has no meta\.json"):
        open_dataset(str(tmp_path))


def test_refuses_a_file_and_an_unknown_dtype(tmp_path, tiny):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DatasetError, match="is a file; expected a folder"):
        save_folder(tiny(), file)
    with pytest.raises(DatasetError, match=r"x is torch\.float8_e5m2; expected one of int32"):
        save_folder(tiny(x=tiny().x.to(torch.float8_e5m2)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"metric": "f1"}, DatasetError, "metric is 'f1'"),
        ({"x": torch.ones(1, 2)}, DatasetError, "x of tiny is"),
        ({"train_idx": torch.tensor([True, False])}, DatasetError, "give node ids, not a mask"),
        ({"x": np.ones((6, 2))}, TypeError, "x is a ndarray; expected a tensor"),
    ],
)
def test_what_does_not_fit_together_replaces_nothing(tmp_path, tiny, wrong, error, words):
    save_folder(tiny(), tmp_path / "good")
    with pytest.raises(error, match=words):
        save_folder(tiny(**wrong), tmp_path / "good", overwrite=True)
    assert same(open_dataset(tmp_path / "good"), tiny())


def test_names_of_folders_may_be_strings_and_paths(tmp_path, tiny):
    save_folder(tiny(), str(tmp_path / "a"))
    save_folder(tiny(), tmp_path / "b")
    assert same(open_dataset(str(tmp_path / "b")), open_dataset(tmp_path / "a"))


def test_a_graph_alone_is_no_data_set(tmp_path, tiny):
    tiny().graph.save(tmp_path / "graph")
    with pytest.raises(DatasetError, match=r"holds a graph alone; expected features.*save_folder"):
        open_dataset(tmp_path / "graph")


def damage_meta(path, **changes):
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps(meta | changes))


def test_meta_that_cannot_be_used(tmp_path, tiny):
    save_folder(tiny(), tmp_path)
    arrays = json.dumps(json.loads((tmp_path / "meta.json").read_text())["arrays"])
    for text, message in [
        ("{", "cannot be read"),
        ("[]", '"format": null; expected "torch-direct node dataset"'),
        ('{"format": "other"}', '"format": "other"'),
        (f'{{"format": "{FORMAT}", "version": 2}}', "is of version 2; .* reads version 1"),
        (f'{{"format": "{FORMAT}", "version": 1}}', "lacks arrays"),
        (
            f'{{"format": "{FORMAT}", "version": 1, "arrays": {arrays}}}',
            "lacks name, num_classes, metric",
        ),
    ]:
        (tmp_path / "meta.json").write_text(text)
        with pytest.raises(DatasetError, match=message):
            open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrays": {}}, "does not say the dtype and shape of indptr"),
        ({"arrays": {"indptr": {"dtype": "int9", "shape": [7]}}}, "shape of indptr"),
        (
            {"arrays": {"indptr": {"dtype": "int64", "shape": [8]}}},
            r"\(7,\); meta.json says \(8,\)",
        ),
        ({"arrays": {"indptr": {"dtype": "float32", "shape": [7]}}}, r"indptr\.npy"),
        ({"num_classes": 1}, "does not hold together: y of tiny has label 1"),
        ({"num_classes": "many"}, "does not hold together"),
        ({"metric": "f1"}, "metric is 'f1'"),
    ],
)
def test_meta_that_contradicts_the_files(tmp_path, tiny, changes, message):
    save_folder(tiny(), tmp_path)
    damage_meta(tmp_path, **changes)
    with pytest.raises(DatasetError, match=message):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("name", ARRAYS)
def test_missing_truncated_and_corrupt_arrays_are_named(tmp_path, tiny, name):
    save_folder(tiny(), tmp_path)
    file = tmp_path / f"{name}.npy"
    content = file.read_bytes()
    for damaged in (content[:-1], content[:20], b"", b"garbage" * 100):
        file.write_bytes(damaged)
        with pytest.raises(DatasetError, match=f"{name}.npy"):
            open_dataset(str(tmp_path))
    file.unlink()
    with pytest.raises(DatasetError, match=f"{name}.npy is missing"):
        open_dataset(str(tmp_path))


def test_the_graph_alone_can_be_opened(tmp_path, tiny):
    save_folder(tiny(), tmp_path)
    graph = Graph.load(tmp_path)
    assert torch.equal(graph.indices, tiny().graph.indices)
    assert torch.equal(graph.edge_id, tiny().graph.edge_id)


def test_indices_outside_the_graph(tmp_path, tiny):
    save_folder(tiny(), tmp_path)
    np.save(tmp_path / "indices.npy", np.array([2, 0, 6, 5]))
    with pytest.raises(DatasetError, match=r"indices\[2\] is 6; expected a node in \[0, 6\)"):
        open_dataset(str(tmp_path))
