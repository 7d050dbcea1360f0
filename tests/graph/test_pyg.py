from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from torch_direct.errors import GraphError
from torch_direct.graph import Graph, HeteroGraph

pytest.importorskip("torch_geometric")
import torch_geometric
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler.utils import to_csc, to_hetero_csc


def make_data(num_nodes=40, num_edges=300):
    generator = torch.Generator().manual_seed(1)
    return Data(
        edge_index=torch.randint(num_nodes, (2, num_edges), generator=generator),
        num_nodes=num_nodes,
        node_time=torch.randint(9, (num_nodes,), generator=generator),
        edge_time=torch.randint(9, (num_edges,), generator=generator),
        edge_weight=torch.rand(num_edges, generator=generator),
    )


def no_time(store):
    """One time for all edges: without times PyG's sort is not stable."""
    return torch.zeros(store.edge_index.size(1))


def is_as_pyg_has_it(graph, colptr, row, perm):
    return (
        torch.equal(graph.indptr, colptr)
        and torch.equal(graph.indices, row)
        and torch.equal(graph.edge_id.long(), perm)
    )


@pytest.mark.parametrize("time_attr", [None, "node_time", "edge_time"])
def test_is_in_the_order_of_pyg(time_attr):
    data = make_data()
    graph = Graph.from_pyg(data, time_attr=time_attr, weight_attr="edge_weight")
    graph.validate()
    times = {None: no_time(data), "edge_time": data.edge_time, "node_time": None}
    expected = to_csc(
        data,
        src_node_time=data.node_time if time_attr == "node_time" else None,
        edge_time=times[time_attr],
    )
    assert is_as_pyg_has_it(graph, *expected)
    assert torch.equal(graph.weight, data.edge_weight[expected[2]])
    if time_attr == "edge_time":
        assert torch.equal(graph.edge_time, data.edge_time[expected[2]])
    if time_attr == "node_time":
        assert graph.node_time is data.node_time


def test_an_edge_index_of_pyg():
    data = make_data()
    for sort_order in (None, "row", "col"):
        edge_index = EdgeIndex(data.edge_index, sparse_size=(40, 40))
        if sort_order is not None:
            edge_index = edge_index.sort_by(sort_order).values
        graph = Graph.from_pyg(Data(edge_index=edge_index, num_nodes=40))
        assert {type(tensor) for tensor in graph.tensors().values()} == {torch.Tensor}
        plain = Graph.from_edge_index(edge_index.as_tensor(), 40)
        assert torch.equal(graph.indices, plain.indices)
        assert (graph.edge_id is None) == (sort_order == "col")


@pytest.mark.parametrize(
    "like", [torch.Tensor.long, torch.Tensor.bool, torch.Tensor.bfloat16, lambda w: w.view(-1, 1)]
)
def test_weights_of_any_type(like):
    data = make_data()
    data.edge_weight = (data.edge_weight * 3).round()
    expected = like(data.edge_weight).view(-1).double()
    data.edge_weight = like(data.edge_weight)
    weight = Graph.from_pyg(data, weight_attr="edge_weight")
    assert torch.equal(weight.weight.double(), expected[weight.edge_id])
    hetero = HeteroData()
    hetero["a"].num_nodes = 40
    hetero["a", "to", "a"].edge_index = data.edge_index
    hetero["a", "to", "a"].w = data.edge_weight
    by_type = HeteroGraph.from_pyg(hetero, weight_attr="w")["a", "to", "a"]
    assert torch.equal(by_type.weight, weight.weight)


def test_weights_keep_their_precision_and_lose_their_gradient():
    data = make_data()
    data.edge_weight = data.edge_weight.double().requires_grad_()
    weight = Graph.from_pyg(data, weight_attr="edge_weight").weight
    assert weight.dtype == torch.float64
    assert not weight.requires_grad


def test_nodes_without_edges():
    graph = Graph.from_pyg(Data(x=torch.rand(3, 2)))
    assert (graph.num_nodes, graph.num_edges) == (3, 0)


@pytest.mark.parametrize("name", ["adj_t", "adj"])
def test_refuses_another_form(name):
    data = Data(x=torch.rand(3, 2))
    data[name] = torch.eye(3).to_sparse()
    with pytest.raises(GraphError, match=rf"data stores its edges as {name}; expected edge_index"):
        Graph.from_pyg(data)


def test_what_the_refusal_of_adj_t_advises():
    data = Data(x=torch.rand(3, 2), adj_t=torch.tensor([[0, 0, 0], [1.0, 0, 1], [0, 0, 0]]))
    data.adj_t = data.adj_t.to_sparse()
    with pytest.raises(GraphError) as refused:
        Graph.from_pyg(data)
    advice = str(refused.value).split("edge_index: ")[1]
    exec(advice, {"data": data, "torch_geometric": torch_geometric})
    graph = Graph.from_pyg(data)
    assert graph.indptr.tolist() == [0, 0, 2, 2]
    assert graph.indices.tolist() == [0, 2]


def test_refuses_what_is_no_graph_or_has_no_such_attribute():
    data = make_data()
    with pytest.raises(TypeError, match=r"is a HeteroData; .*HeteroGraph\.from_pyg"):
        Graph.from_pyg(HeteroData())
    with pytest.raises(TypeError, match="data is a tuple; expected a torch_geometric"):
        Graph.from_pyg((None, None))
    with pytest.raises(TypeError, match=r"data is a Data; expected .*HeteroData"):
        HeteroGraph.from_pyg(data)
    with pytest.raises(GraphError, match=r"'when' is not in data; .*node or edge"):
        Graph.from_pyg(data, time_attr="when")
    with pytest.raises(GraphError, match=r"'node_time' has another length; .*every edge"):
        Graph.from_pyg(data, weight_attr="node_time")


def make_hetero():
    generator = torch.Generator().manual_seed(2)
    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 20, 30
    data["item"].time = torch.randint(9, (30,), generator=generator)
    for source, relation, target in [
        ("user", "buys", "item"),
        ("item", "bought_by", "user"),
        ("item", "like", "item"),
    ]:
        store = data[source, relation, target]
        bounds = torch.tensor([[data[source].num_nodes], [data[target].num_nodes]])
        store.edge_index = (torch.rand(2, 100, generator=generator) * bounds).long()
    data["user", "buys", "item"].price = torch.rand(100, generator=generator)
    data["user", "buys", "item"].when = torch.randint(9, (100,), generator=generator)
    return data


@pytest.mark.parametrize("time_attr", [None, "time", "when"])
def test_every_edge_type_is_in_the_order_of_pyg(time_attr):
    data = make_hetero()
    graph = HeteroGraph.from_pyg(data, weight_attr="price", time_attr=time_attr)
    graph.validate()
    edge_time = {edge_type: no_time(data[edge_type]) for edge_type in data.edge_types}
    if time_attr == "when":
        edge_time["user", "buys", "item"] = data["user", "buys", "item"].when
    if time_attr == "time":
        edge_time = {kind: time for kind, time in edge_time.items() if kind[0] != "item"}
    node_time = {"item": data["item"].time} if time_attr == "time" else None
    expected = to_hetero_csc(data, node_time_dict=node_time, edge_time_dict=edge_time)
    assert graph.edge_types == data.edge_types
    assert (graph.node_types, graph.num_nodes) == (data.node_types, {"user": 20, "item": 30})
    for edge_type in data.edge_types:
        parts = (part[edge_type] for part in expected)
        assert is_as_pyg_has_it(graph[edge_type], *parts)
        assert graph[edge_type].num_src_nodes == data[edge_type[0]].num_nodes
    priced = graph["user", "buys", "item"]
    assert torch.equal(priced.weight, data["user", "buys", "item"].price[priced.edge_id])
    assert graph["item", "like", "item"].weight is None
    if time_attr == "time":
        assert graph.node_time["item"] is graph["item", "like", "item"].node_time
        assert priced.node_time is None


def test_hetero_refuses():
    data = make_hetero()
    with pytest.raises(GraphError, match="'cost' is of no edge type"):
        HeteroGraph.from_pyg(data, weight_attr="cost")
    with pytest.raises(GraphError, match="'hour' is of no node or edge type"):
        HeteroGraph.from_pyg(data, time_attr="hour")
    data["item", "like", "item"].time = torch.zeros(100, dtype=torch.int64)
    with pytest.raises(GraphError, match="'time' is of nodes and of edges"):
        HeteroGraph.from_pyg(data, time_attr="time")
    data["item", "like", "item"].edge_index[0, 5] = 30
    with pytest.raises(GraphError, match=r"'like', 'item'\): edge_index\[0, 5\] is 30"):
        HeteroGraph.from_pyg(data)
    data["user", "knows", "user"].adj_t = torch.eye(20).to_sparse()
    del data["item", "like", "item"]
    with pytest.raises(GraphError, match=r"'knows', 'user'\)\] stores its edges as adj_t"):
        HeteroGraph.from_pyg(data)


def test_times_of_a_node_type_are_named_as_the_user_knows_them():
    data = HeteroData()
    data["user"].x, data["page"].x = torch.zeros(3, 1), torch.zeros(2, 1)
    data["user", "reads", "page"].edge_index = torch.zeros(2, 1, dtype=torch.int64)
    for kind in ("user", "page"):
        data[kind].when = torch.zeros(data[kind].num_nodes)
        with pytest.raises(GraphError, match=rf"^data\['{kind}'\]\.when: .*torch\.float32"):
            HeteroGraph.from_pyg(data, time_attr="when")
        del data[kind].when


def test_hetero_needs_to_know_how_many_nodes_there_are():
    data = HeteroData()
    data["a", "to", "b"].edge_index = torch.tensor([[0], [0]])
    with pytest.raises(GraphError, match="names the node type 'a'"):
        HeteroGraph.from_pyg(data)
    data["a"].y_of_graph, data["b"].num_nodes = 1, 1
    with (
        pytest.warns(UserWarning, match="num_nodes"),
        pytest.raises(GraphError, match=r"type 'a' is not known; .*set data\['a'\]\.num_nodes"),
    ):
        HeteroGraph.from_pyg(data)


@pytest.mark.parametrize("given", [{"weight_attr": "a"}, {"time_attr": "a"}])
def test_an_attribute_that_is_no_tensor_is_named_as_the_user_knows_it(given):
    data = make_data()
    data.a = np.ones(300)
    with pytest.raises(TypeError, match=r"data\.a is a ndarray; expected a tensor"):
        Graph.from_pyg(data, **given)
    hetero = HeteroData()
    hetero["u"].num_nodes = 40
    hetero["u", "to", "u"].edge_index = data.edge_index
    hetero["u", "to", "u"].a = np.ones(300)
    with pytest.raises(TypeError, match=r"data\[\('u', 'to', 'u'\)\]\.a is a ndarray"):
        HeteroGraph.from_pyg(hetero, **given)


def test_a_node_type_that_was_read_by_mistake_has_no_nodes():
    data = HeteroData()
    data["user"].x = torch.ones(2, 1)
    data["user", "knows", "user"].edge_index = torch.tensor([[0], [1]])
    data["usr"]
    graph = HeteroGraph.from_pyg(data)
    assert graph.num_nodes == {"user": 2, "usr": 0}


def test_acm(shared_data):
    lines = (shared_data / "acm_hetero" / "edge.txt").read_text().splitlines()
    fields = [line.split("\t") for line in lines]
    data = HeteroData()
    sizes = {"p": 4019, "a": 7167, "s": 60}
    for name, size in sizes.items():
        data[name].num_nodes = size
    for kind in ("p-a", "a-p", "p-s", "s-p"):
        edges = [(int(src), int(dst)) for src, dst, named, _ in fields if named == kind]
        source, target = kind.split("-")
        data[source, "to", target].edge_index = torch.tensor(edges).t()
    graph = HeteroGraph.from_pyg(data)
    graph.validate()
    assert [graph[kind].num_edges for kind in graph.edge_types] == [13407, 13407, 4019, 4019]
    edge_time = {edge_type: no_time(data[edge_type]) for edge_type in data.edge_types}
    expected = to_hetero_csc(data, edge_time_dict=edge_time)
    for edge_type in data.edge_types:
        ours = graph[edge_type]
        assert torch.equal(ours.indptr, expected[0][edge_type])
        assert torch.equal(ours.indices, expected[1][edge_type])


def test_mathoverflow(shared_data):
    file = shared_data / "sx_mathoverflow" / "sx-mathoverflow.txt.gz"
    numbers = gzip.decompress(file.read_bytes()).split()
    src, dst, time = np.array(numbers, dtype=np.int64).reshape(-1, 3).T
    nodes, edge_index = np.unique(np.stack([src, dst]), return_inverse=True)
    data = Data(
        edge_index=torch.from_numpy(edge_index.reshape(2, -1)),
        num_nodes=nodes.size,
        time=torch.from_numpy(time.copy()),
    )
    graph = Graph.from_pyg(data, time_attr="time")
    graph.validate()
    assert (graph.num_nodes, graph.num_edges) == (24_818, 506_550)
    assert is_as_pyg_has_it(graph, *to_csc(data, edge_time=data.time))
    assert torch.equal(graph.edge_time, data.time[graph.edge_id])
