from __future__ import annotations

import filecmp

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from scipy.ndimage import uniform_filter1d
from scipy.stats import ks_2samp
from sklearn.linear_model import LinearRegression
from sklearn.metrics import average_precision_score, r2_score
from sklearn.model_selection import cross_val_predict

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.datasets.element_simulator import TRACKS, motif_matrix

N, SIZE = 300, 32


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return gx.datasets.simulate_elements(tmp_path_factory.mktemp("sim"), n_genes=N, n_chroms=6, seed=0)


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shuffled")
    return gx.datasets.simulate_elements(folder, n_genes=N, n_chroms=6, seed=0, shuffle_motifs=True)


@pytest.fixture(scope="module")
def mdata(files):
    made = gx.io.build_mudata(
        files.sheet, genes=files.genes, expression=files.expression, unit="tpm", fasta=files.genome, n_jobs=1,
        upstream=8000, downstream=8000, bin_size=SIZE,
    )  # fmt: skip
    made.uns["intervals"] = {"truth": pd.read_csv(files.truth, sep="\t", header=None, usecols=[0, 1, 2])}
    made.uns["intervals"]["truth"].columns = ["chrom", "start", "end"]
    gx.tl.fixed_mask(made, "peaks", peaks="truth", key_added="truth")
    return made


def motif_score(codes: np.ndarray) -> np.ndarray:
    """Sites of the motif in either orientation, counted over 300 bases around every position of `SIZE` bases."""
    odds = np.log2(motif_matrix() / 0.25)
    padded = np.concatenate([odds, np.full((12, 1), -10)], axis=1)
    best = np.full(codes.shape, -np.inf)
    for matrix in (padded, np.concatenate([padded[::-1, 3::-1], padded[:, 4:]], axis=1)):
        total = np.zeros((len(codes), codes.shape[1] - 11))
        for at in range(12):
            total += matrix[at][codes[:, at : at + total.shape[1]]]
        best[:, 5:-6] = np.maximum(best[:, 5:-6], total)
    sites = uniform_filter1d((best > 7).astype(float), 300, axis=1)
    return sites.reshape(len(codes), -1, SIZE).mean(axis=2)


def precision(mdata, score) -> float:
    return average_precision_score(mdata["chromatin"].obsm["truth"].ravel() > 0, score.ravel())


def test_neither_signal_nor_sequence_suffice_but_both_do(mdata):
    bins = mdata["chromatin"].obsm["bins"]
    for track in (0, 1):
        assert precision(mdata, bins[:, track]) < 0.35
    both = bins.mean(axis=1)
    assert precision(mdata, both) < 0.35
    motif = motif_score(mdata["dna"].obsm["codes"])
    assert precision(mdata, motif) < 0.35
    assert precision(mdata, motif * np.log1p(both)) > 0.8


def test_the_control_differs_in_the_letters_of_sites_alone(files, shuffled, mdata):
    for name in ("genes", "sheet", "expression", "chrom_sizes", "truth", "truth_elements", "truth_genes"):
        assert filecmp.cmp(getattr(files, name), getattr(shuffled, name), shallow=False), name
    for mark in TRACKS:
        one, other = (f.sheet.parent / "tracks" / f"{mark}.bigWig" for f in (files, shuffled))
        with pyBigWig.open(str(one)) as a, pyBigWig.open(str(other)) as b:
            assert a.intervals("chr3") == b.intervals("chr3")
    window = {"upstream": 8000, "downstream": 8000, "stranded": True}
    genes = gx.io.read_genes(files.genes)
    before, after = (gx.io.read_codes(genes, f.genome, **window) for f in (files, shuffled))
    differs = before != after
    assert 0 < differs.mean() < 0.02
    np.testing.assert_array_equal(np.bincount(before.ravel(), minlength=5), np.bincount(after.ravel(), minlength=5))
    both = mdata["chromatin"].obsm["bins"].mean(axis=1)
    assert precision(mdata, motif_score(after) * np.log1p(both)) < 0.4


def test_expression_follows_from_the_true_elements(files, mdata):
    elements = pd.read_csv(files.truth_elements, sep="\t")
    y = mdata["rna"].layers["log"][:, 0]
    truth = mdata["chromatin"].obsm["truth"] > 0
    signal = mdata["chromatin"].obsm["bins"].mean(axis=1)
    away = np.abs((np.arange(500) + 0.5) * SIZE - 8000)
    marked = signal > 8
    marked[:, away < 1200] = False

    def explained(mask):
        x = (signal * mask * np.exp(-away / 32_000)).sum(axis=1, keepdims=True)
        return r2_score(y, cross_val_predict(LinearRegression(), x, y, cv=5))

    assert explained(truth) > 0.85
    # all that is marked, true or not, says little: how much of it is true is drawn apart from how much there is
    assert explained(marked) < 0.35
    # and the noise-free value is the stated sum
    true = elements[elements["kind"] == "true"]
    each = true["height"] * np.exp(-true["distance"].abs() / 32_000)
    expected = 0.5 + each.groupby(true["gene_id"]).sum().reindex(mdata.obs_names).fillna(0)
    stated = pd.read_csv(files.truth_genes, sep="\t", index_col="gene_id")["sim"]
    np.testing.assert_allclose(stated, expected, atol=1e-4)
    assert np.std(y - stated) == pytest.approx(0.25, abs=0.03)


def test_true_elements_and_decoys_differ_in_nothing_else(files, mdata):
    elements = pd.read_csv(files.truth_elements, sep="\t")
    counts = elements["kind"].value_counts()
    assert counts["true"] * 2 == counts["decoy"] == 4 * N
    genome = {}
    for record in files.genome.read_text().split(">")[1:]:
        name, *lines = record.split("\n")
        genome[name] = "".join(lines)
    gc = [
        sum(genome[e.chrom].count(b, e.start, e.end) for b in "GC") / (e.end - e.start) for e in elements.itertuples()
    ]
    height = []
    with pyBigWig.open(str(files.sheet.parent / "tracks" / "DNase.bigWig")) as track:
        for e in elements.itertuples():
            height.append(np.nan_to_num(track.values(e.chrom, e.start, e.end, numpy=True)).mean())
    elements = elements.assign(gc=gc, length=elements["end"] - elements["start"], signal=height)
    elements["n_sites"] = elements["motifs"].str.count(":")
    of = dict(list(elements.groupby("kind")))
    for column in ("gc", "length", "signal", "height", "distance", "n_sites"):
        assert ks_2samp(of["true"][column], of["decoy"][column]).pvalue > 1e-3, column
    assert of["silent"]["signal"].max() < 6 < of["true"]["signal"].mean()
    for _, chrom in elements.groupby("chrom"):
        ordered = chrom.sort_values("start")
        assert (ordered["start"].to_numpy()[1:] >= ordered["end"].to_numpy()[:-1]).all()
    assert elements["distance"].abs().between(1200, 8000).all()


def test_wrong_counts_are_said(tmp_path):
    with pytest.raises(InputError, match="reach=4000 is too small: it has to be 5000 or more"):
        gx.datasets.simulate_elements(tmp_path, reach=4000)
    with pytest.raises(InputError, match="seed=-1 is not possible"):
        gx.datasets.simulate_elements(tmp_path, seed=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file: give a directory"):
        gx.datasets.simulate_elements(tmp_path / "file", n_genes=12)
