"""The simulated files are read with pyBigWig, pyfaidx and pandas alone, and judged by scipy and sklearn."""

from __future__ import annotations

import gzip
import re
import time

import numpy as np
import pandas as pd
import pyBigWig
import pyfaidx
import pytest
from scipy.stats import ks_2samp, pearsonr, spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from genexp_scverse import InputError
from genexp_scverse.datasets import simulate
from genexp_scverse.datasets._genome import FACTORS

HALF, BIN = 5_000, 500
CONSENSUS = {factor.name: factor.consensus for factor in FACTORS}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    start = time.process_time()
    files = simulate(tmp_path_factory.mktemp("genome"))
    assert time.process_time() - start < 15
    return files


@pytest.fixture(scope="module")
def sizes(files):
    return pd.read_csv(files.chrom_sizes, sep="\t", header=None, index_col=0)[1].to_dict()


@pytest.fixture(scope="module")
def genes(files):
    """Gene records, 0-based half-open, without the scaffold gene and the PAR duplicate."""
    gtf = pd.read_csv(files.genes, sep="\t", comment="#", header=None)
    gtf = gtf[gtf[2] == "gene"]
    genes = pd.DataFrame(
        {
            "chrom": gtf[0],
            "start": gtf[3] - 1,
            "end": gtf[4],
            "strand": gtf[6],
            "versioned": _attribute(gtf, "gene_id"),
        }
    )
    genes["tss"] = np.where(genes["strand"] == "+", genes["start"], genes["end"] - 1)
    genes["gene_id"] = genes["versioned"].str.replace(r"\.\d+$", "", regex=True)
    keep = ~genes["versioned"].str.endswith("_PAR_Y") & ~genes["chrom"].str.startswith("chrUn")
    return genes[keep].set_index("gene_id")


@pytest.fixture(scope="module")
def expression(files, genes):
    table = pd.read_csv(files.expression, sep="\t", index_col="gene_id")
    return table.loc[genes["versioned"]].set_index(genes.index)


@pytest.fixture(scope="module")
def elements(files):
    return pd.read_csv(files.truth_elements, sep="\t", keep_default_na=False)


@pytest.fixture(scope="module")
def bins(files, genes, sizes):
    """Means over 20 bins about the TSS, in the direction of transcription: (sample, mark) -> genes x bins."""
    out = {}
    for row in pd.read_csv(files.sheet, sep="\t").itertuples():
        with pyBigWig.open(str(files.sheet.parent / row.path)) as track:
            out[row.sample, row.mark] = np.array(
                [_window(track, sizes, g.chrom, g.tss, g.strand) for g in genes.itertuples()]
            )
    return out


def _attribute(gtf: pd.DataFrame, name: str) -> pd.Series:
    return gtf[8].str.extract(f'{name} "([^"]+)"')[0]


def _window(track, sizes, chrom, tss, strand) -> np.ndarray:
    values = np.zeros(2 * HALF)
    low, high = max(0, tss - HALF), min(sizes[chrom], tss + HALF)
    offset = low - tss + HALF
    values[offset : offset + high - low] = np.nan_to_num(track.values(chrom, low, high, numpy=True))
    return (values if strand == "+" else values[::-1]).reshape(-1, BIN).mean(axis=1)


def test_files_agree_with_each_other(files, genes, sizes, expression):
    assert list(expression.columns) == ["A", "B"]
    np.testing.assert_allclose(pd.read_csv(files.expression, sep="\t")[["A", "B"]].sum(), 1e6, rtol=1e-6)
    assert 0.03 < (expression == 0).to_numpy().mean() < 0.2
    assert 1_200 < len(genes) < 1_260
    chroms = {c: s for c, s in sizes.items() if not c.startswith("chrUn")}
    assert list(chroms) == [f"chr{i}" for i in range(1, 9)]
    assert all(1.3e6 < size < 2.4e6 for size in chroms.values())
    assert (genes["end"] <= genes["chrom"].map(sizes)).all()
    sheet = pd.read_csv(files.sheet, sep="\t")
    assert list(sheet.columns) == ["sample", "mark", "path", "scale"]
    assert len(sheet) == 10
    for path in sheet["path"]:
        with pyBigWig.open(str(files.sheet.parent / path)) as track:
            assert track.isBigWig()
            assert track.chroms() == sizes
            assert track.header()["minVal"] >= 1
    truth = pd.read_csv(files.truth_genes, sep="\t", index_col="gene_id")
    assert set(truth.index) == set(genes.index)


def test_genes_are_as_gencode_has_them(files, genes):
    gtf = pd.read_csv(files.genes, sep="\t", comment="#", header=None)
    assert set(gtf[2]) == {"gene", "transcript", "exon"}
    assert (gtf[3] <= gtf[4]).all()
    ids = _attribute(gtf, "gene_id")
    assert ids.str.fullmatch(r"ENSSIMG\d{11}\.\d+(_PAR_Y)?").all()
    types = _attribute(gtf[gtf[2] == "gene"], "gene_type").value_counts()
    assert types["protein_coding"] == 1_202
    assert types["lncRNA"] == 36
    assert ids.str.endswith("_PAR_Y").any()
    assert gtf[0].str.startswith("chrUn").any()
    # Exons tile within their transcript, the first and the last of them touching its ends.
    rest = gtf[gtf[2] != "gene"].assign(transcript=_attribute(gtf, "transcript_id"))
    spans = rest[rest[2] == "transcript"].set_index("transcript")
    assert spans.index.is_unique
    exons = rest[rest[2] == "exon"].groupby("transcript")
    pd.testing.assert_series_equal(exons[3].min().loc[spans.index], spans[3], check_names=False)
    pd.testing.assert_series_equal(exons[4].max().loc[spans.index], spans[4], check_names=False)
    ordered = rest[rest[2] == "exon"].sort_values(["transcript", 3])
    same = ordered["transcript"].eq(ordered["transcript"].shift(-1))
    assert (ordered[4] < ordered[3].shift(-1))[same].all()


def test_dna_reads_and_carries_the_motifs_it_says(files, elements, sizes):
    fasta = pyfaidx.Fasta(str(files.genome), rebuild=False)
    assert {name: len(record) for name, record in fasta.items()} == sizes
    letters = set(fasta["chr1"][:].seq)
    assert letters == set("ACGTNacgt")
    assert fasta["chr1"][:1_000].seq == "N" * 1_000
    complement = str.maketrans("ACGT", "TGCA")
    off = []
    for element in elements.itertuples():
        assert (element.motifs == "") or element.kind != "decoy"
        for motif in filter(None, element.motifs.split(";")):
            name, start, strand = re.fullmatch(r"(\w+)@(\d+):([+-])", motif).groups()
            start, wanted = int(start), CONSENSUS[name]
            assert element.start <= start
            assert start + len(wanted) <= element.end
            found = fasta[element.chrom][start : start + len(wanted)].seq.upper()
            found = found if strand == "+" else found.translate(complement)[::-1]
            off.append(sum(a != b for a, b in zip(found, wanted, strict=True)))
    assert len(off) > 4_000
    assert np.bincount(off) / len(off) == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    strands = elements["motifs"].str.findall(r"[+-]").explode().dropna()
    assert (strands == "+").mean() == pytest.approx(0.5, abs=0.03)


def test_elements_lie_where_they_should(genes, elements):
    tss, strand = genes["tss"], genes["strand"]
    promoters = elements[elements["kind"] == "promoter"].set_index("gene_id")
    assert (promoters["start"] + 300 == tss.loc[promoters.index]).all()
    others = elements[elements["kind"] != "promoter"]
    centre = (others["start"] + others["end"]) // 2
    signed = (centre - others["gene_id"].map(tss)) * others["gene_id"].map(strand).map({"+": 1, "-": -1})
    assert (signed == others["distance"]).all()
    assert others["distance"].abs().between(1_000, 20_000).all()
    assert others["kind"].value_counts().min() > 500
    for _, group in elements.groupby("chrom"):
        group = group.sort_values("start")
        assert (group["end"].to_numpy()[:-1] <= group["start"].to_numpy()[1:]).all()


def test_truth_is_the_sum_of_effects_and_expression_follows_it(files, elements, expression):
    truth = pd.read_csv(files.truth_genes, sep="\t", index_col="gene_id").loc[expression.index]
    for sample in ("A", "B"):
        total = elements.groupby("gene_id")[f"effect_{sample}"].sum().loc[truth.index]
        constant = truth[sample] - total
        np.testing.assert_allclose(constant, constant.iloc[0], atol=1e-5)
        np.testing.assert_allclose(np.exp(truth[sample]).sum(), 1e6, rtol=1e-4)
        assert 0.93 < pearsonr(truth[sample], np.log1p(expression[sample]))[0] < 0.99
    assert (elements.loc[elements["kind"] == "decoy", ["effect_A", "effect_B"]] == 0).all(axis=None)


def test_samples_differ_by_their_factors(elements, expression):
    change = np.log1p(expression["A"]) - np.log1p(expression["B"])
    assert 0.6 < pearsonr(np.log1p(expression["A"]), np.log1p(expression["B"]))[0] < 0.92
    promoters = elements[elements["kind"] == "promoter"].set_index("gene_id")["motifs"].loc[change.index]
    assert change[promoters.str.contains("GATA1")].mean() > 0.7
    assert change[promoters.str.contains("CEBPA")].mean() < -0.7


def test_motifs_counted_in_the_dna_of_promoters_tell_expression(files, genes, expression):
    fasta = pyfaidx.Fasta(str(files.genome), sequence_always_upper=True)
    complement = str.maketrans("ACGT", "TGCA")
    active = [name for name in CONSENSUS if name != "REST"]
    patterns = {}
    for name in active:
        both = (CONSENSUS[name], CONSENSUS[name].translate(complement)[::-1])
        # One base off anywhere, either strand.
        options = [s[:i] + "." + s[i + 1 :] for s in both for i in range(len(s))]
        patterns[name] = re.compile("|".join(options))
    count = np.zeros(len(genes))
    for i, gene in enumerate(genes.itertuples()):
        window = fasta[gene.chrom][gene.tss - 300 : gene.tss + 300].seq
        count[i] = sum(bool(pattern.search(window)) for pattern in patterns.values())
    level = np.log1p(expression).mean(axis=1)
    assert spearmanr(count, level)[0] > 0.5
    away = np.zeros(len(genes))
    for i, gene in enumerate(genes.itertuples()):
        window = fasta[gene.chrom][gene.tss - 2_000 : gene.tss - 1_400].seq
        away[i] = sum(bool(pattern.search(window)) for pattern in patterns.values())
    assert abs(spearmanr(away, level)[0]) < 0.1


def test_marks_predict_held_out_chromosomes_with_noise(bins, genes, expression):
    test = genes["chrom"].isin(["chr7", "chr8"]).to_numpy()
    shuffled = np.random.default_rng(0).permutation(len(genes))
    for sample in ("A", "B"):
        features = np.log1p(np.hstack([values for key, values in bins.items() if key[0] == sample]))
        level = np.log1p(expression[sample].to_numpy())
        got = {}
        for name, target in (("true", level), ("shuffled", level[shuffled])):
            model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 9)))
            model.fit(features[~test], target[~test])
            got[name] = pearsonr(model.predict(features[test]), target[test])[0]
        assert 0.7 < got["true"] < 0.93
        assert abs(got["shuffled"]) < 0.2


def test_marks_have_their_places(bins, expression):
    level = np.log1p(expression["A"].to_numpy())
    high = level > np.median(level)
    mean = {mark: bins["A", mark][high].mean(axis=0) for mark in ("H3K4me3", "H3K36me3")}
    # Bin 9 ends at the TSS and bin 10 begins there.
    assert mean["H3K4me3"].argmax() in (9, 10)
    assert mean["H3K4me3"].max() > 5 * np.median(mean["H3K4me3"])
    assert mean["H3K4me3"][10:12].sum() > mean["H3K4me3"][8:10].sum()
    assert mean["H3K36me3"][11:].mean() > 1.8 * mean["H3K36me3"][:9].mean()
    means = {mark: values.mean(axis=1) for (sample, mark), values in bins.items() if sample == "A"}
    for mark in ("H3K4me3", "H3K27ac", "H3K36me3"):
        assert spearmanr(means[mark], level)[0] > 0.3
    for mark in ("H3K27me3", "H3K9me3"):
        assert spearmanr(means[mark], level)[0] < -0.15


def test_decoys_look_like_enhancers(files, elements):
    with pyBigWig.open(str(files.sheet.parent / "tracks" / "A.H3K27ac.bigWig")) as track:
        heights = elements.apply(
            lambda e: np.nan_to_num(track.values(e["chrom"], e["start"], e["end"], numpy=True)).mean(), axis=1
        )
        background = np.nan_to_num(track.values("chr3", 0, 500_000, numpy=True))
    enhancers = heights[elements["kind"] == "enhancer"]
    decoys = heights[elements["kind"] == "decoy"]
    assert decoys.mean() == pytest.approx(enhancers.mean(), rel=0.1)
    assert ks_2samp(decoys, enhancers).statistic < 0.08
    assert decoys.mean() > 2.5 * background.mean()


def test_super_enhancers_raise_all_genes_around_them(tmp_path):
    small = {"n_genes": 150, "n_chroms": 3, "samples": ["A", "B"], "marks": ["H3K27ac", "H3K36me3"], "seed": 2}
    without = simulate(tmp_path / "without", **small)
    files = simulate(tmp_path / "with", **small, super_enhancers=2.5)
    for name in ("genome", "genes", "chrom_sizes"):
        assert getattr(files, name).read_bytes() == getattr(without, name).read_bytes()
    elements = pd.read_csv(files.truth_elements, sep="\t", keep_default_na=False)
    places = elements[elements["kind"] == "super_enhancer"]
    others = pd.read_csv(without.truth_elements, sep="\t", keep_default_na=False)
    pd.testing.assert_frame_equal(elements.drop(places.index).astype(str), others.astype(str))
    assert 5 < len(places) < 40
    assert (places["end"] - places["start"]).between(15_000, 25_000).all()
    assert (places[["gene_id", "distance", "motifs"]] == "").all(axis=None)
    assert set(np.unique(places[["effect_A", "effect_B"]])) == {0.0, 2.5}

    gtf = pd.read_csv(files.genes, sep="\t", comment="#", header=None)
    gtf = gtf[gtf[2] == "gene"]
    tss = pd.Series(np.where(gtf[6] == "+", gtf[3] - 1, gtf[4] - 1), index=_attribute(gtf, "gene_id"))
    tss.index = tss.index.str.replace(r"\.\d+$", "", regex=True)
    truth, before = (pd.read_csv(f.truth_genes, sep="\t", index_col=0) for f in (files, without))
    chrom = pd.Series(gtf[0].to_numpy(), tss.index)
    for sample in ("A", "B"):
        wanted = []
        for gene in truth.index:
            around = places[places["chrom"] == chrom[gene]]
            away = (tss[gene] - (around["start"] + around["end"]) / 2).abs()
            wanted.append((around[f"effect_{sample}"] * np.exp(-away / 50_000)).sum())
        rest = truth[sample] - before[sample] - wanted
        np.testing.assert_allclose(rest, rest.iloc[0], atol=1e-5)
        assert np.std(wanted) > 0.3
        np.testing.assert_allclose(np.exp(truth[sample]).sum(), 1e6, rtol=1e-4)
        seen = {}
        for mark in ("H3K27ac", "H3K36me3"):
            with pyBigWig.open(str(files.sheet.parent / "tracks" / f"{sample}.{mark}.bigWig")) as track:
                seen[mark] = [_median(track, p.chrom, p.start, p.end) for p in places.itertuples()]
        active = (places[f"effect_{sample}"] > 0).to_numpy()
        # one that is inactive may overlap with an active one
        assert min(np.array(seen["H3K27ac"])[active]) > 8 > 4 > np.median(np.array(seen["H3K27ac"])[~active])
        assert np.median(np.array(seen["H3K36me3"])[active]) < 4


def _median(track, chrom, start, end) -> float:
    return float(np.median(np.nan_to_num(track.values(chrom, start, end, numpy=True))))


def test_the_same_seed_gives_the_same_files(tmp_path):
    small = {"n_genes": 60, "n_chroms": 3, "samples": ["x"], "marks": ["H3K27ac", "DNase"]}
    first = simulate(tmp_path / "a", **small, seed=3)
    again = simulate(tmp_path / "b", **small, seed=3)
    other = simulate(tmp_path / "c", **small, seed=4)
    for one, two, three in zip(first, again, other, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes() != three.read_bytes() or one == first.sheet
    for mark in small["marks"]:
        tracks = [pyBigWig.open(str(f.sheet.parent / "tracks" / f"x.{mark}.bigWig")) for f in (first, again)]
        one, two = (track.intervals("chr2") for track in tracks)
        assert one == two
        assert len(one) > 1_000


def test_files_are_replaced_and_others_left(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    simulate(tmp_path, n_genes=20, n_chroms=2, marks=["H3K4me3"])
    before = gzip.decompress((tmp_path / "genes.gtf.gz").read_bytes())
    files = simulate(tmp_path, n_genes=20, n_chroms=2, marks="H3K4me3", samples="A", seed=1)
    assert gzip.decompress(files.genes.read_bytes()) != before
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in files} | {
        "genome.fa.fai",
        "tracks",
        "notes.txt",
    }
    assert pyfaidx.Fasta(str(files.genome), rebuild=False)["chr2"][3_000:3_010].seq.upper().strip("ACGT") == ""


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"n_genes": 3}, "n_genes=3 is too small"),
        ({"n_chroms": 0}, "n_chroms=0"),
        ({"spacing": 1_999}, "spacing=1999 is too small: it has to be 2000"),
        ({"noise": -1}, "noise=-1"),
        ({"super_enhancers": -1}, "super_enhancers=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"samples": ["A", "A"]}, "different names"),
        ({"samples": []}, "different names"),
        ({"samples": ["A/B"]}, "'A/B' would not do in file names"),
        ({"marks": ["H3K4me3", "H4K1"]}, "'H4K1' cannot be simulated: choose from H3K4me3"),
    ],
)
def test_what_cannot_be_simulated_is_refused_first(kwargs, words, tmp_path):
    with pytest.raises(InputError, match=words):
        simulate(tmp_path / "new", **kwargs)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file: give a directory"):
        simulate(tmp_path / "file", n_genes=20, n_chroms=2)


def test_a_compact_genome_keeps_promoters_apart(tmp_path):
    files = simulate(tmp_path, n_genes=300, n_chroms=3, samples="A", marks="H3K4me3", spacing=2_200)
    sizes = pd.read_csv(files.chrom_sizes, sep="\t", header=None, index_col=0)[1]
    # beside genes, a chromosome has its ends and a gap of 30 kb
    assert sizes[["chr1", "chr2", "chr3"]].sum() == pytest.approx(309 * 2_200 + 3 * 36_000, rel=0.05)
    elements = pd.read_csv(files.truth_elements, sep="\t")
    promoters = elements[elements["kind"] == "promoter"].sort_values(["chrom", "start"])
    for _, here in promoters.groupby("chrom"):
        assert (here["start"].to_numpy()[1:] >= here["end"].to_numpy()[:-1]).all()
