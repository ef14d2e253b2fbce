from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scored import made

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.io.assemble import assemble_mudata


def four(**options):
    rng = np.random.default_rng(0)
    bins = rng.gamma(0.5, 4, (6, 2, 20))
    genes = [(f"g{i}", 150 + 130 * i, "+-"[i % 2]) for i in range(6)]
    return made(genes, upstream=100, downstream=100, bin_size=10, bins=bins, marks=("DNase", "H3K27ac"), **options)


def mask(mdata, name):
    return mdata["chromatin"].obsm[name]


def test_signal_is_the_sum_of_scaled_tracks():
    mdata = four(split=["train", "train", "train", "valid", "test", "test"])
    gx.tl.fixed_mask(mdata, "signal")
    x = np.log1p(mdata["chromatin"].obsm["bins"].astype(float))
    expected = (x / x[:3].std(axis=(0, 2))[:, None]).sum(axis=1)
    np.testing.assert_allclose(mask(mdata, "signal_mask"), expected, rtol=1e-5)
    assert mdata["chromatin"].uns["signal_mask"]["samples"].tolist() == ["K562"]
    gx.tl.fixed_mask(mdata, "signal", fraction=0.1, key_added="top")
    kept = mask(mdata, "top")
    assert kept.sum() == 12
    assert expected[kept == 1].min() > expected[kept == 0].max()


def test_positions_of_other_scores_are_taken():
    mdata = four()
    window = mdata["chromatin"].uns["window"] | {"samples": ["K562"]}
    for size in (20, 5):
        mdata["chromatin"].obsm["mask"] = np.zeros((6, 200 // size), np.float32)
        mdata["chromatin"].uns["mask"] = window | {"bin_size": size}
        gx.schema.name_axes(mdata, "mask")
        gx.tl.fixed_mask(mdata, "signal")
        gx.tl.fixed_mask(mdata, "signal", like="mask", key_added="other")
        fine, other = mask(mdata, "signal_mask"), mask(mdata, "other")
        expected = fine.reshape(6, 10, 2).mean(axis=2) if size == 20 else np.repeat(fine, 2, axis=1)
        np.testing.assert_allclose(other, expected, rtol=1e-6)
        assert mdata["chromatin"].uns["other"]["bin_size"] == size
    mdata["chromatin"].obsm["mask"] = np.zeros((6, 8), np.float32)
    mdata["chromatin"].uns["mask"] = window | {"bin_size": 25}
    gx.schema.name_axes(mdata, "mask")
    with pytest.raises(InputError, match=r"the bins of the tracks \(20 of 10 bases\) do not fit positions of 25 bases"):
        gx.tl.fixed_mask(mdata, "signal", like="mask")


def test_distance_falls_from_the_tss_on_both_sides():
    mdata = four()
    gx.tl.fixed_mask(mdata, "distance")
    row = mask(mdata, "distance_mask")[0]
    # the position before the TSS ends one base off it, the position of the TSS covers it
    np.testing.assert_allclose(row[[9, 10, 11, 19]], 1 / (1 + np.array([1, 0, 10, 90]) / 1000), rtol=1e-6)
    assert (mask(mdata, "distance_mask") == row).all()
    gx.tl.fixed_mask(mdata, "distance", fraction=0.2)
    assert np.flatnonzero(mask(mdata, "distance_mask")[3]).tolist() == [8, 9, 10, 11]


def test_random_is_of_the_fraction_and_the_seed():
    mdata = four()
    for seed, key in ((0, "a"), (0, "b"), (1, "c")):
        gx.tl.fixed_mask(mdata, "random", fraction=0.25, seed=seed, key_added=key)
    assert mask(mdata, "a").sum() == mask(mdata, "c").sum() == 30
    np.testing.assert_array_equal(mask(mdata, "a"), mask(mdata, "b"))
    assert (mask(mdata, "a") != mask(mdata, "c")).any()


@pytest.mark.parametrize("longest", [3, 40, 350])
def test_peaks_are_those_of_a_loop_over_bases(longest, caplog):
    mdata = four()
    rng = np.random.default_rng(longest)
    start = rng.integers(0, 900, 9)
    table = pd.DataFrame({"chrom": "1", "start": start, "end": start + rng.integers(1, longest + 1, 9)})
    mdata.uns["intervals"] = {"peaks": table}
    gx.tl.fixed_mask(mdata, "peaks")
    inside = {b for s, e in table[["start", "end"]].to_numpy() for b in range(s, e)}
    expected = np.zeros((6, 20))
    for i in range(6):
        tss, sign = int(mdata.obs["tss"].iloc[i]), 1 - 2 * (i % 2)
        for j in range(20):
            expected[i, j] = any(tss + sign * (o - 100) in inside for o in range(10 * j, 10 * j + 10))
    np.testing.assert_array_equal(mask(mdata, "peaks_mask"), expected)
    assert ("hold one longer than a window" in caplog.text) == (longest == 350)


def test_new_scores_replace_older_ones_in_any_modality():
    mdata = four()
    obs = mdata.obs[["chrom", "tss", "strand"]]
    dna = AnnData(np.zeros((6, 0), np.float32), obs=pd.DataFrame(index=mdata.obs_names))
    mdata = assemble_mudata(obs, {**mdata.mod, "dna": dna})
    chromatin = mdata["chromatin"]
    window = dict(chromatin.uns["window"])
    dna = mdata["dna"]
    dna.obsm["of_dna"], dna.uns["of_dna"] = np.zeros((6, 4), np.float32), window | {"bin_size": 50}
    for name in ("mask_A", "mask_B", "mask_std_A", "mask_std_B"):
        chromatin.obsm[name] = np.ones((6, 20), np.float32)
    chromatin.uns["mask"] = window | {"samples": ["A", "B"]}
    gx.schema.name_axes(mdata)
    gx.tl.fixed_mask(mdata, "random", key_added="other")
    gx.tl.fixed_mask(mdata, "distance", like="of_dna", key_added="mask")
    assert set(chromatin.obsm) == {"bins", "bins_axes", "other", "other_axes"}
    assert set(chromatin.uns) >= {"window", "other"}
    table = gx.tl.call_elements(None, mdata, key="mask", threshold=1, exclude_promoter=0)
    # the position of the TSS alone, 50 bases long
    assert (table["end"] - table["start"]).tolist() == [50] * 6
    gx.tl.fixed_mask(mdata, "distance", key_added="mask")
    assert "mask" not in dna.uns
    assert (set(dna.obsm), mask(mdata, "mask").shape) == ({"of_dna", "of_dna_axes"}, (6, 20))
    # a spread that is stored belongs to the scores before
    chromatin.obsm["mask_std"] = np.ones((6, 20), np.float32)
    gx.tl.fixed_mask(mdata, "random", like="mask", key_added="mask")
    assert {k for k in chromatin.obsm if not k.endswith("_axes")} == {"bins", "other", "mask"}
    assert mask(mdata, "mask").std() > 0.1


def test_masks_are_called_like_any_other():
    mdata = four()
    mdata.uns["intervals"] = {"macs": pd.DataFrame({"chrom": ["chr1"], "start": [203], "end": [239]})}
    gx.tl.fixed_mask(mdata, "peaks", peaks="macs")
    table = gx.tl.call_elements(None, mdata, key="peaks_mask", exclude_promoter=0)
    of_first = table[table["gene_id"] == "g0"]
    assert of_first[["start", "end", "score"]].to_numpy().tolist() == [[200, 240, 1.0]]
    assert "macs" in mdata.uns["intervals"]


def test_wrong_arguments_are_said():
    mdata = four()
    for arguments, said in (
        (("best",), r"kind is 'best': give one of 'signal', 'distance', 'random', 'peaks'"),
        (("peaks",), r'mdata.uns\["intervals"\] has no table \'peaks\' \(it has none\)'),
    ):
        with pytest.raises(InputError, match=said):
            gx.tl.fixed_mask(mdata, *arguments)
    with pytest.raises(InputError, match="fraction does not go with peaks"):
        gx.tl.fixed_mask(mdata, "peaks", fraction=0.1)
    with pytest.raises(InputError, match="fraction is 0: give a share"):
        gx.tl.fixed_mask(mdata, "random", fraction=0)
    with pytest.raises(InputError, match=r"there is no sample 'H1' in .*: it has 'K562'"):
        gx.tl.fixed_mask(mdata, "signal", sample="H1")
    with pytest.raises(InputError, match="no scores per position are stored as 'mask'"):
        gx.tl.fixed_mask(mdata, "random", like="mask")
    mdata.uns["intervals"] = {"peaks": pd.DataFrame({"chrom": ["chr1"], "start": [1]})}
    with pytest.raises(InputError, match=r"uns\[\"intervals\"\]\['peaks'\] lacks the column 'end'"):
        gx.tl.fixed_mask(mdata, "peaks")
    del mdata["chromatin"].uns["window"]
    with pytest.raises(InputError, match="no modality has a window with a bin_size"):
        gx.tl.fixed_mask(mdata, "random")


def test_tracks_of_a_genome_store(tmp_path):
    paths = gx.datasets.simulate(tmp_path, n_genes=30, n_chroms=2)
    mdata = gx.io.build_mudata(genes=paths.genes, fasta=paths.genome, upstream=20, downstream=20, expression=None)
    gx.io.write_genome(tmp_path / "genome", sheet=paths.sheet, bin_size=1)
    gx.io.attach_genome(mdata, tmp_path / "genome", upstream=300, downstream=200)
    windows = gx.io.genome_windows(mdata)
    sample = windows.tracks["sample"].iloc[0]
    with pytest.raises(InputError, match=r"like=, or give the windows of a genome store, windows=gx.io.genome_windows"):
        gx.tl.fixed_mask(mdata, "signal")
    gx.tl.fixed_mask(mdata, "signal", sample=sample, windows=windows)
    mine = np.flatnonzero(windows.tracks["sample"] == sample)
    x = np.log1p(windows.signal(np.arange(mdata.n_obs), mine).astype(np.float64))
    expected = (x / x.std(axis=(0, 2))[:, None]).sum(axis=1)
    np.testing.assert_allclose(mdata["dna"].obsm["signal_mask"], expected, rtol=1e-4, atol=1e-5)
    assert mdata["dna"].uns["signal_mask"]["bin_size"] == 1
    mdata["dna"].obsm["mask"] = np.zeros((mdata.n_obs, 10), np.float32)
    mdata["dna"].uns["mask"] = mdata["dna"].uns["signal_mask"] | {"bin_size": 50, "samples": ["K562"]}
    gx.schema.name_axes(mdata)
    gx.tl.fixed_mask(mdata, "signal", sample=sample, windows=windows, like="mask", key_added="coarse")
    pooled = expected.reshape(mdata.n_obs, 10, 50).mean(axis=2)
    np.testing.assert_allclose(mdata["dna"].obsm["coarse"], pooled, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r'mdata\["chromatin"\] has no "bins" to add: .* windows=gx.io.genome_windows'):
        gx.tl.fixed_mask(mdata, "signal", like="mask")
    with pytest.raises(InputError, match=r"windows are of 30 genes and the MuData has 5: use gx.io.genome_windows"):
        gx.tl.fixed_mask(mdata[:5].copy(), "signal", sample=sample, windows=windows)
    windows.n_bins = 10**9
    with pytest.raises(InputError, match=r"1000000000 bins of 1 bases for 30 genes are too many scores .* by like="):
        gx.tl.fixed_mask(mdata, "signal", sample=sample, windows=windows)


def test_scores_need_a_modality_that_holds_them(tmp_path):
    paths = gx.datasets.simulate(tmp_path, n_genes=30, n_chroms=2)
    held = gx.io.build_mudata(
        genes=paths.genes, expression=paths.expression, unit="tpm", fasta=paths.genome, upstream=8, downstream=8
    )
    mdata = assemble_mudata(held.obs, {"rna": held["rna"].copy()})
    gx.io.write_genome(tmp_path / "genome", fasta=paths.genome, sheet=paths.sheet)
    window = {"upstream": 64, "downstream": 64}
    gx.io.attach_genome(mdata, tmp_path / "genome", **window)
    said = r"has the modalities 'rna', but scores per position are stored in chromatin or dna: build it with tracks or"
    with pytest.raises(InputError, match=said):
        gx.tl.fixed_mask(mdata, "distance", windows=gx.io.genome_windows(mdata))
    gx.pp.split_at_random(mdata)
    gx.model.Seq2ExpModel.setup_mudata(mdata, samples=["A"])
    model = gx.model.Seq2ExpModel(mdata, width=8, n_layers=1, backbone="conv", n_hidden=[8], resolution=16)
    model.train(1, accelerator="cpu", enable_progress_bar=False)
    with pytest.raises(InputError, match=said):
        gx.tl.call_elements(model, mdata)
    # as the message says
    gx.io.attach_genome(held, tmp_path / "genome", **window)
    gx.tl.fixed_mask(held, "distance", windows=gx.io.genome_windows(held))
    assert held["dna"].obsm["distance_mask"].shape == (held.n_obs, 128)
    assert set(gx.tl.call_elements(model, held, threshold=0.0)["sample"]) == {"A"}
