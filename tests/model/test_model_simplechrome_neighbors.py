"""SimpleChromeVAE with neighbours: they are read, their weights come back, their expression is never seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from small_models import FAST, make_mdata

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.base._graph import neighbor_table
from genexp_scverse.model.base._statistics import standardised
from genexp_scverse.model.simplechrome._context import ContextTables

QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "batch_size": 32, "lr": 1e-2, "weight_decay": 1e-2}
SMALL = FAST["SimpleChromeVAE"]["hyper"]
MODES = ("joint", "two_stage")


def fresh(mdata, **hyper):
    return gx.model.SimpleChromeVAE(mdata, **{**SMALL, "neighbors": "neighbors", "n_neighbors": 4, **hyper})


def with_graph(n_genes: int = 160, **kwargs):
    mdata = make_mdata(n_genes=n_genes, **kwargs)
    gx.pp.gene_neighbors(mdata, n_neighbors=4)
    return mdata


def ruled_by_the_next_gene(n_genes: int = 480):
    """Genes in a row whose level is the signal of the next gene downstream, not their own."""
    rng = np.random.default_rng(0)
    strength = rng.normal(0, 1, n_genes)
    x = (strength[:, None, None] + rng.normal(0, 0.5, (n_genes, 2, 8))).astype(np.float32)
    level = np.roll(strength, -1)
    obs = pd.DataFrame(
        {"chrom": "chr1", "tss": 20_000 * np.arange(n_genes) + 1000, "strand": "+"},
        index=[f"g{i}" for i in range(n_genes)],
    )
    mdata = gx.io.from_bins(
        x, genes=list(obs.index), marks=["a", "b"], expression=level, unit="log", scale="log_ratio", obs=obs
    )
    mdata.obs["split"] = np.repeat(["train", "valid", "test"], [n_genes - 160, 80, 80])
    gx.pp.gene_neighbors(mdata, n_neighbors=4)
    return mdata


@pytest.fixture(scope="module")
def shared():
    return with_graph()


@pytest.fixture(scope="module", params=MODES)
def trained(request, shared):
    model = fresh(shared, mode=request.param)
    model.train(6, **QUIET)
    return model


# they are read


@pytest.mark.parametrize("combine", ["attention", "mean", "concatenation", None])
def test_signal_of_a_neighbor_predicts(combine):
    mdata = ruled_by_the_next_gene()
    hyper = {"neighbors": None} if combine is None else {"combine": combine}
    model = fresh(mdata, mode="two_stage", n_latent=2, **hyper)
    model.train(10, vae={"max_epochs": 4}, **QUIET)
    pearson = model.evaluate()["pearson"].iloc[0]
    if combine is None:
        assert abs(pearson) < 0.3
    elif combine == "mean":
        assert 0.3 < pearson < 0.75
    else:
        assert pearson > 0.75


def test_attention_finds_the_neighbor_that_rules():
    mdata = ruled_by_the_next_gene()
    model = fresh(mdata, n_latent=2, dropout=0.0, predictor_dropout=0.0)
    model.train(15, **QUIET)
    assert model.evaluate()["pearson"].iloc[0] > 0.75
    weight = model.get_neighbor_attention()
    inner = np.arange(2, mdata.n_obs - 2)
    next_one = np.asarray(weight[inner, inner + 1]).ravel()
    others = [np.asarray(weight[inner, inner + step]).ravel() for step in (-2, -1, 2)]
    assert all(next_one.mean() > 2 * other.mean() for other in others)


def test_a_prediction_follows_the_signal_of_neighbors_alone(trained, shared):
    graph = shared.obsp["neighbors"]
    mdata = shared.copy()
    before = trained.predict(mdata)
    mdata["chromatin"].obsm["bins"][7] *= 30
    after = trained.predict(mdata)
    changed = (np.abs(after - before) > 1e-5 * np.abs(before)).any(axis=1).to_numpy()
    touched = np.asarray((graph[:, [7]] != 0).todense()).ravel()
    touched[7] = True
    assert not changed[~touched].any()
    assert changed[touched].mean() > 0.8


def test_few_genes_are_predicted_as_all_are(trained):
    pd.testing.assert_frame_equal(trained.predict(indices=[3, 90]), trained.predict().iloc[[3, 90]], rtol=1e-4)


def test_only_neighbors_that_are_asked_for_are_encoded(trained, shared):
    tables = ContextTables.of(trained._tables(shared, ["A", "B"]))
    tables.encode(trained.module.autoencoder, np.array([[5, 1]]))
    wanted = np.zeros((2, shared.n_obs), bool)
    wanted[1, shared.obsp["neighbors"][5].indices] = True
    np.testing.assert_array_equal(tables.codes.abs().sum(2).numpy() > 0, wanted)
    latent = trained.get_latent_representation(samples="B", key_added=None)
    torch.testing.assert_close(tables.codes[1][wanted[1]], torch.tensor(latent[wanted[1]]))


def test_distance_strand_and_weight_are_read(trained, shared):
    """The same neighbours elsewhere, or of another weight, give other predictions."""
    before = trained.predict()
    further = shared.copy()
    middle = further.obs["tss"].to_numpy()
    further.obs["tss"] = (middle - 10_000) * 50 + 10_000
    heavier = shared.copy()
    heavier.obsp["neighbors"] = heavier.obsp["neighbors"].copy()
    heavier.obsp["neighbors"].data *= np.random.default_rng(0).uniform(1, 9, heavier.obsp["neighbors"].nnz)
    turned = shared.copy()
    turned.obs["strand"] = np.where(np.arange(turned.n_obs) % 2, "+", "-")
    for other in (further, heavier, turned):
        assert np.abs(trained.predict(other) - before).to_numpy().max() > 1e-4


def test_genes_without_neighbors_are_predicted(trained, shared):
    alone = shared.copy()
    graph = alone.obsp["neighbors"].tolil()
    graph[:80] = 0
    alone.obsp["neighbors"] = graph.tocsr()
    found = trained.predict(alone)
    assert np.isfinite(found.to_numpy()).all()
    pd.testing.assert_frame_equal(found.iloc[80:], trained.predict().iloc[80:], rtol=1e-5)


# their expression is not


@pytest.mark.parametrize("mode", MODES)
def test_expression_of_other_splits_is_never_read(mode):
    """Genes of other splits are neighbours of training genes; what they express changes no number."""
    predictions = []
    for changed in (False, True):
        mdata = make_mdata(n_genes=160)
        mdata.obs["split"] = np.random.default_rng(2).choice(["train", "valid", "test"], 160, p=[0.6, 0.1, 0.3])
        gx.pp.gene_neighbors(mdata, n_neighbors=4)
        test = (mdata.obs["split"] == "test").to_numpy()
        graph = mdata.obsp["neighbors"][(mdata.obs["split"] == "train").to_numpy()]
        assert graph[:, test].nnz > 50
        if changed:
            mdata["rna"].layers["log"][test] = np.random.default_rng(1).normal(9, 5, (test.sum(), 2))
            mdata["rna"].layers.pop("label")
        model = fresh(mdata, mode=mode)
        model.train(3, **QUIET)
        predictions.append(model.predict())
    pd.testing.assert_frame_equal(*predictions, check_exact=True)


def test_predictions_need_no_expression_at_all(trained, shared):
    blind = shared.copy()
    rng = np.random.default_rng(0)
    blind["rna"].layers["log"] = rng.normal(3, 2, blind["rna"].shape).astype(np.float32)
    blind["rna"].layers["label"] = rng.integers(0, 2, blind["rna"].shape).astype(np.float32)
    pd.testing.assert_frame_equal(trained.predict(blind), trained.predict(), check_exact=True)
    del blind.mod["rna"]
    pd.testing.assert_frame_equal(trained.predict(blind), trained.predict(), check_exact=True)


def test_a_batch_holds_nothing_of_what_neighbors_express(trained, shared):
    tables = standardised(trained._tables(shared, ["A", "B"]), trained.fitted_)
    context = ContextTables.of(tables)
    context.encode(trained.module.autoencoder, np.array([[g, 0] for g in range(20)]))
    batch = context.gather(torch.arange(20), torch.zeros(20, dtype=torch.long))
    assert set(batch) == {
        "level", "label", "bins", "neighbor_latent", "neighbor_there", "neighbor_weight", "neighbor_distance",
        "neighbor_same_strand",
    }  # fmt: skip


def test_a_planted_leak_is_refused():
    """A graph that joins genes of like expression would hand the answer over."""
    mdata = make_mdata(n_genes=160)
    log = np.nan_to_num(mdata["rna"].layers["log"][:, 0], nan=-1)
    order = np.argsort(log)
    rows, columns = np.concatenate([order[:-1], order[1:]]), np.concatenate([order[1:], order[:-1]])
    mdata.obsp["neighbors"] = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(160, 160))
    with pytest.raises(InputError, match="seems to be made from the expression that is to be predicted"):
        fresh(mdata)
    mdata.uns["graphs"] = {"neighbors": {"method": "by hand", "expression_of": ["B"]}}
    with pytest.raises(InputError, match="was made from the expression of 'B'"):
        fresh(mdata)


def test_a_declared_leak_has_no_effect_beyond_chromatin():
    """The planted graph, said to be innocent: signal is noise, so that nothing can be predicted through it."""
    mdata = make_mdata(n_genes=240)
    rng = np.random.default_rng(0)
    mdata["chromatin"].obsm["bins"] = rng.poisson(3, mdata["chromatin"].obsm["bins"].shape).astype(np.float32)
    order = np.argsort(np.nan_to_num(mdata["rna"].layers["log"][:, 0], nan=-1))
    rows, columns = np.concatenate([order[:-1], order[1:]]), np.concatenate([order[1:], order[:-1]])
    mdata.obsp["neighbors"] = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(240, 240))
    mdata.uns["graphs"] = {"neighbors": {"method": "by hand", "expression_of": []}}
    model = fresh(mdata)
    model.train(6, **QUIET)
    assert abs(model.evaluate().loc["A", "pearson"]) < 0.4


# their weights come back


def test_weights_of_neighbors_are_those_of_the_network(trained, shared):
    found = trained.get_neighbor_attention()
    graph = shared.obsp["neighbors"]
    for j, sample in enumerate("AB"):
        weight = found[sample]
        stored = shared.obsp[f"simplechrome_attention_{sample}"]
        assert (stored != weight).nnz == 0
        assert set(zip(*weight.nonzero(), strict=True)) <= set(zip(*graph.nonzero(), strict=True))
        total = np.asarray(weight.sum(axis=1)).ravel()
        assert (total > 0).all() and (total < 1).all()
        context = ContextTables.of(trained._tables(shared, ["A", "B"]))
        context.encode(trained.module.autoencoder, np.array([[11, j]]))
        with torch.no_grad():
            batch = context.gather(torch.tensor([11]), torch.tensor([j]))
            expected = trained.module(batch)["attention"][0].numpy()
        index = trained._tables(shared, ["A", "B"]).neighbors.index[11]
        np.testing.assert_allclose(np.asarray(weight[11, index].todense()).ravel(), expected, rtol=1e-4)


def test_weights_of_one_sample_and_under_another_name(trained, shared):
    weight = trained.get_neighbor_attention(samples="A", key_added="mine")
    assert (shared.obsp["mine"] != weight).nnz == 0
    before = set(shared.obsp)
    trained.get_neighbor_attention(samples="A", key_added=None)
    assert set(shared.obsp) == before
    trained.get_neighbor_attention(samples="B")
    assert "simplechrome_attention" in shared.obsp


def test_neighbors_of_a_mean_weigh_the_same():
    mdata = with_graph(100, samples=("A",))
    model = fresh(mdata, combine="mean")
    model.train(1, **QUIET)
    weight = model.get_neighbor_attention()
    degree = np.diff(mdata.obsp["neighbors"].indptr)
    np.testing.assert_allclose(weight.data, np.repeat(1 / degree, degree), rtol=1e-6)


def test_what_has_no_weights_says_so(shared):
    side_by_side = fresh(shared, combine="concatenation")
    side_by_side.train(1, **QUIET)
    with pytest.raises(InputError, match="have no weights"):
        side_by_side.get_neighbor_attention()
    alone = fresh(shared, neighbors=None)
    alone.train(1, **QUIET)
    with pytest.raises(InputError, match="made without neighbours"):
        alone.get_neighbor_attention()


# used again


def test_saved_and_loaded(trained, shared, tmp_path):
    trained.save(tmp_path / "m")
    loaded = gx.model.load(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.predict(shared), trained.predict(), check_exact=True)
    bare = shared.copy()
    del bare.obsp["neighbors"]
    with pytest.raises(InputError, match="no graph 'neighbors'"):
        loaded.predict(bare)
    # a latent is that of the gene alone
    latent = loaded.get_latent_representation(bare)["A"]
    np.testing.assert_array_equal(latent, trained.get_latent_representation()["A"])


@pytest.mark.parametrize("mode", MODES)
def test_a_further_training_does_not_lose_the_best(mode):
    mdata = with_graph(120)
    model = fresh(mdata, mode=mode)
    model.train(5, **QUIET)
    before = model.predict()
    model.train(1, **{**QUIET, "lr": 1e-12})
    pd.testing.assert_frame_equal(model.predict(), before, rtol=1e-5)


def test_neighbors_follow_the_encoder_in_joint_training():
    """The score of the best epoch is that of the restored network with neighbours encoded by it."""
    mdata = with_graph(160)
    model = fresh(mdata)
    model.train(6, **QUIET)
    table = model.evaluate(split="valid")
    best = model.history.loc[model.fitted_["best_epoch"]]
    assert best["valid_pearson"] == pytest.approx(table["pearson"].mean(), abs=1e-5)
    assert best["valid_auroc"] == pytest.approx(table["auroc"].mean(), abs=1e-5)


def test_without_validation_genes_neighbors_follow_too(caplog):
    mdata = with_graph(120)
    mdata.obs["split"] = mdata.obs["split"].astype(str).replace("valid", "train")
    model = fresh(mdata)
    model.train(2, **QUIET)
    assert "the last epoch is kept" in caplog.text
    assert np.isfinite(model.predict().to_numpy()).all()


def test_the_same_seed_gives_the_same_numbers():
    first, second = (fresh(with_graph(120), seed=3) for _ in range(2))
    for model in (first, second):
        model.train(2, **QUIET)
    pd.testing.assert_frame_equal(first.predict(), second.predict(), check_exact=True)


def test_a_model_reads_the_strongest_neighbors_and_where_they_lie():
    """By hand: five genes on two chromosomes, plus and minus strands, three edges of one gene and ties."""
    obs = pd.DataFrame(
        {"chrom": ["chr1"] * 4 + ["chr2"], "tss": [1000, 4000, 6000, 9000, 500], "strand": ["+", "-", "+", "-", "+"]},
        index=list("abcde"),
    )
    mdata = gx.io.from_bins(np.ones((5, 1, 4)), genes=list("abcde"), marks=["m"], obs=obs)
    weights = np.zeros((5, 5), np.float32)
    weights[0, [1, 2, 3]] = 0.2, 0.9, 0.5
    weights[1, [0, 2, 4]] = 1.0, 1.0, 0.7
    weights[3, [3, 0, 1]] = 9.0, 0.0, 0.3
    mdata.obsp["mine"] = csr_matrix(weights)
    table = neighbor_table(mdata, "mine", 2, samples=["sample"])
    # the weakest is left out; of equal ones the nearer comes first; a gene is no neighbour of its own
    assert table.index.tolist() == [[2, 3], [2, 0], [-1, -1], [1, -1], [-1, -1]]
    np.testing.assert_allclose(table.weight, [[0.9, 0.5], [1, 1], [0, 0], [0.3, 0], [0, 0]], rtol=1e-6)
    # b and d are read from right to left: what lies at larger coordinates is upstream of them
    nan = np.nan
    np.testing.assert_array_equal(table.distance, [[5000, 8000], [-2000, 3000], [nan, nan], [5000, nan], [nan, nan]])
    assert table.same_strand.tolist() == [[1, -1], [-1, -1], [0, 0], [1, 0], [0, 0]]
    three = neighbor_table(mdata, "mine", 3, samples=["sample"])
    assert three.index[1].tolist() == [2, 0, 4]
    assert np.isnan(three.distance[1, 2]), "on another chromosome"
