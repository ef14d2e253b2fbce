from __future__ import annotations

import gzip
from itertools import product

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx


def mdata_of(sequences: list[str], upstream: int | None = None, **features):
    codes = np.array([["ACGTN".index(base) for base in s] for s in sequences], np.uint8)
    genes = [f"g{i}" for i in range(len(sequences))]
    x = np.column_stack([*features.values()]) if features else np.zeros((len(genes), 0))
    dna = anndata.AnnData(x.astype(np.float32), obs=pd.DataFrame(index=genes), var=pd.DataFrame(index=list(features)))
    dna.obsm["codes"] = codes
    if upstream is not None:
        dna.uns["window"] = {"upstream": upstream, "downstream": codes.shape[1] - upstream, "stranded": True}
    mdata = gx.io.from_bins(np.ones((len(genes), 1, 2)), genes=genes, marks=["H3K4me3"])
    gx.schema.name_axes(dna)
    mdata.mod["dna"] = dna
    mdata.update()
    mdata.obs["chrom"] = "chr1"
    return mdata


@pytest.fixture
def real(shared_data):
    """Stretches of the yeast genome, one with unknown bases put in."""
    with gzip.open(shared_data / "yeast" / "genome.fa.gz", "rt") as handle:
        lines = [next(handle).strip() for _ in range(2000)][1:]
    text = "".join(lines).upper()
    sequences = [text[i : i + 400] for i in range(20_000, 60_000, 2000)]
    sequences[3] = sequences[3][:100] + "N" * 57 + sequences[3][157:]
    sequences[4] = "N" * 400
    return sequences


def by_counting(sequence: str, k: int) -> list[float]:
    """The features by counting letters in a string."""
    c, g, a, t = (sequence.count(base) for base in "CGAT")
    known = a + c + g + t
    words = [sequence[i : i + k] for i in range(len(sequence) - k + 1)]
    words = [w for w in words if "N" not in w]
    shares = [words.count("".join(w)) / len(words) if words else 0 for w in product("ACGT", repeat=k)]
    cpg = sequence.count("CG")
    return [(c + g) / known if known else 0, cpg * known / (c * g) if c * g else 0, sequence.count("N") / 400, *shares]


@pytest.mark.parametrize("k", [1, 3, 4])
def test_as_counted_in_the_string(real, k):
    mdata = mdata_of(real)
    gx.pp.sequence_features(mdata, k=k)
    dna = mdata["dna"]
    assert dna.var_names[:4].tolist() == ["GC", "CpG_oe", "N", "kmer_" + "A" * k]
    np.testing.assert_allclose(dna.X, [by_counting(s, k) for s in real], rtol=1e-5, atol=1e-7)
    known = dna.X[:, 2] < 1
    np.testing.assert_allclose(dna.X[known, 3:].sum(axis=1), 1, rtol=1e-5)


def test_formula_by_hand():
    # ACGCG: 2 CpG in 5 bases, 2 C and 2 G; TTTTT has neither
    mdata = mdata_of(["ACGCG", "TTTTT"])
    gx.pp.sequence_features(mdata, k=None)
    np.testing.assert_allclose(mdata["dna"].X, [[0.8, 2 * 5 / (2 * 2), 0], [0, 0, 0]], rtol=1e-6)


def test_region_is_relative_to_the_tss():
    mdata = mdata_of(["GGAAACC", "ACGTACG"], upstream=5)
    gx.pp.sequence_features(mdata, k=1, region=(-3, 0))
    names = list(mdata["dna"].var_names)
    assert mdata["dna"].X[0, names.index("kmer_A")] == 1
    np.testing.assert_allclose(mdata["dna"].X[1, 3:], [1 / 3, 0, 1 / 3, 1 / 3])  # GTA
    assert mdata["dna"].uns["sequence_features"]["region"].tolist() == [-3, 0]


def test_the_rest_of_the_mudata_stays(real, tmp_path):
    mdata = mdata_of(real, upstream=200, half_life=np.arange(20.0))
    gx.pp.sequence_features(mdata, k=2)
    gx.pp.sequence_features(mdata, k=1)
    assert mdata["dna"].var_names.tolist() == [
        *("half_life", "GC", "CpG_oe", "N", "kmer_A", "kmer_C", "kmer_G", "kmer_T")
    ]
    assert mdata["dna"].X[:, 0].tolist() == list(range(20))
    assert mdata.obs.columns.tolist() == ["chrom"]
    assert mdata.n_vars == 1 + 8
    assert mdata["chromatin"].obsm["bins"].shape == (20, 1, 2)
    gx.schema.validate(mdata)
    mdata.write(tmp_path / "genes.h5mu")
    again = mudata.read_h5mu(tmp_path / "genes.h5mu")
    np.testing.assert_array_equal(again["dna"].X, mdata["dna"].X)
    assert again["dna"].uns["window"]["upstream"] == 200


def test_long_words(real):
    mdata = mdata_of(real[:2])
    gx.pp.sequence_features(mdata, k=8)
    assert mdata["dna"].shape == (2, 3 + 4**8)
    word = real[0][17:25]
    at = list(mdata["dna"].var_names).index(f"kmer_{word}")
    assert mdata["dna"].X[0, at] == pytest.approx(sum(real[0][i : i + 8] == word for i in range(393)) / 393)


def test_errors(real):
    mdata = mdata_of(real[:2])
    with pytest.raises(gx.InputError, match="k=9 is not possible"):
        gx.pp.sequence_features(mdata, k=9)
    with pytest.raises(gx.InputError, match='has no "window"'):
        gx.pp.sequence_features(mdata, region=(-5, 5))
    with pytest.raises(gx.InputError, match=r"region \(-500, 0\) is no part of the window, which is -100 to 300"):
        gx.pp.sequence_features(mdata_of(real[:2], upstream=100), region=(-500, 0))
    del mdata["dna"].obsm["codes"]
    with pytest.raises(gx.InputError, match="there is no DNA"):
        gx.pp.sequence_features(mdata)
