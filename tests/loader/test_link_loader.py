from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from graphs import NUM_EDGES, NUM_NODES, heterogeneous, homogeneous, with_times
from torch_geometric.data import Data
from torch_geometric.sampler import NegativeSampling

import torch_direct as td


@pytest.fixture
def load(device):
    """Make a loader on the device of the test."""

    def make(data=None, num_neighbors=(4, 3), **arguments):
        data = homogeneous() if data is None else data
        return td.LinkNeighborLoader(data, list(num_neighbors), device=device, **arguments)

    return make


def ends(batch, kind=None):
    """Global ids of the ends of the links of a batch, `[2, num links]`."""
    store = batch if kind is None else batch[kind]
    src, dst = (batch, batch) if kind is None else (batch[kind[0]], batch[kind[-1]])
    row, col = store.edge_label_index
    return torch.stack([src.n_id[row], dst.n_id[col]]).cpu()


@pytest.mark.parametrize("disjoint", [False, True])
def test_all_edges_are_seeds(load, disjoint, device):
    data = homogeneous()
    batches = list(load(data, batch_size=50, disjoint=disjoint))
    assert torch.equal(torch.cat([ends(batch) for batch in batches], 1), data.edge_index)
    assert [batch.input_id.tolist() for batch in batches] == [
        list(range(start, min(start + 50, NUM_EDGES))) for start in range(0, NUM_EDGES, 50)
    ]
    for batch in batches:
        assert batch.edge_label_index.device == device
        assert torch.equal(batch.x.cpu(), data.x[batch.n_id.cpu()])
        assert "edge_label" not in batch
        assert "batch_size" not in batch


@pytest.mark.parametrize("amount", [1, 0.5, 2.5])
@pytest.mark.parametrize("disjoint", [False, True])
def test_binary_negatives(load, amount, disjoint):
    data = homogeneous()
    batch = next(iter(load(data, batch_size=41, neg_sampling_ratio=amount, disjoint=disjoint)))
    negative = -int(-41 * amount // 1)
    assert batch.edge_label.tolist() == [1.0] * 41 + [0.0] * negative
    assert torch.equal(ends(batch)[:, :41], data.edge_index[:, :41])
    assert batch.edge_label_index.shape == (2, 41 + negative)


@pytest.mark.parametrize("row", [0, 1])
def test_a_link_outside_the_graph_is_refused_at_once(load, row):
    pairs = torch.tensor([[1, 2, 3], [4, 5, 6]])
    pairs[row, 1] = NUM_NODES
    with pytest.raises(IndexError, match=rf"edge_label_index has node {NUM_NODES}; .*nodes in "):
        load(edge_label_index=pairs)
    kind = ("user", "buys", "item")
    pairs[row, 1] = (40, 25)[row]
    with pytest.raises(IndexError, match=f"edge_label_index has .*nodes of type '{kind[row * 2]}'"):
        load(heterogeneous(), edge_label_index=(kind, pairs))


@pytest.mark.parametrize(
    ("label", "shifted"),
    [([0, 2, 1], [1, 3, 2]), ([1, 2, 1], [1, 2, 1]), ([0.0, 1.0, 1.0], [1.0, 2.0, 2.0])],
)
def test_labels_are_shifted_by_one_where_they_begin_at_0(load, label, shifted):
    given = torch.tensor(label)
    links = torch.tensor([[1, 2, 3], [4, 5, 6]])
    loader = load(edge_label_index=links, edge_label=given, neg_sampling="binary", batch_size=3)
    batch = next(iter(loader))
    assert batch.edge_label.dtype == given.dtype
    assert batch.edge_label.tolist() == shifted + [0] * 3
    assert given.tolist() == label
    again = pickle.loads(pickle.dumps(loader))
    assert next(iter(again)).edge_label.tolist() == shifted + [0] * 3


@pytest.mark.parametrize("amount", [1, 3])
def test_triplets(load, amount):
    data = homogeneous()
    batch = next(iter(load(data, batch_size=20, neg_sampling=("triplet", amount))))
    found = batch.n_id[torch.stack([batch.src_index, batch.dst_pos_index])]
    assert torch.equal(found.cpu(), data.edge_index[:, :20])
    assert batch.dst_neg_index.shape == ((20,) if amount == 1 else (20, amount))
    assert "edge_label_index" not in batch


@pytest.mark.parametrize("mode", ["binary", "triplet"])
@pytest.mark.parametrize("exclude", [False, True])
def test_no_end_is_later_than_its_link(load, mode, exclude):
    data = with_times(homogeneous(), "nodes")
    time = torch.arange(NUM_EDGES) % 20
    loader = load(
        data,
        time_attr="time",
        edge_label_time=time,
        neg_sampling=(mode, 2),
        exclude_true_edges=exclude,
        batch_size=60,
        seed=0,
    )
    for batch in loader:
        if mode == "triplet":
            latest = batch.seed_time
            drawn = batch.time[batch.dst_neg_index]
        else:
            latest = batch.edge_label_time[60:]
            drawn = batch.time[batch.edge_label_index[:, 60:]].t()
        assert (drawn <= latest.clamp(min=data.time.min().item()).view(-1, 1)).all()
        trees = batch.batch[batch.edge_index]
        assert torch.equal(trees[0], trees[1])


def test_weights_of_ends(load):
    only = torch.zeros(NUM_NODES).index_fill_(0, torch.tensor([7, 9]), 1.0)
    config = NegativeSampling("binary", 1, src_weight=only, dst_weight=only)
    batch = next(iter(load(neg_sampling=config, batch_size=50)))
    assert set(ends(batch)[:, 50:].flatten().tolist()) == {7, 9}


@pytest.mark.parametrize("mode", ["binary", "triplet"])
@pytest.mark.parametrize("disjoint", [False, True])
def test_true_edges_are_no_negatives(load, mode, disjoint):
    """All edges but those into node 5 exist, so that every negative must lead there."""
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6)).t()
    edge_index = pairs[:, pairs[1] != 5]
    data = Data(edge_index=edge_index, num_nodes=6)
    loader = load(
        data,
        neg_sampling=(mode, 2),
        exclude_true_edges=True,
        batch_size=30,
        disjoint=disjoint,
        seed=1,
    )
    batch = next(iter(loader))
    drawn = batch.edge_label_index[1, 30:] if mode == "binary" else batch.dst_neg_index
    wrong = (batch.n_id[drawn] != 5).double().mean()
    assert wrong <= 0.1  # each is drawn at most 20 times more: (30 / 36) ** 21 is 0.02
    unchecked = load(data, neg_sampling=(mode, 2), batch_size=30, disjoint=disjoint, seed=1)
    batch = next(iter(unchecked))
    drawn = batch.edge_label_index[1, 30:] if mode == "binary" else batch.dst_neg_index
    assert (batch.n_id[drawn] != 5).any()


@pytest.mark.parametrize("disjoint", [False, True])
def test_negative_destinations_are_none_of_their_own_source(load, disjoint):
    """Even nodes lead to one half of the nodes, odd ones to the other."""
    src, dst = torch.cartesian_prod(torch.arange(8), torch.arange(8)).t()
    linked = (src % 2 == 0) == (dst < 4)
    data = Data(edge_index=torch.stack([src, dst])[:, linked], num_nodes=8)
    loader = load(
        data,
        neg_sampling=("triplet", 2),
        exclude_true_edges=True,
        batch_size=32,
        disjoint=disjoint,
        seed=1,
    )
    batch = next(iter(loader))
    src, dst = batch.n_id[batch.src_index], batch.n_id[batch.dst_neg_index]
    assert torch.equal((src % 2 == 0).view(-1, 1).expand(32, 2), dst >= 4)


def test_a_source_that_leads_everywhere_is_drawn_again_too(load):
    data = Data(edge_index=torch.stack([torch.zeros(6).long(), torch.arange(6)]), num_nodes=6)
    loader = load(data, neg_sampling=("binary", 4), exclude_true_edges=True, batch_size=6, seed=1)
    src, _ = ends(next(iter(loader)))
    assert src[:6].tolist() == [0] * 6
    assert (src[6:] != 0).all()


@pytest.mark.parametrize("mode", ["binary", "triplet"])
def test_a_negative_has_the_tree_of_the_link_that_it_stands_beside(load, mode):
    batch = next(iter(load(neg_sampling=(mode, 2), batch_size=7, disjoint=True)))
    number = torch.arange(7)
    if mode == "binary":
        assert batch.batch[batch.edge_label_index].tolist() == [number.repeat(3).tolist()] * 2
        return
    assert batch.batch[batch.src_index].tolist() == number.tolist()
    assert batch.batch[batch.dst_pos_index].tolist() == number.tolist()
    assert batch.batch[batch.dst_neg_index].tolist() == [[n, n] for n in range(7)]


@pytest.mark.parametrize(("amount", "negatives"), [(0.5, 4), (1.5, 11)])
def test_both_ends_of_fewer_or_more_negatives_than_links_have_one_tree(load, amount, negatives):
    batch = next(iter(load(neg_sampling_ratio=amount, batch_size=7, disjoint=True)))
    number = [link % 7 for link in range(7 + negatives)]
    assert batch.batch[batch.edge_label_index].tolist() == [number, number]


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("amount", [1, 2])
@pytest.mark.parametrize("mode", ["binary", "triplet"])
def test_no_links_have_no_negatives(load, mode, amount, disjoint):
    batch = load(neg_sampling=(mode, amount), disjoint=disjoint)([])
    assert batch.num_nodes == batch.num_edges == 0
    if mode == "triplet":
        assert batch.dst_neg_index.shape == ((0,) if amount == 1 else (0, amount))
    else:
        assert batch.edge_label_index.shape == (2, 0)


def test_other_links_of_the_graph_are_not_in_batches_of_triplets(load):
    data = homogeneous(edge_label_index=torch.tensor([[3], [4]]), edge_label_time=torch.zeros(1))
    batch = next(iter(load(data, neg_sampling="triplet", batch_size=5)))
    assert not {"edge_label_index", "edge_label_time"} & {*batch.keys()}


def test_both_ends_of_triplets_have_the_times_of_their_links(load):
    time = torch.arange(90) % 20
    loader = load(
        with_times(heterogeneous(), "nodes"),
        edge_label_index=("user", "buys", "item"),
        edge_label_time=time,
        time_attr="time",
        neg_sampling="triplet",
        batch_size=9,
    )
    batch = next(iter(loader))
    assert batch["user"].seed_time.tolist() == batch["item"].seed_time.tolist() == time[:9].tolist()


def global_edges(batch, kind=None):
    store = batch if kind is None else batch[kind]
    src, dst = (batch, batch) if kind is None else (batch[kind[0]], batch[kind[-1]])
    row, col = store.edge_index
    return set(zip(src.n_id[row].tolist(), dst.n_id[col].tolist(), strict=True))


@pytest.mark.parametrize("disjoint", [False, True])
def test_seed_links_are_left_out_of_the_edges(load, disjoint):
    data = homogeneous()
    kept = load(data, [-1, -1], batch_size=10, disjoint=disjoint)
    cut = load(data, [-1, -1], batch_size=10, disjoint=disjoint, exclude_seed_edges=True)
    for whole, batch in zip(kept, cut, strict=True):
        links = set(zip(*ends(batch).tolist(), strict=True))
        both = links | {(dst, src) for src, dst in links}
        assert links <= global_edges(whole)
        assert global_edges(batch) == global_edges(whole) - both
        assert sum(batch.num_sampled_edges) == batch.num_edges == batch.e_id.numel()
        assert torch.equal(batch.edge_attr[:, 0].cpu(), data.edge_attr[batch.e_id.cpu(), 0])


def test_seed_links_of_a_type_are_left_out_with_their_reverses(load):
    kind, reverse = ("user", "buys", "item"), ("item", "rev_buys", "user")
    loader = load(
        heterogeneous(),
        [-1, -1],
        edge_label_index=kind,
        batch_size=8,
        exclude_seed_edges=True,
    )
    for batch in loader:
        links = set(zip(*ends(batch, kind).tolist(), strict=True))
        assert not links & global_edges(batch, kind)
        assert not {(dst, src) for src, dst in links} & global_edges(batch, reverse)
        for one in (kind, reverse):
            assert sum(batch[one].num_sampled_edges) == batch[one].num_edges
        assert batch["user", "follows", "user"].num_edges > 0


@pytest.mark.parametrize(
    "kind",
    [("user", "follows", "user"), ("user", "rev_follows", "user"), ("item", "rev_buys", "user")],
)
def test_reverses_are_left_out_wherever_they_are(load, kind):
    """In the type itself, where both its ends are of one; and of the reverses, the edges."""
    data = heterogeneous()
    follows = ("user", "follows", "user")
    pairs = data[follows].edge_index
    data[follows].edge_index = torch.cat([pairs, pairs.flip(0)], dim=1)
    data["user", "rev_follows", "user"].edge_index = pairs.flip(0)
    links = data[kind].edge_index[:, :10]
    given = {"edge_label_index": (kind, links), "batch_size": 10}
    whole, cut = (
        next(iter(load(data, [-1, -1], exclude_seed_edges=exclude, **given)))
        for exclude in (False, True)
    )
    forward = set(zip(*links.tolist(), strict=True))
    back = {(dst, src) for src, dst in forward}
    expected = {name: set() for name in data.edge_types}
    expected[kind] = forward
    expected[{"rev_buys": ("user", "buys", "item")}.get(kind[1], follows)] |= back
    if kind[1] != "rev_buys":
        expected["user", "rev_follows", "user"] |= back | forward
        expected[kind] |= back
    if kind[1] == "follows":
        expected["user", "rev_follows", "user"] -= forward - back
    elif kind[1] == "rev_follows":
        expected[follows] -= forward - back
    for name in data.edge_types:
        assert global_edges(cut, name) == global_edges(whole, name) - expected[name]


def test_a_relation_of_one_name_in_both_directions_is_its_own_reverse(load):
    """As the types of PyG's data sets: ("author", "to", "paper") and ("paper", "to", "author")."""
    data = heterogeneous()
    there, back = ("user", "to", "item"), ("item", "to", "user")
    data[there].edge_index = data["user", "buys", "item"].edge_index
    data[back].edge_index = data[there].edge_index.flip(0)
    del data["user", "buys", "item"], data["item", "rev_buys", "user"]
    loader = load(data, [-1, -1], edge_label_index=there, batch_size=8, exclude_seed_edges=True)
    for batch in loader:
        links = set(zip(*ends(batch, there).tolist(), strict=True))
        assert not links & global_edges(batch, there)
        assert not {(dst, src) for src, dst in links} & global_edges(batch, back)


@pytest.mark.parametrize("seed", [5, np.int64(5), torch.tensor(5)])
def test_calls_have_negatives_of_their_own(load, seed):
    loader = load(neg_sampling="binary", seed=seed)

    def negatives(positions):
        batch = loader(positions)
        return ends(batch)[:, batch.edge_label.cpu() == 0].tolist()

    assert negatives(range(50)) == negatives(range(50)) != negatives(range(50, 100))


def test_links_are_not_copied():
    links = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.int32)
    loader = td.LinkNeighborLoader(homogeneous(), [2], edge_label_index=links, batch_size=3)
    assert loader._seeds.pairs.data_ptr() == links.data_ptr()
    assert torch.equal(ends(next(iter(loader))), links.long())


def test_no_links_at_all(load):
    for given in ({}, {"neg_sampling": "binary", "edge_label": []}):
        none = torch.empty(2, 0, dtype=torch.int64) if given else None
        loader = load(exclude_seed_edges=True, edge_label_index=none, **given)
        assert loader([]).edge_index.shape == (2, 0)


def test_links_of_a_type_without_edges(load):
    """A relation that is predicted, and passes no messages."""
    kind, pairs = ("user", "rates", "item"), torch.tensor([[3, 5], [1, 20]])
    data = heterogeneous()
    loader = load(
        data,
        edge_label_index=(kind, pairs),
        neg_sampling="binary",
        exclude_true_edges=True,
        batch_size=2,
    )
    batch = next(iter(loader))
    assert torch.equal(ends(batch, kind)[:, :2], pairs)
    assert batch[kind].edge_label.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert kind not in data.edge_types


@pytest.mark.parametrize("subgraph_type", ["bidirectional", "induced"])
def test_seed_links_are_left_out_of_other_subgraphs(load, subgraph_type):
    kind, reverse = ("user", "buys", "item"), ("item", "rev_buys", "user")
    loader = load(
        heterogeneous(),
        edge_label_index=kind,
        batch_size=8,
        exclude_seed_edges=True,
        subgraph_type=subgraph_type,
    )
    batch = next(iter(loader))
    links = set(zip(*ends(batch, kind).tolist(), strict=True))
    assert not links & global_edges(batch, kind)
    assert not {(dst, src) for src, dst in links} & global_edges(batch, reverse)


@pytest.mark.parametrize("mode", ["binary", "triplet"])
def test_links_of_types(load, mode):
    data, kind = heterogeneous(), ("user", "buys", "item")
    batch = next(iter(load(data, edge_label_index=kind, neg_sampling=(mode, 1), batch_size=9)))
    assert batch[kind].input_id.tolist() == list(range(9))
    if mode == "binary":
        assert torch.equal(ends(batch, kind)[:, :9], data[kind].edge_index[:, :9])
        assert batch[kind].edge_label.tolist() == [1.0] * 9 + [0.0] * 9
    else:
        src = batch["user"].n_id[batch["user"].src_index]
        dst = batch["item"].n_id[batch["item"].dst_pos_index]
        assert torch.equal(torch.stack([src, dst]).cpu(), data[kind].edge_index[:, :9])
        assert batch["item"].dst_neg_index.max() < batch["item"].num_nodes


def test_the_same_seed_gives_the_same_negatives(load):
    batches = [
        [ends(batch) for batch in load(neg_sampling="binary", batch_size=80, seed=seed)]
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(batches[0], batches[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(batches[0], batches[2], strict=True))
    assert not torch.equal(batches[0][0][:, 80:], batches[0][1][:, 80:])
    loader = load(neg_sampling="binary", batch_size=80, seed=1)
    first, second = (ends(next(iter(loader))) for _ in range(2))
    assert not torch.equal(first[:, 80:], second[:, 80:])


def test_an_edge_type_may_be_named_by_its_ends(load):
    data, kind = heterogeneous(), ("user", "buys", "item")
    links = data[kind].edge_index[:, :5]
    for named in (("user", "item"), (("user", "item"), links), [kind, links]):
        batch = next(iter(load(data, edge_label_index=named, batch_size=5)))
        assert torch.equal(ends(batch, kind), links)


def test_a_link_to_a_node_that_no_edge_reaches_takes_no_other_edge_out(load):
    data = Data(edge_index=torch.tensor([[1], [4]]), num_nodes=10)
    links = torch.tensor([[0, 4], [9, 2]])
    loader = load(data, [-1], edge_label_index=links, batch_size=2, exclude_seed_edges=True)
    (batch,) = loader
    assert batch.n_id[batch.edge_index].tolist() == [[1], [4]]
