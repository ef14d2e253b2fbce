from __future__ import annotations

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from small_models import make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse.cli import main


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A small genome with stored scores: one kind without a sample, and a mask of two samples."""
    folder = tmp_path_factory.mktemp("elements")
    files = gx.datasets.simulate(folder / "data", n_genes=20, n_chroms=2, marks=["DNase"], samples=["A", "B"])
    mdata = gx.io.build_mudata(files.sheet, genes=files.genes, upstream=3000, downstream=3000, n_jobs=1)
    gx.tl.fixed_mask(mdata, "signal", sample="A")
    gx.tl.fixed_mask(mdata, "random", key_added="two")
    chromatin = mdata["chromatin"]
    chromatin.uns["two"] = chromatin.uns["two"] | {"samples": np.array(["A", "B"], dtype=object)}
    for sample in ("A", "B"):
        chromatin.obsm[f"two_{sample}"] = chromatin.obsm["two"]
    gx.schema.name_axes(mdata)
    gx.io.write_mudata(mdata, folder / "m.h5mu")
    return folder / "m.h5mu"


def run(*argv) -> None:
    assert main(["elements", *map(str, argv)]) == 0


def test_all_files_agree_with_the_functions(scored, tmp_path):
    argv = ["-", scored, "--key", "signal_mask", "--top", "0.1", "--merge-gap", "100", "--min-length", "200"]
    bed, pe, track = (tmp_path / name for name in ("e.bed", "e.bedpe", "m.bigWig"))
    run(*argv, "-o", bed, "--bedpe", pe, "--bigwig", track)
    run(*argv, "-o", tmp_path / "e.tsv")
    run(*argv, "-o", tmp_path / "u.bed.gz", "--union")
    mdata = gx.io.read_mudata(scored)
    table = gx.tl.call_elements(None, mdata, key="signal_mask", top=0.1, merge_gap=100, min_length=200)
    assert len(table) > 10
    written = pd.read_csv(tmp_path / "e.tsv", sep="\t")
    pd.testing.assert_frame_equal(written, table.reset_index(drop=True), check_dtype=False, rtol=1e-5)
    ordered = table.sort_values(["chrom", "start", "end"], kind="stable")
    lines = pd.read_csv(bed, sep="\t", skiprows=1, header=None)
    assert lines[[0, 1, 2, 3]].to_numpy().tolist() == ordered[["chrom", "start", "end", "name"]].to_numpy().tolist()
    assert pd.read_csv(pe, sep="\t")["start2"].tolist() == ordered["gene_tss"].tolist()
    joined = pd.read_csv(tmp_path / "u.bed.gz", sep="\t", skiprows=1, header=None)
    assert joined[[1, 2]].to_numpy().tolist() == gx.tl.union_elements(table)[["start", "end"]].to_numpy().tolist()
    with pyBigWig.open(str(track)) as file:
        one = ordered.iloc[0]
        assert file.stats(one["chrom"], int(one["start"]), int(one["end"]), type="max")[0] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.bed", "e.bedpe", "e.tsv", "m.bigWig", "u.bed.gz"]


def test_genes_on_1_and_tracks_on_chr1(scored, tmp_path):
    mdata = gx.io.read_mudata(scored)
    sizes = mdata.uns["chrom_sizes"].set_index("chrom")["size"]
    mdata.obs["chrom"] = mdata.obs["chrom"].astype(str).str.removeprefix("chr").to_numpy()
    # a gene near the end, whose window runs over it
    last = mdata.obs["chrom"].iloc[-1]
    mdata.obs.loc[mdata.obs_names[-1], "tss"] = int(sizes[f"chr{last}"]) - 1500
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    bed, track = tmp_path / "e.bed", tmp_path / "m.bigWig"
    run("-", tmp_path / "m.h5mu", "--key", "signal_mask", "--threshold", "0", "-o", bed, "--bigwig", track)
    lines = pd.read_csv(bed, sep="\t", skiprows=1, header=None, dtype={0: str})
    assert set(lines[0]) == {"1", "2"}
    assert (lines[2] <= lines[0].map(lambda c: sizes[f"chr{c}"])).all()
    assert lines.loc[lines[0] == last, 2].max() == sizes[f"chr{last}"]
    with pyBigWig.open(str(track)) as file:
        assert file.chroms() == sizes.to_dict()


def test_a_model_is_asked_for_its_own_mask(tmp_path):
    mdata = make_mdata(60)
    model = make_model("Seq2ExpModel", mdata, setup={}, train=False)
    model.train(1, accelerator="cpu", enable_progress_bar=False)
    model.save(tmp_path / "model")
    gx.tl.fixed_mask(mdata, "random", sample="A", key_added="seq2exp_mask")
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    run(tmp_path / "model", tmp_path / "m.h5mu", "--top", "0.1", "--sample", "B", "-o", tmp_path / "e.tsv")
    table = gx.tl.call_elements(model, mdata, top=0.1, samples=["B"])
    assert set(table["sample"]) == {"B"}
    written = pd.read_csv(tmp_path / "e.tsv", sep="\t")
    pd.testing.assert_frame_equal(written, table.reset_index(drop=True), check_dtype=False, rtol=1e-4)


def test_lines_say_of_which_sample_they_are(scored, tmp_path):
    bed, pe = tmp_path / "e.bed", tmp_path / "e.bedpe"
    run("-", scored, "--key", "two", "--threshold", "0.9", "-o", bed, "--bedpe", pe)
    for names in (pd.read_csv(bed, sep="\t", skiprows=1, header=None)[3], pd.read_csv(pe, sep="\t")["name"]):
        assert not names.duplicated().any()
        assert names.str[-2:].value_counts().to_dict() == {"_A": len(names) / 2, "_B": len(names) / 2}


def test_a_bigwig_is_of_one_sample(scored, tmp_path, fails):
    argv = ["elements", "-", scored, "--key", "two", "-o", tmp_path / "e.bed", "--bigwig", tmp_path / "m.bigWig"]
    assert "a bigWig holds one sample, and there are 2 (A, B): name one by --sample" in fails(*argv)
    assert not list(tmp_path.iterdir())
    run(*argv[1:], "--sample", "B")
    assert (tmp_path / "m.bigWig").stat().st_size > 0


def test_wrong_names_are_said_before_the_work(scored, simulated, tmp_path, fails):
    end = ["-o", tmp_path / "e.bed"]
    assert "e.txt has another ending: let the name end in .bed, .bed.gz or .tsv" in fails(
        "elements", "-", scored, "-o", tmp_path / "e.txt"
    )
    assert "is to hold two of the outputs" in fails("elements", "-", scored, *end, "--bedpe", tmp_path / "e.bed")
    assert "no scores per position are stored as 'seq2exp_mask'" in fails("elements", "-", scored, *end)
    assert "which has no mask: give a model that selects positions" in fails(
        "elements", simulated.forest, simulated.mudata, *end
    )
    with pytest.raises(SystemExit):
        main(["elements", "-", str(scored), "-o", "e.bed", "--top", "2"])
    with pytest.raises(SystemExit):
        main(["elements", "-", str(scored), "-o", "e.bed", "--top", "0.1", "--threshold", "0.1"])
    assert not list(tmp_path.iterdir())
