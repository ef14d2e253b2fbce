"""Building from real files of the data folder."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pyBigWig
import pytest

import genexp_scverse as gx


def test_roadmap(shared_data):
    folder = shared_data / "roadmap_peaks_hg19"
    mdata = gx.io.build_mudata(
        folder / "sheet.tsv",
        genes=folder / "genes.tsv",
        expression=folder / "expression.tsv",
        unit={"K562": "log", "H1": "counts"},
        n_jobs=1,
    )
    assert mdata.shape[0] == 14_158
    assert mdata["chromatin"].obsm["bins"].shape == (14_158, 9, 100)
    assert mdata.uns["assembly"] == "hg19"
    assert mdata["rna"].var["unit"].tolist() == ["log", "counts"]
    table = pd.read_csv(folder / "genes.tsv", sep="\t").set_index("gene_id")
    sheet = pd.read_csv(folder / "sheet.tsv", sep="\t")
    chosen = np.random.default_rng(0).choice(14_158, 60, replace=False)
    for j, path in enumerate(sheet["path"]):
        with pyBigWig.open(str(folder / path)) as track:
            for i in chosen:
                gene = table.loc[mdata.obs_names[i]]
                plus = gene["strand"] == "+"
                start = gene["tss"] - 5000 if plus else gene["tss"] - 4999
                values = track.values(gene["chrom"], int(start), int(start + 10_000))
                bases = [0.0 if v != v else v for v in (values if plus else values[::-1])]
                expected = [sum(bases[b : b + 100]) / 100 for b in range(0, 10_000, 100)]
                np.testing.assert_allclose(mdata["chromatin"].obsm["bins"][i, j], expected, atol=1e-5)


@pytest.fixture(scope="module")
def yeast(shared_data):
    return shared_data / "yeast"


def test_yeast_start_codons_of_the_gtf(yeast, caplog):
    caplog.set_level(logging.INFO)
    mdata = gx.io.build_mudata(
        genes=yeast / "genes.gtf.gz",
        fasta=yeast / "genome.fa.gz",
        expression=yeast / "rna_16_times_fpkm.tsv.gz",
        unit="fpkm",
        upstream=1000,
        downstream=500,
    )
    assert mdata.n_obs == 6600
    assert mdata.uns["assembly"] == "sacCer3"
    assert mdata["rna"].n_vars == 16
    assert "of 6600 genes have expression" in caplog.text
    assert "of other biotypes" in caplog.text
    nuclear = (mdata.obs["chrom"] != "Mito").to_numpy()
    assert nuclear.sum() == 6572
    starts = (mdata["dna"].obsm["codes"][:, 1000:1003] == [0, 3, 2]).all(axis=1)
    assert starts[nuclear].sum() >= 6568
    for strand in "+-":
        of = nuclear & (mdata.obs["strand"] == strand).to_numpy()
        assert of.sum() > 3000
        assert starts[of].mean() > 0.999


def test_yeast_start_codons_at_their_offset_from_measured_tss(yeast):
    mdata = gx.io.build_mudata(
        genes=yeast / "genes.tsv",
        fasta=yeast / "genome.fa.gz",
        tss_column=["tss_park2014", "tss_winston"],
        upstream=1000,
        downstream=500,
    )
    obs = mdata.obs
    assert mdata.n_obs == 6600
    measured = obs["tss_park2014"].fillna(obs["tss_winston"])
    assert (obs["tss"] == measured)[measured.notna()].all()
    assert measured.notna().sum() > 5000
    plus = (obs["strand"] == "+").to_numpy()
    offset = np.where(plus, obs["cds_start"] - obs["tss"], obs["tss"] - (obs["cds_end"] - 1))
    inside = (offset >= -1000) & (offset <= 497) & (obs["chrom"] != "Mito").to_numpy()
    at = 1000 + offset[inside].astype(int)
    codes = mdata["dna"].obsm["codes"][inside]
    starts = (codes[np.arange(len(at))[:, None], at[:, None] + np.arange(3)] == [0, 3, 2]).all(axis=1)
    assert inside.sum() > 6400
    assert (offset[inside & measured.notna().to_numpy()] > 0).mean() > 0.8
    assert (~starts).sum() <= 4
    assert starts[plus[inside]].sum() > 3000
    assert starts[~plus[inside]].sum() > 3000
