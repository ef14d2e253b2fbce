"""Seq2ExpModel: positions, what the mask opens, DNA, contact, features, the genome store."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from small_models import make_mdata

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.io.assemble import assemble_mudata
from genexp_scverse.model.seq2exp._geometry import geometry

SMALL = {"width": 8, "n_layers": 1, "backbone": "conv", "n_hidden": [8], "dropout": 0.0}
QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}
MOTIF = np.array([0, 2, 1, 3, 3, 2, 0, 1], np.uint8)


def setup_of(*, dna=None, window=None, marks=("a",), n_bins=0) -> dict:
    return {"codes": dna, "window": window, "marks": list(marks), "n_bins": n_bins}


def motif_mdata(n_genes: int = 240, length: int = 320):
    """Genes whose level is the number of motifs in their DNA, downstream or upstream of the TSS."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (n_genes, length)).astype(np.uint8)
    n_sites = rng.integers(0, 4, n_genes)
    for gene, n in enumerate(n_sites):
        for place in rng.choice(np.arange(0, length, 32), n, replace=False):
            codes[gene, place + 8 : place + 8 + len(MOTIF)] = MOTIF
    names = [f"g{i}" for i in range(n_genes)]
    obs = pd.DataFrame({"chrom": "chr1", "tss": 1000 * np.arange(n_genes) + 500, "strand": "+"}, index=names)
    window = {"upstream": length // 2, "downstream": length // 2, "bin_size": 16, "stranded": True}
    mdata = gx.io.from_bins(
        rng.random((n_genes, 2, length // 16)).astype(np.float32), genes=names, marks=["H3K27ac", "DNase"],
        expression=n_sites + rng.normal(0, 0.1, n_genes), unit="log", sample="K562", obs=obs, window=window,
    )  # fmt: skip
    dna = AnnData(X=np.zeros((n_genes, 0), np.float32), obs=pd.DataFrame(index=names))
    dna.obsm["codes"], dna.uns["window"] = codes, {k: window[k] for k in ("upstream", "downstream", "stranded")}
    gx.schema.name_axes(dna)
    whole = assemble_mudata(obs, {**mdata.mod, "dna": dna})
    whole.obs["split"] = np.repeat(["train", "valid", "test"], [n_genes - 80, 40, 40])
    return whole


def trained(mdata, max_epochs: int = 2, **hyper):
    model = gx.model.Seq2ExpModel(mdata, **{**SMALL, **hyper})
    model.train(max_epochs, **QUIET)
    return model


@pytest.fixture(scope="module")
def genes():
    return motif_mdata()


# positions


def test_positions_by_hand():
    window = {"upstream": 600, "downstream": 200, "bin_size": 50, "stranded": True}
    found = geometry(setup_of(window=window), resolution=None, center=None)
    # a fifth of 800 bases around the TSS, from 520 to 680
    assert (found.resolution, found.n_positions, found.first_open, found.last_open) == (50, 16, 10, 14)
    finer = geometry(setup_of(window=window), resolution=10, center=20)
    assert (finer.n_positions, finer.first_open, finer.last_open) == (80, 59, 61)
    dna = {"upstream": 600, "downstream": 200, "stranded": True}
    assert geometry(setup_of(dna=dna, window=window), resolution=None, center=None).resolution == 25
    assert geometry(setup_of(dna=dna, marks=()), resolution=None, center=None).resolution == 32
    alone = geometry(setup_of(n_bins=5000), resolution=None, center=1)
    assert (alone.resolution, alone.first_open, alone.last_open) == (4, 625, 626)


def test_positions_that_cannot_be_are_said():
    window = {"upstream": 600, "downstream": 200, "bin_size": 50, "stranded": True}
    with pytest.raises(InputError, match="resolution=30 does not fit the window of 800 bases in bins of 50"):
        geometry(setup_of(window=window), resolution=30, center=None)
    dna = {"upstream": 400, "downstream": 400, "stranded": True}
    with pytest.raises(InputError, match="build both with the same window"):
        geometry(setup_of(dna=dna, window=window), resolution=None, center=None)


# what is read


def test_dna_alone_is_learned(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes, modalities={"chromatin": None})
    model = gx.model.Seq2ExpModel(genes, **{**SMALL, "width": 16}, mask="none", target="expression")
    assert model.setup_["marks"] is None
    model.train(15, lr=5e-3, batch_size=16, **QUIET)
    assert model.evaluate(split="test")["pearson"].iloc[0] > 0.7


@pytest.mark.parametrize("marks_are_there", [True, False])
def test_latents_of_a_model_of_dna_alone_are_written_to_dna(genes, marks_are_there):
    mdata = (
        genes.copy() if marks_are_there else assemble_mudata(genes.obs, {m: genes[m].copy() for m in ("rna", "dna")})
    )
    gx.model.Seq2ExpModel.setup_mudata(mdata, modalities={"chromatin": None} if marks_are_there else None)
    model = trained(mdata, 1)
    before = {name: set(modality.obsm) for name, modality in mdata.mod.items()}
    latent = model.get_latent_representation(key_added="X_seq2exp")
    assert latent.shape == (mdata.n_obs, 8)
    np.testing.assert_array_equal(mdata["dna"].obsm["X_seq2exp"], latent)
    assert {name: set(m.obsm) - before[name] for name, m in mdata.mod.items()} == {
        name: {"X_seq2exp"} if name == "dna" else set() for name in mdata.mod
    }


def test_the_order_of_the_codes_matters_and_signal_too(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    model = trained(genes)
    before = model.predict()
    for change in ("dna", "chromatin"):
        other = genes.copy()
        key = {"dna": "codes", "chromatin": "bins"}[change]
        other[change].obsm[key] = other[change].obsm[key][..., ::-1].copy()
        assert (np.abs(model.predict(other) - before).to_numpy() > 1e-6).any(axis=1).mean() > 0.9


def test_minus_genes_are_read_as_their_reverse_complement(genes):
    """An unstranded MuData read stranded is the stranded MuData."""
    stranded = genes.copy()
    stranded.obs["strand"] = np.where(np.arange(genes.n_obs) % 2, "+", "-")
    plain = stranded.copy()
    minus = (stranded.obs["strand"] == "-").to_numpy()
    codes, bins = plain["dna"].obsm["codes"], plain["chromatin"].obsm["bins"]
    codes[minus] = (3 - codes[minus])[:, ::-1]
    bins[minus] = bins[minus][:, :, ::-1]
    for name in ("dna", "chromatin"):
        plain[name].uns["window"] = {**plain[name].uns["window"], "stranded": False}
    gx.schema.name_axes(plain, ["bins", "codes"])
    gx.model.Seq2ExpModel.setup_mudata(stranded)
    gx.model.Seq2ExpModel.setup_mudata(plain)
    pd.testing.assert_frame_equal(trained(stranded).predict(), trained(plain).predict(), rtol=1e-5)


def test_features_are_standardised_on_training_genes(genes):
    mdata = genes.copy()
    values = np.random.default_rng(1).normal(50, 10, mdata.n_obs)
    values[::7] = np.nan
    gx.pp.add_gene_features(mdata, pd.DataFrame({"UTR5LEN": values}, index=mdata.obs_names))
    gx.model.Seq2ExpModel.setup_mudata(mdata)
    model = trained(mdata)
    train = (mdata.obs["split"] == "train").to_numpy()
    assert model.module.feature_mean.item() == pytest.approx(np.nanmean(values[train]), rel=1e-5)
    assert model.module.feature_std.item() == pytest.approx(np.nanstd(values[train]), rel=1e-5)
    assert np.isfinite(model.predict().to_numpy()).all()


# the mask


def test_the_mask_is_stored_and_elements_are_called(genes):
    mdata = genes.copy()
    gx.model.Seq2ExpModel.setup_mudata(mdata)
    model = trained(mdata, resolution=16)
    mask = model.get_mask()
    assert mask.mean.shape == mask.std.shape == (mdata.n_obs, 20)
    places = model.module.geometry
    assert places.resolution == 16
    # 64 bases around the TSS
    assert (mask.mean[:, 8:12] == 1).all()
    assert (mask.std[:, 8:12] == 0).all()
    assert ((mask.mean > 0) & (mask.mean <= 1)).all()
    chromatin = mdata["chromatin"]
    np.testing.assert_array_equal(chromatin.obsm["seq2exp_mask"], mask.mean)
    assert chromatin.uns["seq2exp_mask"]["bin_size"] == 16
    assert list(chromatin.uns["seq2exp_mask"]["always_open"]) == [8, 12]
    table = gx.tl.call_elements(model, mdata, top=0.1)
    pd.testing.assert_frame_equal(table, gx.tl.call_elements(model, mdata, top=0.1, exclude_promoter=32))
    lengths = (table["end"] - table["start"]).to_numpy()
    assert len(table) > 0
    assert (lengths % 16 == 0).all()
    assert np.isclose(lengths.sum() / (mdata.n_obs * (320 - 64)), 0.1, atol=0.02)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_gradients_of_the_prediction_reach_the_generator(genes, kind):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    model = gx.model.Seq2ExpModel(genes, mask=kind, **SMALL)
    tables = gx.model.Seq2ExpModel._tables
    model._fit_statistics(genes)
    batch = tables(model, genes, ["K562"]).gather(torch.arange(8), torch.zeros(8, dtype=torch.long))
    torch.manual_seed(0)
    model.module.train()
    out = model.module(batch)
    if kind == "hard":
        assert set(out["mask"].detach().unique().tolist()) <= {0.0, 1.0}
    out["level"].square().sum().backward()
    assert model.module.generator.logits.weight.grad.abs().sum() > 0


def test_blacklisted_positions_stay_shut(genes):
    mdata = genes.copy()
    # the first 32 bases of the window of gene 3, TSS 3500
    table = pd.DataFrame({"chrom": ["chr1"], "start": [3340], "end": [3372]})
    gx.pp.add_intervals(mdata, table, "blacklist")
    gx.model.Seq2ExpModel.setup_mudata(mdata)
    mask = trained(mdata, blacklist="blacklist", resolution=16).get_mask().mean
    assert (mask[3, :2] == 0).all()
    assert (np.delete(mask, 3, axis=0) > 0).all()
    assert (mask[3, 2:] > 0).all()


def test_a_position_that_the_blacklist_touches_is_shut(genes):
    mdata = genes.copy()
    # base 20 to 23 of the window of gene 3
    gx.pp.add_intervals(mdata, pd.DataFrame({"chrom": ["chr1"], "start": [3360], "end": [3363]}), "blacklist")
    gx.model.Seq2ExpModel.setup_mudata(mdata)
    mask = trained(mdata, blacklist="blacklist", resolution=16).get_mask().mean
    assert np.argwhere(mask == 0).tolist() == [[3, 1]]
    with pytest.raises(InputError, match='acts on the mask, and there is none: leave it out, or mask="none"'):
        trained(mdata, blacklist="blacklist", mask="none")


def test_what_is_read_in_the_other_direction_is_said_in_that_of_the_window(genes):
    stored, along = genes.copy(), {}
    stored.obs["strand"] = np.where(np.arange(stored.n_obs) % 3 == 0, "-", "+")
    minus = (stored.obs["strand"] == "-").to_numpy()
    gx.pp.contact_track(stored, upstream=160, downstream=160, bin_size=16)
    contact = np.random.default_rng(1).random((stored.n_obs, 20)).astype(np.float32)
    stored["chromatin"].obsm["contact"] = contact
    # in the window of gene 3, on the minus strand: bases 40 to 56 downstream of its TSS at 3500
    gx.pp.add_intervals(stored, pd.DataFrame({"chrom": ["chr1"], "start": [3445], "end": [3455]}), "blacklist")
    turned = stored.copy()
    for holder, key in (("chromatin", "bins"), ("dna", "codes"), ("chromatin", "contact")):
        array = np.array(turned[holder].obsm[key])
        array[minus] = (3 - array[minus] if key == "codes" else array[minus])[..., ::-1]
        turned[holder].obsm[key] = array
        turned[holder].uns["contact" if key == "contact" else "window"]["stranded"] = False
    gx.schema.name_axes(turned, ["bins", "codes", "contact"])
    for name, mdata in (("stored", stored), ("turned", turned)):
        gx.model.Seq2ExpModel.setup_mudata(mdata)
        model = trained(mdata, stranded=False, contact="contact", blacklist="blacklist", resolution=16)
        along[name] = model.get_mask().mean
    assert np.argwhere(along["stored"] == 0).tolist() == [[3, 12], [3, 13]]
    np.testing.assert_allclose(along["stored"][~minus], along["turned"][~minus], atol=1e-6)
    np.testing.assert_allclose(along["stored"][minus], along["turned"][minus, ::-1], atol=1e-6)
    assert np.abs(along["stored"][minus] - along["turned"][minus]).max() > 0.01


def test_the_mask_of_the_last_model_is_the_one_that_is_found(genes):
    mdata = genes.copy()
    called = []
    for other in ("dna", "chromatin", "dna"):
        gx.model.Seq2ExpModel.setup_mudata(mdata, modalities={other: None})
        trained(mdata, resolution=16).get_mask()
        called.append(gx.tl.call_elements(None, mdata, top=0.1))
    assert called[0].equals(called[2])
    assert not called[0].equals(called[1])


def test_contact_is_read(genes):
    mdata = genes.copy()
    gx.pp.contact_track(mdata, upstream=160, downstream=160, bin_size=32)
    gx.model.Seq2ExpModel.setup_mudata(mdata)
    model = trained(mdata, contact="contact")
    before = model.predict()
    mdata["chromatin"].obsm["contact"] = mdata["chromatin"].obsm["contact"] * 0
    assert (np.abs(model.predict() - before).to_numpy() > 1e-6).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("published", [False, True])
def test_contact_is_a_factor_of_the_mask_or_a_signal_of_it_as_published(genes, published):
    mdata = genes.copy()
    # counts 0, 3 and 9 in bins of 64 bases, and nothing at all for gene 1
    counts = np.tile(np.float32([9, 3, 9, 0, 3]), (mdata.n_obs, 1))
    counts[1] = 0
    about = {"upstream": 160, "downstream": 160, "bin_size": 64, "stranded": True}
    mdata["chromatin"].obsm["contact"], mdata["chromatin"].uns["contact"] = np.log10(1 + counts), about
    gx.schema.name_axes(mdata)
    gx.model.Seq2ExpModel.setup_mudata(mdata, modalities={"dna": None})
    model = gx.model.Seq2ExpModel(
        mdata, contact="contact", published_signals=published, resolution=32, center=32, **SMALL
    )
    seen = {}
    model.module.mask.register_forward_hook(
        lambda m, args, kwargs, out: seen.update(kwargs, signals=args[1]), with_kwargs=True
    )
    model._fit_statistics(mdata)
    batch = model._tables(mdata, ["K562"]).gather(torch.arange(2), torch.zeros(2, dtype=torch.long))
    model.module(batch)
    if published:
        assert model.module.mask.weight.tolist() == pytest.approx([0.4, 0.4, 0.2])
        assert seen["signals"].shape == (2, 3, 10)
        assert seen["signals"][0, 2].tolist() == pytest.approx(np.log10(1 + counts[0]).repeat(2).tolist())
        assert seen["contact"] is None
    else:
        assert model.module.mask.weight.tolist() == pytest.approx([0.5, 0.5])
        assert seen["signals"].shape == (2, 2, 10)
        share = [1, 1, 1 / 3, 1 / 3, 1, 1, 0.01, 0.01, 1 / 3, 1 / 3]
        np.testing.assert_allclose(seen["contact"], [share, [1.0] * 10], rtol=1e-5)


def test_embeddings_reach_the_generator(genes, tmp_path):
    mdata = genes.copy()
    rng = np.random.default_rng(1)
    mdata["dna"].obsm["language"] = rng.normal(size=(mdata.n_obs, 20, 6)).astype(np.float16)
    gx.model.Seq2ExpModel.setup_mudata(mdata)
    model = trained(mdata, embeddings="language", resolution=16)
    assert model.module.given.weight.shape == (8, 6)
    before = model.get_mask().mean
    model.save(tmp_path / "m")
    again = gx.model.load(tmp_path / "m", mdata)
    assert np.array_equal(again.get_mask().mean, before)
    mdata["dna"].obsm["language"] = -mdata["dna"].obsm["language"]
    center = model.module.geometry
    changed = np.abs(model.get_mask().mean - before) > 1e-6
    assert changed[:, : center.first_open].mean() > 0.9
    mdata["dna"].obsm["language"] = rng.normal(size=(mdata.n_obs, 20, 5))
    with pytest.raises(InputError, match=r'"language"\] has 5 channels and 6 in training: make it by the same model'):
        model.get_mask()
    with pytest.raises(InputError, match=r"shape \(240, 20, 5\) is not \(genes, 10 positions, channels\): average"):
        trained(mdata, embeddings="language", resolution=32)
    with pytest.raises(InputError, match="embeddings='none' is in the obsm of neither chromatin nor dna: put an array"):
        trained(mdata, embeddings="none")
    with pytest.raises(InputError, match="reverse_complement=True is not possible with embeddings"):
        trained(mdata, embeddings="language", reverse_complement=True)


def test_without_a_mask_everything_is_open(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    model = trained(genes, mask="none")
    with pytest.raises(InputError, match='mask="none": there is no mask to give'):
        model.get_mask()


@pytest.mark.parametrize(
    ("logits", "said"),
    [
        ([-20.0, 20.0], "next to nothing through .*: lower kl_weight \\(0.03\\) or raise prior_mean \\(0.1\\)"),
        ([2000.0, -20.0], "everything through .*: raise kl_weight \\(0.03\\) or lower prior_mean \\(0.1\\)"),
    ],
)
def test_a_collapsed_mask_is_said_once(genes, caplog, logits, said):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    model = gx.model.Seq2ExpModel(genes, **SMALL, b_min=0.0, signal_scale=1e-3)
    with torch.no_grad():
        model.module.generator.logits.bias.copy_(torch.tensor(logits))
    model.train(2, lr=1e-6, **QUIET)
    assert len(re.findall(said, caplog.text)) == 1


def test_a_hard_mask_is_not_said_to_be_shut_while_it_is_soft(genes, caplog):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    for hardens, said in (([0.9, 1.0], 0), ([0.0, 1.0], 1)):
        model = gx.model.Seq2ExpModel(genes, **SMALL, b_min=0.0, signal_scale=1e-3, mask="hard", hardens=hardens)
        with torch.no_grad():
            model.module.generator.logits.bias.copy_(torch.tensor([-20.0, 20.0]))
        caplog.clear()
        model.train(4, lr=1e-6, limit_train_batches=3, **QUIET)
        assert caplog.text.count("next to nothing") == said


def test_a_center_that_is_the_window_is_said(genes, caplog):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    trained(genes, center=320)
    assert "All 10 positions of the window lie at the TSS" in caplog.text
    assert "lets next to nothing through" not in caplog.text


def test_epochs_in_which_the_mask_is_led_do_not_count(genes, caplog):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    # the weights stay as they are, so that an early epoch is the best of those that count
    still = {"lr": 1e-30, "early_stopping": True, "patience": 1, **QUIET}
    for hyper, counts in (
        ({"warmup": 0.5}, range(5, 8)),
        ({"mask": "hard"}, range(5, 8)),
        ({"mask": "none"}, range(1, 5)),
    ):
        model = gx.model.Seq2ExpModel(genes, **SMALL, **hyper, readout="center")
        model.train(8, **still)
        assert model.fitted_["best_epoch"] in counts
        assert model.fitted_["epochs"] == model.fitted_["best_epoch"] + 1
        assert "Training ended before the mask was" not in caplog.text
    model = gx.model.Seq2ExpModel(genes, **SMALL, warmup=1.0)
    model.train(3, **still)
    assert model.fitted_["best_epoch"] == 3
    assert "Training ended before the mask was what it is to be (open for the share 1 of the training" in caplog.text


def test_both_strands_say_the_same(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    model = trained(genes, reverse_complement=True)
    turned = genes.copy()
    turned["dna"].obsm["codes"] = (3 - turned["dna"].obsm["codes"])[:, ::-1].copy()
    turned["chromatin"].obsm["bins"] = turned["chromatin"].obsm["bins"][:, :, ::-1].copy()
    np.testing.assert_allclose(model.predict(turned), model.predict(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.get_mask(turned, key_added=None).mean[:, ::-1], model.get_mask(key_added=None).mean, atol=1e-5
    )


# the genome store


def test_a_genome_store_gives_what_arrays_give(tmp_path):
    paths = gx.datasets.simulate(tmp_path, n_genes=60, n_chroms=3)
    window = {"upstream": 320, "downstream": 320}
    mdata = gx.io.build_mudata(
        paths.sheet,
        genes=paths.genes,
        expression=paths.expression,
        unit="tpm",
        fasta=paths.genome,
        bin_size=1,
        **window,
    )
    gx.pp.split_by_chromosome(mdata, test=["chr1"], valid=["chr2"])
    gx.io.write_genome(tmp_path / "genome", fasta=paths.genome, sheet=paths.sheet)
    stored = assemble_mudata(mdata.obs, {"rna": mdata["rna"].copy(), "dna": mdata["dna"].copy()})
    gx.io.attach_genome(stored, tmp_path / "genome", **window)
    hyper = {"resolution": 16}
    for each in (mdata, stored):
        gx.model.Seq2ExpModel.setup_mudata(each, samples=["A"])
    ours, theirs = trained(stored, **hyper), trained(mdata, **hyper)
    assert ours.setup_["genome"]
    assert not theirs.setup_["genome"]
    pd.testing.assert_frame_equal(ours.predict(), theirs.predict(), rtol=1e-4)
    ours.save(tmp_path / "model")
    again = gx.model.load(tmp_path / "model", stored)
    pd.testing.assert_frame_equal(again.predict(), ours.predict())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backbone", ["ssd", "mamba", "conv"])
def test_gpu_gives_the_same_numbers_from_a_genome_store(backbone, tmp_path):
    paths = gx.datasets.simulate(tmp_path, n_genes=60, n_chroms=3)
    files = {"genes": paths.genes, "expression": paths.expression, "unit": "tpm", "fasta": paths.genome}
    mdata = gx.io.build_mudata(**files, upstream=8, downstream=8)
    gx.pp.split_by_chromosome(mdata, test=["chr1"], valid=["chr2"])
    gx.io.write_genome(tmp_path / "genome", fasta=paths.genome, sheet=paths.sheet)
    gx.io.attach_genome(mdata, tmp_path / "genome", upstream=320, downstream=320)
    gx.model.Seq2ExpModel.setup_mudata(mdata, samples=["A"])
    model = trained(mdata, resolution=16, backbone=backbone)
    on_cpu = model.predict()
    model.to_device("cuda:0")
    pd.testing.assert_frame_equal(model.predict(), on_cpu, rtol=1e-3, atol=1e-3)
    model.train(2, accelerator="gpu", batch_size=4, precision="bf16-mixed", enable_progress_bar=False)
    assert np.isfinite(model.predict().to_numpy(dtype=float)).all()


# settings and errors


def test_a_hard_mask_has_a_prior_of_its_own_unless_one_is_given(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    strong, wide = {"mask": "hard", "prior_strength": 2.0}, {"mask": "hard", "prior_mean": 0.5}
    # the prior is Beta(k, k (1 - r) / r): k at first and at last, and the ratio
    for hyper, first, last, ratio in (
        ({}, 1, 1, 9),
        ({"mask": "hard"}, 1, 0.1, 4),
        (strong, 2, 2, 4),
        (wide, 1, 0.1, 1),
    ):
        module = gx.model.Seq2ExpModel(genes, **SMALL, **hyper).module.train()
        for progress, strength in ((0.5, first), (1.0, last)):
            module.advance(progress)
            assert module.mask.prior == pytest.approx((strength, ratio * strength))


@pytest.mark.parametrize("setting", ["paper-soft", "paper-hard"])
def test_published_settings(genes, setting):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    model = gx.model.Seq2ExpModel(genes, setting=setting, n_layers=1, width=16, resolution=16, center=64)
    mask = model.module.mask
    expected = {"paper-soft": (1.0, 10.0, (10.0, 90.0)), "paper-hard": (0.0, 1.0, (0.1, 0.1 * 0.55 / 0.45))}[setting]
    assert (mask.b_min, mask.scale) == expected[:2]
    assert model.module.kl_weight == 0.01
    assert mask.prior == pytest.approx(expected[2])
    assert mask.hard == mask.rounded == (setting == "paper-hard")
    assert mask.weight.tolist() == pytest.approx([0.4, 0.4])
    assert mask.offset.tolist() == pytest.approx([1.5, 0.2])
    shared = model.module.generator.backbone is model.module.predictor
    assert shared == (setting == "paper-hard")
    assert model.setup_["target"] == "expression"


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"mask": "fuzzy"}, "mask='fuzzy' is not known: choose one of soft, hard, none"),
        ({"backbone": "rnn"}, "there is no backbone 'rnn': it has 'ssd', 'mamba', 'conv'"),
        ({"resolution": 0}, "resolution=0 is not possible"),
        ({"prior_mean": 2.0}, "prior_mean=2.0 is not possible"),
        ({"backbone_settings": 3}, "backbone_settings=3 is no dictionary: give settings of the backbone 'ssd'"),
        ({"backbone_settings": {"checkpoint": True}}, "backbone 'ssd' has no setting 'checkpoint'"),
        ({"hardens": [0.9, 0.2]}, "ends before it begins: give the earlier share of the training first"),
        ({"readout": "all"}, "readout='all' is not known"),
    ],
)
def test_wrong_choices_are_said(genes, hyper, message):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    with pytest.raises(InputError, match=message):
        gx.model.Seq2ExpModel(genes, **hyper)


def test_what_is_missing_is_said(genes):
    gx.model.Seq2ExpModel.setup_mudata(genes)
    with pytest.raises(InputError, match="contact='hic' is in the obsm of neither chromatin nor dna"):
        trained(genes, contact="hic")
    with pytest.raises(InputError, match="blacklist='bad' names intervals that are not there"):
        trained(genes, blacklist="bad")
    tracks = make_mdata(n_genes=60)
    with pytest.raises(InputError, match="reverse_complement=True is for DNA"):
        gx.model.Seq2ExpModel(tracks, reverse_complement=True)


def test_a_batch_of_one_gene_is_read_by_what_is_known_and_learns(genes):
    model = trained(genes)
    norm = model.module.pooled
    batch = model._tables(genes, ["K562"]).gather(torch.tensor([0]), torch.tensor([0]))
    model.module.train()
    model.module(batch)["latent"].sum().backward()
    assert norm.weight.grad.abs().sum() > 0
    assert norm.bias.grad.abs().sum() > 0
