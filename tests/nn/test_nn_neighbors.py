"""What is made of neighbours, against sums worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genexp_scverse.nn.neighbors import (
    EdgeFeatures,
    NeighborAttention,
    NeighborConcatenation,
    NeighborMean,
)

N, K, N_QUERY, N_NEIGHBOR, N_EDGE = 3, 4, 5, 6, 7


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    there = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
    return torch.randn(N, N_QUERY), torch.randn(N, K, N_NEIGHBOR), torch.randn(N, K, N_EDGE), there


@pytest.fixture
def attention():
    torch.manual_seed(1)
    module = NeighborAttention(N_QUERY, N_NEIGHBOR, N_EDGE, n_heads=2, n_head=3, n_hidden=4)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def test_edges_are_described_by_hand():
    distance = torch.tensor([[0.0, -9_000.0, torch.nan]])
    weight, strand = torch.tensor([[3.0, 1.0, 5.0]]), torch.tensor([[1.0, -1.0, 0.0]])
    there = torch.tensor([[True, True, False]])
    found = EdgeFeatures()(weight, distance, strand, there)[0].numpy()
    centers = np.arange(0, 4.1, 0.5)
    for j, (log_distance, sign, same) in enumerate([(0.0, 0, 1), (1.0, -1, -1)]):
        bumps = np.exp(-(((log_distance - centers) / 0.5) ** 2))
        np.testing.assert_allclose(found[j, :27], np.concatenate([bumps, sign * bumps, same * bumps]), rtol=1e-5)
        np.testing.assert_allclose(found[j, 27:29], [1, same])
    np.testing.assert_allclose(found[:2, 29:], [[np.log(4), 0.75], [np.log(2), 0.25]], rtol=1e-6)
    assert not found[2].any()
    assert EdgeFeatures().n_out == found.shape[1]


def test_an_unknown_distance_is_not_that_of_a_gene_at_the_same_place():
    one = torch.ones(1, 1)
    features = EdgeFeatures()
    unknown = features(one, torch.full((1, 1), torch.nan), one, one.bool())
    here = features(one, torch.zeros(1, 1), one, one.bool())
    assert not unknown[0, 0, :27].any()
    assert here[0, 0, 0] == 1
    assert torch.isfinite(unknown).all()


def test_attention_is_that_of_a_loop(attention, inputs):
    query, neighbors, edges, there = inputs
    context, weight = attention(query, neighbors, edges, there)
    p = {k: v.detach().numpy() for k, v in attention.state_dict().items()}
    for g in range(N):
        q = (p["query.weight"] @ query[g].numpy() + p["query.bias"]).reshape(2, 3)
        expected, weights = np.zeros((2, 3)), np.zeros((K, 2))
        for h in range(2):
            scores, values = [p["nothing"][h]], [np.zeros(3)]
            for j in range(K):
                if not there[g, j]:
                    continue
                edge = np.maximum(p["edge.weight"] @ edges[g, j].numpy() + p["edge.bias"], 0)
                described = np.concatenate([neighbors[g, j].numpy(), edge])
                key = (p["key.weight"] @ described + p["key.bias"]).reshape(2, 3)[h]
                values.append((p["value.weight"] @ described + p["value.bias"]).reshape(2, 3)[h])
                scores.append(q[h] @ key / np.sqrt(3) + (p["edge_score.weight"] @ edge)[h])
            a = np.exp(scores) / np.exp(scores).sum()
            expected[h] = a @ np.array(values)
            weights[there[g].numpy(), h] = a[1:]
        np.testing.assert_allclose(context[g].detach(), expected.ravel(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(weight[g].detach(), weights.mean(1), rtol=1e-4, atol=1e-6)


def test_attention_can_turn_away_from_all_neighbors(attention, inputs):
    with torch.no_grad():
        attention.nothing.fill_(50.0)
    context, weight = attention(*inputs)
    assert context.abs().max() < 1e-6
    assert weight.max() < 1e-6


def test_a_gene_without_neighbors_has_no_context_and_finite_gradients(attention, inputs):
    query, neighbors, edges, there = inputs
    query.requires_grad_()
    context, weight = attention(query, neighbors, edges, there)
    assert not context[2].any()
    assert not weight[2].any()
    context.sum().backward()
    assert torch.isfinite(query.grad).all()


@pytest.mark.parametrize("kind", ["attention", "mean", "concatenation"])
def test_what_stands_in_an_empty_place_is_not_read(attention, inputs, kind):
    query, neighbors, edges, there = inputs
    module = {
        "attention": attention,
        "mean": NeighborMean(N_NEIGHBOR, 3),
        "concatenation": NeighborConcatenation(N_NEIGHBOR, N_EDGE, n_places=K, n_out=3),
    }[kind]
    first, weight = module(query, neighbors, edges, there)
    others, other_edges = neighbors.clone(), edges.clone()
    others[~there], other_edges[~there] = 1e4, 1e4
    second, other_weight = module(query, others, other_edges, there)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(weight, other_weight, equal_nan=True)


@pytest.mark.parametrize("kind", ["attention", "mean"])
def test_the_order_of_neighbors_does_not_matter(attention, inputs, kind):
    query, neighbors, edges, there = inputs
    module = attention if kind == "attention" else NeighborMean(N_NEIGHBOR, 3)
    order = torch.tensor([2, 0, 3, 1])
    first, weight = module(query, neighbors, edges, there)
    second, other_weight = module(query, neighbors[:, order], edges[:, order], there[:, order])
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(weight[:, order], other_weight)


def test_mean_is_the_mean_of_those_that_are_there(inputs):
    query, neighbors, edges, there = inputs
    module = NeighborMean(N_NEIGHBOR, 3)
    found, weight = module(query, neighbors, edges, there)
    w, b = module.linear.weight.detach().numpy(), module.linear.bias.detach().numpy()
    x = neighbors.numpy()
    expected = [w @ x[0, :3].mean(0) + b, w @ x[1, 0] + b, b]
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weight, [[1 / 3] * 3 + [0], [1, 0, 0, 0], [0] * 4], rtol=1e-6)


def test_concatenation_is_one_linear_layer(inputs):
    query, neighbors, edges, there = inputs
    module = NeighborConcatenation(N_NEIGHBOR, N_EDGE, n_places=K, n_out=3)
    found, weight = module(query, neighbors, edges, there)
    w, b = module.linear.weight.detach().numpy(), module.linear.bias.detach().numpy()
    rows = np.concatenate([neighbors.numpy(), edges.numpy()], axis=2) * there.numpy()[..., None]
    np.testing.assert_allclose(found.detach(), rows.reshape(N, -1) @ w.T + b, rtol=1e-4, atol=1e-5)
    assert torch.isnan(weight).all()


def test_gradients_are_those_of_finite_differences(attention, inputs):
    query, neighbors, edges, there = (x.double() if x.dtype == torch.float32 else x for x in inputs)
    module = attention.double()
    arguments = tuple(x.requires_grad_() for x in (query, neighbors, edges))
    assert torch.autograd.gradcheck(lambda q, n, e: module(q, n, e, there), arguments)


def test_at_first_neighbors_and_nothing_weigh_the_same(inputs):
    query, neighbors, edges, there = inputs
    _, weight = NeighborAttention(N_QUERY, N_NEIGHBOR, N_EDGE)(query, neighbors, edges, there)
    np.testing.assert_allclose(weight.detach(), there / (there.sum(1, keepdim=True) + 1.0), rtol=1e-5)
