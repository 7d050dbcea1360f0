import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_direct.graph import Graph
from torch_direct.sampler import NeighborSampler
from torch_direct.training.config import MODELS, TrainConfig
from torch_direct.training.models import GCN, build_model, gcn_weights


def random_graph(num_nodes: int, num_edges: int, seed: int, *, symmetric: bool = True) -> Graph:
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(num_nodes, (2, num_edges), generator=generator)
    pairs = pairs[:, pairs[0] != pairs[1]]
    return Graph.from_edge_index(pairs, num_nodes, symmetric=symmetric, coalesce=True)


def dense_adjacency(graph: Graph) -> torch.Tensor:
    """Row v holds a 1 for every in-neighbour of v."""
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes)
    dst = torch.arange(graph.num_nodes).repeat_interleave(graph.indptr.diff())
    adjacency[dst, graph.indices] = 1
    return adjacency


def published_gcn(model: GCN, graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """Kipf and Welling's Z = A' relu(A' X W0) W1, with A' = D^-1/2 (A + I) D^-1/2, dense."""
    loops = dense_adjacency(graph) + torch.eye(graph.num_nodes)
    root = loops.sum(dim=1).rsqrt()
    propagate = root[:, None] * loops * root[None, :]
    for number, conv in enumerate(model.convs):
        x = propagate @ (x @ conv.lin.weight.T) + conv.bias
        if number < len(model.convs) - 1:
            x = x.relu()
    return x


@settings(max_examples=20, deadline=None)
@given(
    num_nodes=st.integers(2, 40),
    num_edges=st.integers(0, 120),
    layers=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_gcn_on_full_neighbourhoods_is_the_published_formula(num_nodes, num_edges, layers, seed):
    graph = random_graph(num_nodes, num_edges, seed)
    torch.manual_seed(seed)
    x = torch.randn(num_nodes, 5)
    model = GCN(5, 7, 3, layers, dropout=0.5).eval()
    seeds = torch.randperm(num_nodes)[: num_nodes // 2 + 1]
    batch = NeighborSampler(graph, [-1] * layers).sample(seeds)
    logits = model(x[batch.n_id], batch, graph.degree(batch.n_id))
    torch.testing.assert_close(logits, published_gcn(model, graph, x)[seeds], rtol=1e-4, atol=1e-5)


def test_sampled_gcn_weights_are_unbiased():
    graph = random_graph(60, 400, seed=3)
    torch.manual_seed(0)
    x, seeds = torch.randn(60, 4), torch.arange(10)
    model = GCN(4, 4, 3, 1, dropout=0.0).eval()
    exact = published_gcn(model, graph, x)[seeds]
    sampler = NeighborSampler(graph, [3])
    estimates = []
    for draw in range(1000):
        batch = sampler.sample(seeds, batch=draw)
        estimates.append(model(x[batch.n_id], batch, graph.degree(batch.n_id)).detach())
    stacked = torch.stack(estimates)
    standard_error = stacked.std(dim=0) / len(estimates) ** 0.5
    assert ((stacked.mean(dim=0) - exact).abs() < 4.5 * standard_error).all()


def test_gcn_weights_of_a_node_without_in_edges_keep_its_own_features():
    weight, self_weight = gcn_weights(torch.empty(2, 0, dtype=torch.int64), torch.tensor([0]))
    assert weight.shape == (0,)
    assert self_weight.tolist() == [1.0]


def test_gcn_says_that_it_needs_degrees():
    graph = random_graph(5, 8, seed=0)
    batch = NeighborSampler(graph, [2]).sample(torch.arange(2))
    with pytest.raises(TypeError, match="degree is missing"):
        GCN(3, 4, 2, 1, dropout=0.0)(torch.zeros(batch.n_id.numel(), 3), batch)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_trimming_changes_nothing(name, layers):
    """With all nodes as seeds nothing is trimmed; a few seeds must get the same logits."""
    graph = random_graph(50, 90, seed=layers, symmetric=False)
    torch.manual_seed(0)
    x = torch.randn(50, 6)
    model = build_model(TrainConfig.for_model(name, layers=layers), 6, 4).eval()
    sampler = NeighborSampler(graph, [-1] * layers)

    def logits(seeds: torch.Tensor) -> torch.Tensor:
        batch = sampler.sample(seeds)
        return model(x[batch.n_id], batch, graph.degree(batch.n_id)).detach()

    seeds = torch.tensor([4, 49, 0, 13, 7])
    torch.testing.assert_close(logits(seeds), logits(torch.arange(50))[seeds])


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_gets_a_gradient(name):
    graph = random_graph(40, 120, seed=0)
    model = build_model(TrainConfig.for_model(name), 6, 4)
    batch = NeighborSampler(graph, [5, 5]).sample(torch.arange(8))
    logits = model(torch.randn(batch.n_id.numel(), 6), batch, graph.degree(batch.n_id))
    assert logits.shape == (8, 4)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_gat_heads_are_joined():
    model = build_model(TrainConfig.for_model("gat", hidden=8, heads=3), 6, 4)
    assert [conv.heads for conv in model.convs] == [3, 1]
    assert model.convs[1].in_channels == 24
