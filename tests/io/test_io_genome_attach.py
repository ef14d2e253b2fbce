from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.io.window import tss_windows


@pytest.fixture
def folder(files):
    gx.io.write_genome(files / "genome", fasta=files / "genome.fa", sheet=files / "sheet.tsv", bin_size=5)
    return files / "genome"


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_windows_after_a_round_trip_are_the_arrays_of_the_mudata(files, folder, small_genome, suffix):
    mdata = small_genome.build(files, upstream=40, downstream=30, bin_size=10)
    gx.io.attach_genome(mdata, folder, upstream=40, downstream=30)
    assert mdata.uns["genome"] == {
        "path": str(folder), "upstream": 40, "downstream": 30, "bin_size": 5, "stranded": True,
    }  # fmt: skip
    gx.io.write_mudata(mdata, files / f"m{suffix}")
    again = gx.io.read_mudata(files / f"m{suffix}")
    windows = gx.io.genome_windows(again)
    assert (len(windows), windows.length, windows.n_bins, windows.bin_size) == (4, 70, 14, 5)
    assert windows.codes([2, 0, 3]).tolist() == mdata["dna"].obsm["codes"][[2, 0, 3]].tolist()
    signal = windows.signal(range(4))
    # every window happens to begin at the edge of a bin
    start = tss_windows(mdata.obs, upstream=40, downstream=30).start
    assert not (start % 5).any()
    pooled = signal.reshape(4, 4, 7, 2).mean(axis=-1)
    np.testing.assert_allclose(pooled, mdata["chromatin"].obsm["bins"], rtol=1e-6)
    near = gx.io.genome_windows(again, upstream=10, downstream=5)
    assert near.codes([1]).tolist() == mdata["dna"].obsm["codes"][[1], 30:45].tolist()


def test_unstranded(files, folder, small_genome):
    mdata = small_genome.build(files, stranded=False)
    gx.io.attach_genome(mdata, folder, upstream=40, downstream=20, stranded=False)
    assert gx.io.genome_windows(mdata).codes(range(4)).tolist() == mdata["dna"].obsm["codes"].tolist()


def test_another_spelling_and_a_chromosome_that_is_not_there(files, folder, small_genome, caplog):
    mdata = small_genome.build(files, sheet=None)
    mdata.obs["chrom"] = ["1", "1", "NC_000002.12", "chr7"]
    mdata.uns["chrom_sizes"] = mdata.uns["chrom_sizes"][:0]
    gx.io.attach_genome(mdata, folder, upstream=40, downstream=20)
    assert "1 of 4 genes are on chromosomes that the genome store" in caplog.text
    windows = gx.io.genome_windows(mdata)
    assert windows.present.tolist() == [True, True, True, False]
    codes = windows.codes([3, 2, 3])
    assert codes[1].tolist() == mdata["dna"].obsm["codes"][2].tolist()
    assert (codes[[0, 2]] == 4).all()
    signal = windows.signal([3, 2])
    assert not signal[0].any()
    assert signal[1].any()
    assert windows.codes([3]).shape == (1, 60)
    assert windows.signal([3], [0, 1]).shape == (1, 2, 12)


def refused(mdata, folder, said, **changes):
    arguments = {"upstream": 40, "downstream": 20, **changes}
    with pytest.raises(gx.InputError, match=said) as caught:
        gx.io.attach_genome(mdata, folder, **arguments)
    assert "\n" not in str(caught.value)
    assert "genome" not in mdata.uns


def test_what_does_not_fit_is_refused(files, folder, small_genome):
    mdata = small_genome.build(files)
    refused(mdata, files / "nothing", "nothing does not exist: make one with")
    refused(mdata, folder, "bins of 5 bases do not fill the window of 41", upstream=41)
    sizes = mdata.uns["chrom_sizes"]
    mdata.uns["chrom_sizes"] = sizes.assign(size=sizes["size"] + 1)
    refused(mdata, folder, r"the MuData and the genome store .*different assemblies \(2 chromosomes")
    mdata.uns["chrom_sizes"] = sizes
    codes = mdata["dna"].obsm["codes"]
    before = codes.copy()
    codes[1, 42] = (codes[1, 42] + 1) % 4
    codes[2, 3] = 4
    refused(mdata, folder, r"around the TSS of 1 of 4 genes \('g2'\) the genome store .* FASTA of another assembly")
    codes[:] = before
    mdata.obs.loc["g4", "tss"] = 400
    refused(mdata, folder, r"the TSS of 1 of 4 genes lies beyond the end .*g4 at chr2:400 of 400")
    mdata.obs["tss"] = mdata.obs["tss"].astype(float).where(mdata.obs_names != "g4")
    refused(mdata, folder, "tss of 1 of 4 genes is not a 0-based position")
    del mdata.obs["tss"]
    refused(mdata, folder, "mdata.obs has no column 'tss'")


@pytest.mark.parametrize("bin_size", [7, 32, 150])
def test_bins_need_not_fill_the_bases_around_the_tss_that_are_compared(files, small_genome, bin_size):
    """Of windows of 60 + 90 bases, 50 + 50 around the TSS are compared, which bins of these sizes do not fill."""
    mdata = small_genome.build(files, sheet=None, upstream=60, downstream=90)
    arguments = {"sheet": files / "sheet.tsv", "bin_size": bin_size}
    gx.io.write_genome(files / "own", fasta=files / "genome.fa", **arguments)
    gx.io.attach_genome(mdata, files / "own", upstream=bin_size, downstream=bin_size)
    assert gx.io.genome_windows(mdata).bin_size == bin_size
    del mdata.uns["genome"]
    # the same lengths, other bases
    lines = (files / "genome.fa").read_text().splitlines()
    other = [line if line.startswith(">") else line[::-1] for line in lines]
    (files / "other.fa").write_text("\n".join(other) + "\n")
    gx.io.write_genome(files / "others", fasta=files / "other.fa", **arguments)
    said = "around the TSS of 4 of 4 genes .* FASTA of another assembly"
    refused(mdata, files / "others", said, upstream=bin_size, downstream=bin_size)


def test_windows_beyond_the_ends_are_said_as_by_the_build(files, folder, small_genome, caplog):
    caplog.set_level("INFO")
    mdata = small_genome.build(files, sheet=None)
    caplog.clear()
    # chr1 has 600 bases, chr2 400
    refused(
        mdata, folder, r"the window of 605 bases is longer than every chromosome .*the genome store .* has 600\)",
        upstream=305, downstream=300,
    )  # fmt: skip
    assert "beyond the end" not in caplog.text
    # g1 [60, 180), g2 [420, 540), g3 [-35, 85), g4 [315, 435)
    gx.io.attach_genome(mdata, folder, upstream=40, downstream=80)
    assert "2 of 4 windows reach beyond the end of their chromosome: nothing is there" in caplog.text
    gx.io.attach_genome(mdata, folder, upstream=300, downstream=300)
    assert "4 of 4 windows reach beyond" in caplog.text
    caplog.clear()
    gx.io.attach_genome(mdata, folder, upstream=5, downstream=5)
    assert "reach beyond" not in caplog.text


def test_assemblies_by_name(tmp_path):
    (tmp_path / "g.fa").write_text(">I\n" + "ACGTA" * 46_043 + "ACG\n")
    store = gx.io.write_genome(tmp_path / "g", fasta=tmp_path / "g.fa")
    assert store.assembly == "sacCer3"
    obs = pd.DataFrame({"chrom": "chrI", "tss": [3], "strand": "+"}, index=["a"])
    mdata = gx.io.from_bins(np.ones((1, 1, 1)), genes=["a"], marks=["H3K4me3"], obs=obs)
    mdata.uns["assembly"] = "hg38"
    refused(mdata, tmp_path / "g", "the MuData is of the assembly hg38 and the genome store .* of sacCer3")
    mdata.uns["assembly"] = "sacCer3"
    gx.io.attach_genome(mdata, tmp_path / "g", upstream=2, downstream=2)


def test_a_store_that_is_gone_or_another(files, folder, small_genome):
    mdata = small_genome.build(files)
    with pytest.raises(gx.InputError, match=r'mdata\.uns has no "genome": write a genome store'):
        gx.io.genome_windows(mdata)
    gx.io.attach_genome(mdata, folder, upstream=40, downstream=20)
    gx.io.write_genome(folder, fasta=files / "genome.fa", sheet=files / "sheet.tsv")
    with pytest.raises(gx.InputError, match="has bins of 1 bases, and 5 when it was attached"):
        gx.io.genome_windows(mdata)
    folder.rename(files / "moved")
    with pytest.raises(gx.InputError, match="genome does not exist"):
        gx.io.genome_windows(mdata)
