from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyBigWig
import pyfaidx
import pytest

import genexp_scverse as gx
from genexp_scverse.io import _bigwig_bases, genome_write


def letters_of(files, chrom):
    return str(pyfaidx.Fasta(str(files / "genome.fa"))[chrom]).upper()


def bases_of(files, name, chrom, size):
    with pyBigWig.open(str(files / name)) as bw:
        return np.nan_to_num(bw.values(chrom, 0, size, numpy=True))


@pytest.fixture
def store(files):
    return gx.io.write_genome(files / "genome", fasta=files / "genome.fa", sheet=files / "sheet.tsv")


def padded_window(values, start, end, fill):
    return [values[i] if 0 <= i < len(values) else fill for i in range(start, end)]


def test_windows_are_those_of_pyfaidx_and_pybigwig(files, store, small_genome):
    rng = np.random.default_rng(0)
    chrom = rng.choice(list(small_genome.sizes), 60)
    start, reverse = rng.integers(-40, 620, 60), rng.random(60) < 0.5
    codes, signal = (f(chrom, start, start + 50, reverse) for f in (store.codes, store.signal))
    assert codes.dtype == np.uint8
    assert signal.dtype == np.float32
    assert codes.shape == (60, 50)
    assert signal.shape == (60, 4, 50)
    complement = dict(zip("ACGTN", "TGCAN", strict=True))
    names = [f"{s}.{m}.bw" for s, m in zip(store.tracks["sample"], store.tracks["mark"], strict=True)]
    for i, (c, s, back) in enumerate(zip(chrom, start, reverse, strict=True)):
        dna = padded_window(letters_of(files, c), s, s + 50, "N")
        dna = [complement[x] for x in dna[::-1]] if back else dna
        assert "".join("ACGTN"[x] for x in codes[i]) == "".join(dna)
        for t, name in enumerate(names):
            expected = padded_window(bases_of(files, name, c, small_genome.sizes[c]), s, s + 50, 0)
            assert signal[i, t].tolist() == (expected[::-1] if back else expected)
    assert store.signal(chrom, start, start + 50, reverse, tracks=[2, 0]).tolist() == signal[:, [2, 0]].tolist()


def test_genes_read_as_bin_tracks_and_read_codes_do(files, store, small_genome):
    genes = gx.io.read_genes(files / "genes.gtf")
    windows = gx.io.GenomeWindows(genes, store, upstream=130, downstream=60)
    paths = gx.io.read_sheet(files / "sheet.tsv")["path"].tolist()
    bins = gx.io.bin_tracks(genes, paths, upstream=130, downstream=60, bin_size=1)
    rows = [3, 0, 0, 2]
    assert windows.signal(rows).tolist() == bins[rows].tolist()
    codes = gx.io.read_codes(genes, files / "genome.fa", upstream=130, downstream=60)
    assert windows.codes(rows).tolist() == codes[rows].tolist()
    assert windows.codes([]).shape == (0, 190)
    assert windows.signal([], [1]).shape == (0, 1, 190)
    again = pickle.loads(pickle.dumps(windows))
    assert again.codes(rows).tolist() == codes[rows].tolist()


@pytest.mark.parametrize("dense", [False, True])
def test_blocks_and_kinds_of_reading_make_no_difference(files, store, monkeypatch, dense):
    from genexp_scverse.io import _bigwig_blocks

    monkeypatch.setattr(_bigwig_blocks, "_DENSE", 0.0 if dense else 10.0)
    monkeypatch.setattr(_bigwig_bases, "BLOCK_BASES", 64)
    monkeypatch.setattr(genome_write, "_PAGE", 16)
    other = gx.io.write_genome(files / "other", sheet=files / "sheet.tsv")
    assert not other.has_codes
    for chrom, size in store.chrom_sizes.items():
        assert other.signal(chrom, [0], [size]).tolist() == store.signal(chrom, [0], [size]).tolist()


def one_track(folder, values, sizes, name="t.bw", start=0):
    with pyBigWig.open(str(folder / name), "w") as bw:
        bw.addHeader(list(sizes.items()))
        n = len(values)
        bw.addEntries(
            ["chr1"] * n, list(range(start, start + n)), ends=list(range(start + 1, start + n + 1)), values=values
        )
    return pd.DataFrame({"sample": ["A"], "mark": ["DNase"], "path": [folder / name]})


def test_bins_are_means_and_windows_move_by_half_a_bin_at_most(tmp_path):
    sheet = one_track(tmp_path, [float(i) for i in range(1, 23)], {"chr1": 22})
    store = gx.io.write_genome(tmp_path / "g", sheet=sheet, bin_size=4)
    # bases 1 2 3 4 | 5 6 7 8 | ... | 21 22 (and two beyond the end, counted as 0)
    means = [2.5, 6.5, 10.5, 14.5, 18.5, 10.75]
    assert store.signal("chr1", [0], [24])[0, 0].tolist() == means
    start = np.arange(4, 9)
    assert store.signal("chr1", start, start + 4)[:, 0, 0].tolist() == [6.5, 6.5, 6.5, 10.5, 10.5]
    # half a bin off: to the left as it stands, to the right backwards
    assert store.signal("chr1", start, start + 4, True)[:, 0, 0].tolist() == [6.5, 6.5, 10.5, 10.5, 10.5]
    beyond = store.signal("chr1", [-3, 17], [9, 29], [False, True])[:, 0]
    assert beyond.tolist() == [[0, 2.5, 6.5], [0, 10.75, 18.5]]
    with pytest.raises(gx.InputError, match="windows of 6 bases are no whole number of bins of 4"):
        store.signal("chr1", [0], [6])


def test_a_mirrored_chromosome_gives_the_same_windows(tmp_path):
    values = np.random.default_rng(1).integers(1, 9, 60).astype(float)
    stores = []
    for name, v in (("a", values), ("b", values[::-1])):
        sheet = one_track(tmp_path, v.tolist(), {"chr1": 60}, f"{name}.bw")
        stores.append(gx.io.write_genome(tmp_path / name, sheet=sheet, bin_size=6))
    tss = np.arange(60)
    plain = pd.DataFrame({"chrom": "chr1", "tss": tss, "strand": "+"}, index=[f"g{i}" for i in tss])
    mirror = plain.assign(tss=59 - tss, strand="-")
    read = [
        gx.io.GenomeWindows(genes, store, upstream=18, downstream=12).signal(range(60))
        for genes, store in zip((plain, mirror), stores, strict=True)
    ]
    assert read[0].tolist() == read[1].tolist()


def test_float16_holds_what_fits_and_says_what_does_not(tmp_path):
    sheet = one_track(tmp_path, [0.1, 65504.0], {"chr1": 10})
    store = gx.io.write_genome(tmp_path / "g", sheet=sheet, dtype="float16")
    found = store.signal("chr1", [0], [3])[0, 0]
    assert found.dtype == np.float32
    assert found.tolist() == [float(np.float16(0.1)), 65504.0, 0.0]
    assert np.load(tmp_path / "g" / "signal" / "chr1.npy").dtype == np.float16
    sheet = one_track(tmp_path, [0.1, 70000.0], {"chr1": 10}, "high.bw")
    with pytest.raises(gx.InputError, match=r'high\.bw holds 70,000 .* float16 ends at 65,504: take dtype="float32"'):
        gx.io.write_genome(tmp_path / "h", sheet=sheet, dtype="float16")
    assert not (tmp_path / "h").exists()


def test_negative_values_need_a_scale_that_has_them(tmp_path):
    sheet = one_track(tmp_path, [1.0, -2.0], {"chr1": 10})
    with pytest.raises(gx.InputError, match=r"t\.bw has values down to -2"):
        gx.io.write_genome(tmp_path / "g", sheet=sheet)
    store = gx.io.write_genome(tmp_path / "g", sheet=sheet.assign(scale="log_ratio"))
    assert store.signal("1", [0], [2])[0, 0].tolist() == [1.0, -2.0]


def test_what_is_written(files, store, small_genome):
    assert store.chrom_sizes == small_genome.sizes
    assert store.tracks["mark"].tolist() == ["H3K4me3", "H3K27me3"] * 2
    assert store.files["role"].tolist() == ["sheet", "track", "track", "track", "track", "fasta"]
    assert sorted(p.name for p in (files / "genome").rglob("*")) == [
        *("chr1.npy", "chr1.npy", "chr2.npy", "chr2.npy", "codes", "manifest.json", "signal"),
    ]
    assert repr(store) == "GenomeStore of 2 chromosomes, 1,000 bases (unknown): DNA and 4 tracks at 1 bp"
    assert not list(files.glob(".genome*"))


def test_stretches_without_signal_take_no_room(tmp_path):
    size = 50_000_000
    sheet = one_track(tmp_path, [3.0], {"chr1": size}, start=30_000_000)
    store = gx.io.write_genome(tmp_path / "g", sheet=sheet)
    file = (tmp_path / "g" / "signal" / "chr1.npy").stat()
    assert file.st_size > 4 * size
    if hasattr(file, "st_blocks") and file.st_blocks * 512 > size / 100:
        pytest.skip("needs a file system with holes")
    assert store.signal("chr1", [29_999_999], [30_000_002])[0, 0].tolist() == [0, 3, 0]


def test_memory_does_not_grow_with_what_is_read(tmp_path):
    pytest.importorskip("resource", reason="needs a system that tells resources used")
    size = 60_000_000
    sheet = one_track(tmp_path, [3.0], {"chr1": size}, start=30_000_000)
    gx.io.write_genome(tmp_path / "g", sheet=sheet)
    code = """
import resource, sys
import numpy as np
import genexp_scverse as gx
store = gx.io.read_genome(sys.argv[1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
store.signal("chr1", [0], [200_000])
before, total = peak(), 0.0
for first in range(0, 60_000_000, 1_600_000):
    start = np.minimum(first + 200_000 * np.arange(8), 59_800_000)
    total += store.signal("chr1", start, start + 200_000).sum()
print(peak() - before, total)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "g"], capture_output=True, text=True, check=True)
    growth, total = map(float, done.stdout.split())
    assert total == 3
    # 240 MB were read
    assert growth < 60


def test_chromosomes_are_those_of_both(files, caplog):
    with (files / "genome.fa").open("a") as out:
        out.write(">chr3 in no track\nACGT\n>chrUn_KI270302v1\nACGT\n")
    caplog.set_level("INFO")
    store = gx.io.write_genome(files / "g", fasta=files / "genome.fa", sheet=files / "sheet.tsv")
    assert list(store.chrom_sizes) == ["chr1", "chr2"]
    assert "1 sequences of" in caplog.text
    assert "'chr3'" in caplog.text
    store = gx.io.write_genome(files / "g", fasta=files / "genome.fa")
    assert list(store.chrom_sizes) == ["chr1", "chr2", "chr3"]
    store = gx.io.write_genome(files / "g", fasta=files / "genome.fa", chroms=["3", "chrUn_KI270302v1"])
    assert list(store.chrom_sizes) == ["chr3", "chrUn_KI270302v1"]
    with pytest.raises(gx.InputError, match="chroms names 'chr9', which the files lack"):
        gx.io.write_genome(files / "g", fasta=files / "genome.fa", chroms=["chr9", "chr1"])
    with pytest.raises(gx.InputError, match="has no 'chr1'"):
        store.codes(["chr3", "chr1"], [0, 0], [2, 2])
    assert store.codes("3", [0], [4]).tolist() == [[0, 1, 2, 3]]


def test_files_of_other_names_and_a_track_without_a_chromosome(files, small_genome, caplog):
    text = (files / "genome.fa").read_text().replace(">chr", ">")
    (files / "genome.fa").write_text(text)
    small_genome.rewrite(files / "A.H3K4me3.bw", {"chr1": 600})
    store = gx.io.write_genome(files / "g", fasta=files / "genome.fa", sheet=files / "sheet.tsv")
    assert store.chrom_sizes == {"1": 600, "2": 400}
    assert "A.H3K4me3.bw has no 2: its signal is 0 there" in caplog.text
    signal = store.signal(["chr1", "chr2"], [98, 98], [102, 102])
    assert signal[0, 0].tolist() == [0, 0, 2, 2]
    assert signal[1, 0].tolist() == [0, 0, 0, 0]
    assert signal[1, 1:].any()


def test_another_assembly(files, small_genome):
    small_genome.rewrite(files / "A.H3K4me3.bw", {"chr1": 601, "chr2": 400})
    with pytest.raises(gx.InputError, match=r"chr1 has 601 bases in .* and 600 in .*different assemblies"):
        gx.io.write_genome(files / "g", fasta=files / "genome.fa", sheet=files / "sheet.tsv")
    sheet = pd.read_csv(files / "sheet.tsv", sep="\t")[:1].assign(path=files / "A.H3K4me3.bw")
    with pytest.raises(gx.InputError, match=r"genome\.fa are of different assemblies .*'chr1: 601 against 600'"):
        gx.io.write_genome(files / "g", fasta=files / "genome.fa", sheet=sheet)


def test_names_of_chromosomes_lead_nowhere_else(tmp_path):
    names = ["../up", "a/b", "CON", "chr1", "CHR1", ".hidden", "chr|2"]
    (tmp_path / "g.fa").write_text("".join(f">{n}\nAC{'G' * i}\n" for i, n in enumerate(names)))
    store = gx.io.write_genome(tmp_path / "sub" / "g", fasta=tmp_path / "g.fa")
    assert list(store.chrom_sizes) == names
    for i, name in enumerate(names):
        assert store.codes(name, [0], [2 + i]).tolist() == [[0, 1] + [2] * i]
    written = sorted(p.name for p in (tmp_path / "sub" / "g" / "codes").iterdir())
    assert written == sorted(["chr1.npy", *(f"sequence_{i}.npy" for i in (1, 2, 3, 5, 6, 7))])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.fa", "sub"]


def test_nothing_is_left_of_what_was_interrupted(files, store, monkeypatch):
    before = (files / "genome" / "manifest.json").read_text()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(genome_write, "_write_some", stop)
    for name in ("genome", "new"):
        with pytest.raises(KeyboardInterrupt):
            gx.io.write_genome(files / name, fasta=files / "genome.fa", sheet=files / "sheet.tsv")
    assert not (files / "new").exists()
    assert not list(files.glob(".*"))
    assert (files / "genome" / "manifest.json").read_text() == before
    assert store.codes("chr1", [0], [5]).shape == (1, 5)


def test_only_a_store_is_replaced(files, store):
    smaller = gx.io.write_genome(files / "genome", fasta=files / "genome.fa", chroms="chr2")
    assert list(gx.io.read_genome(files / "genome").chrom_sizes) == list(smaller.chrom_sizes) == ["chr2"]
    (files / "genome" / "notes.txt").write_text("mine")
    for name in ("genome", "genes.gtf"):
        with pytest.raises(gx.InputError, match="exists and is no genome store, so it is not replaced"):
            gx.io.write_genome(files / name, fasta=files / "genome.fa")
    assert (files / "genome" / "notes.txt").read_text() == "mine"


def test_arguments(files, store):
    with pytest.raises(gx.InputError, match="neither a FASTA file nor a sample sheet"):
        gx.io.write_genome(files / "g")
    for wrong in ({"bin_size": 0}, {"bin_size": 2.0}, {"dtype": "int8"}):
        with pytest.raises(gx.InputError, match=r"bin_size=(0|2.0) is|dtype is int8: allowed are float32"):
            gx.io.write_genome(files / "g", fasta=files / "genome.fa", **wrong)
    with pytest.raises(gx.InputError, match="windows must be equally long"):
        store.codes("chr1", [0, 0], [5, 6])
    with pytest.raises(gx.InputError, match="equally many whole numbers"):
        store.codes("chr1", [0.5], [5.5])
    with pytest.raises(gx.InputError, match=r"tracks=.4.: give positions from 0 to 3"):
        store.signal("chr1", [0], [5], tracks=[4])
    dna = gx.io.write_genome(files / "dna", fasta=files / "genome.fa")
    with pytest.raises(gx.InputError, match="holds no track"):
        dna.signal("chr1", [0], [5])
    tracks = gx.io.write_genome(files / "tracks", sheet=files / "sheet.tsv")
    with pytest.raises(gx.InputError, match="holds no DNA"):
        tracks.codes("chr1", [0], [5])


def changed(path, **entries):
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | entries))


def test_a_damaged_store_says_what_is_wrong(files, store, monkeypatch):
    folder = files / "genome"
    whole = files / "whole"
    shutil.copytree(folder, whole)

    def check(said):
        with pytest.raises(gx.InputError, match=said) as caught:
            gx.io.read_genome(folder)
        assert "\n" not in str(caught.value)
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)

    manifest, codes = folder / "manifest.json", folder / "codes" / "chr1.npy"
    manifest.write_text("{")
    check("manifest.json is damaged or of another program")
    manifest.write_bytes(b"\xff\xfe")
    check("manifest.json is damaged or of another program")
    changed(manifest, format="zarr")
    check('its "format" is not')
    changed(manifest, version=2)
    check("its version is 2 and this package reads 1")
    changed(manifest, chroms=[{"name": "chr1", "size": 600, "file": "../../secret"}])
    check('"chroms" is no list')
    changed(manifest, chroms=[{"name": n, "size": 600, "file": "chr1"} for n in ("chr1", "chr2")])
    check('"chroms" has a file twice')
    changed(manifest, dtype="object")
    check('"bin_size" or "dtype"')
    changed(manifest, chroms=[{"name": "chr1", "size": 599, "file": "chr1"}])
    check(r"holds uint8 of shape \(600,\), and uint8 of shape \(599,\) by the manifest")
    codes.write_bytes(codes.read_bytes()[:-1])
    check("is cut short or damaged")
    codes.write_bytes(b"")
    check("is damaged")
    codes.write_bytes(codes.read_bytes()[:10] + b"\0" * 200)
    check("is damaged")
    np.save(codes, np.array([print] * 600, dtype=object), allow_pickle=True)
    check("is damaged .an array of objects.")
    codes.unlink()
    check("is missing")
    assert gx.io.read_genome(folder).chrom_sizes == store.chrom_sizes
    codes.write_bytes(codes.read_bytes()[:300])
    with pytest.raises(gx.InputError, match="cut short"):
        store.codes("chr1", [0], [600])
    with pytest.raises(gx.InputError, match="does not exist: make one with"):
        gx.io.read_genome(files / "nowhere")
    with pytest.raises(gx.InputError, match=r"is no genome store \(it has no manifest.json\)"):
        gx.io.read_genome(files)


def test_without_reads_at_a_place(files, store, monkeypatch):
    from genexp_scverse.io import genome_store

    expected = store.signal("chr1", [5, 100], [45, 140], [False, True]).tolist()
    monkeypatch.setattr(genome_store, "_CAN_PREADV", False)
    assert store.signal("chr1", [5, 100], [45, 140], [False, True]).tolist() == expected


def test_real_yeast_and_human(shared_data, tmp_path):
    yeast = gx.io.write_genome(tmp_path / "yeast", fasta=shared_data / "yeast" / "genome.fa.gz")
    genes = gx.io.read_genes(shared_data / "yeast" / "genes.tsv", tss_column="tss_park2014")
    rows = np.random.default_rng(0).choice(len(genes), 300, replace=False)
    windows = gx.io.GenomeWindows(genes.iloc[rows], yeast, upstream=700, downstream=300)
    codes = gx.io.read_codes(genes.iloc[rows], shared_data / "yeast" / "genome.fa.gz", upstream=700, downstream=300)
    assert (windows.codes(np.arange(300)) == codes).all()
    folder = shared_data / "k562_elements_hg38"
    store = gx.io.write_genome(tmp_path / "k562", sheet=folder / "sheet.tsv", chroms=["chr21", "chr22"])
    assert store.assembly == "unknown"
    genes = gx.io.read_genes(folder / "genes.tsv")
    genes = genes[genes["chrom"].isin(["chr21", "chr22"])][:40]
    windows = gx.io.GenomeWindows(genes, store, upstream=20_000, downstream=20_000)
    paths = gx.io.read_sheet(folder / "sheet.tsv")["path"].tolist()
    bins = gx.io.bin_tracks(genes, paths, upstream=20_000, downstream=20_000, bin_size=1, n_jobs=1)
    np.testing.assert_array_equal(windows.signal(np.arange(len(genes))), bins)
