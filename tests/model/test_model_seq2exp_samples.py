"""Seq2ExpModel on several samples of which DNA alone is read: nothing but the readout tells them apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

import genexp_scverse as gx
from genexp_scverse.io.assemble import assemble_mudata
from genexp_scverse.model.base._data import PairBatches

SMALL = {"width": 8, "n_layers": 1, "backbone": "conv", "n_hidden": [8], "dropout": 0.0}
QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def genes():
    """What G raises in one sample it lowers in another; some genes are measured in a part of the samples."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.1, 0.6, 200)
    codes = np.where(rng.random((200, 64)) < share[:, None], 2, rng.choice([0, 1, 3], (200, 64))).astype(np.uint8)
    level = pd.DataFrame({"up": 10 * share, "down": 5 - 20 * share, "rare": share}, [f"g{i}" for i in range(200)])
    level.loc[level.index[::3], "rare"] = np.nan
    rna = AnnData(level.astype(np.float32), var=pd.DataFrame({"sample": level.columns, "unit": "log"}, level.columns))
    rna.layers["log"] = rna.X.copy()
    dna = AnnData(obs=pd.DataFrame(index=level.index), obsm={"codes": codes})
    dna.uns["window"] = {"upstream": 32, "downstream": 32, "stranded": True}
    gx.schema.name_axes(dna)
    obs = pd.DataFrame({"chrom": "chr1", "tss": 1000 * np.arange(200), "strand": "+"}, level.index)
    mdata = assemble_mudata(obs, {"rna": rna, "dna": dna})
    mdata.obs["split"] = np.repeat(["train", "valid", "test"], [120, 40, 40])
    gx.pp.add_gene_features(mdata, pd.DataFrame({"noise": rng.normal(size=200)}, level.index))
    return mdata


@pytest.fixture(scope="module")
def model(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes, target="expression")
    made = gx.model.Seq2ExpModel(genes, **SMALL)
    made.train(12, lr=1e-2, batch_size=48, **QUIET)
    return made


def test_samples_are_told_apart(genes, model, tmp_path):
    assert model.module.head.level.weight.shape == (3, 8)
    assert (model.evaluate(split="test")["pearson"] > 0.7).all()
    predicted = model.predict()
    assert predicted["up"].corr(predicted["down"]) < -0.9
    pd.testing.assert_frame_equal(model.predict(samples=["down", "up"]), predicted[["down", "up"]])
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(gx.model.load(tmp_path / "model", genes).predict(), predicted)


def test_a_new_sample_gets_the_mean_readout_on_the_mean_scale(genes, model):
    new = genes.copy()
    new["rna"].var["sample"] = ["new", "down", "rare"]
    mean, std = (np.array(list(model.fitted_[k].values())) for k in ("level_mean", "level_std"))
    units = (model.predict().to_numpy() - mean) / std
    found = model.predict(new, samples="new")["new"]
    np.testing.assert_allclose(found, units.mean(1) * std.mean() + mean.mean(), rtol=1e-4, atol=1e-5)


def test_a_gene_is_read_once_for_all_of_its_samples(genes, model):
    tables = model._tables(genes, ["up", "down", "rare"])
    pairs = torch.tensor([[7, 2], [3, 0], [7, 0], [3, 1], [5, 1]])
    batch = tables.gather(*pairs.T)
    assert batch["codes"].shape == (3, 64)
    assert batch["features"].shape == (3, 1)
    np.testing.assert_array_equal(batch["codes"][batch["gene"]], genes["dna"].obsm["codes"][pairs[:, 0]])
    together = model._forward(tables, pairs.numpy(), ("level", "latent", "mask_mean"))
    for i, pair in enumerate(pairs):
        alone = model._forward(tables, pair[None].numpy(), tuple(together))
        for name, values in together.items():
            np.testing.assert_allclose(values[i], alone[name][0], rtol=1e-4, atol=1e-6, err_msg=name)
    masks = [model.get_mask(samples=s, key_added=None).mean for s in ("down", "up")]
    np.testing.assert_array_equal(*masks)


def test_batches_keep_the_samples_of_a_gene_together():
    pairs = torch.tensor([[gene, sample] for gene in (4, 9, 2, 30, 11, 6) for sample in range(3)])
    batches = PairBatches(pairs, 6, shuffle=True, seed=1, by_gene=True)
    orders = []
    for _ in range(2):
        seen = [torch.stack(batch, dim=1) for batch in batches]
        assert [len(batch) for batch in seen] == [6, 6, 6]
        assert all(len(batch[:, 0].unique()) == 2 for batch in seen)
        assert sorted(map(tuple, torch.cat(seen).tolist())) == sorted(map(tuple, pairs.tolist()))
        orders.append(torch.cat(seen))
    assert not torch.equal(*orders)


def test_baselines_say_that_they_cannot_tell_samples_apart(genes, caplog):
    gx.model.Linear.setup_mudata(genes, target="expression")
    gx.model.Linear(genes).train()
    said = "Linear reads the same of a gene in all 3 samples and tells them apart by mean and spread alone: train one "
    assert said + "model for each with samples=[...]" in caplog.text


def test_one_sample_has_one_readout(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes, samples=["up"], target="expression")
    alone = gx.model.Seq2ExpModel(genes, **SMALL)
    assert alone.module.head.level.weight.shape == (1, 8)
    alone._fit_statistics(genes)
    assert alone._tables(genes, ["up"]).known is None
