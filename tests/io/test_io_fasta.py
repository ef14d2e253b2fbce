from __future__ import annotations

import gzip
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from pyfaidx import Fasta

from genexp_scverse import InputError
from genexp_scverse.io import _fasta_stream, fasta_sizes, read_codes

COMPLEMENT = dict(zip("ACGTN", "TGCAN", strict=True))


def make_genes(rows):
    return pd.DataFrame(rows, columns=["chrom", "tss", "strand"], index=[f"g{i}" for i in range(len(rows))])


def letters(codes):
    return ["".join("ACGTN"[c] for c in row) for row in codes]


def bgzip(content: bytes, block: int = 1000) -> bytes:
    """Blocks of gzip with the BC extra field, and the empty block at the end (SAM specification, 4.1)."""
    blocks = []
    for i in [*range(0, len(content), block), len(content)]:
        part = content[i : i + block]
        packed = zlib.compressobj(6, zlib.DEFLATED, -15)
        data = packed.compress(part) + packed.flush()
        header = struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(data) + 25)
        blocks.append(header + data + struct.pack("<II", zlib.crc32(part), len(part)))
    return b"".join(blocks)


@pytest.fixture
def genome():
    rng = np.random.default_rng(0)
    return {
        "chr1": "".join(rng.choice(list("ACGTacgtN"), 3001)),
        "chr2": "".join(rng.choice(list("ACGT"), 120)),
        "chrUn_1": "".join(rng.choice(list("ACGT"), 35)),
        "chrM": "".join(rng.choice(list("ACGTRYKMSWrykm"), 500)),
    }


@pytest.fixture
def genes():
    rng = np.random.default_rng(1)
    rows = [("chr1", int(p), s) for p in rng.integers(0, 3001, 20) for s in "+-"]
    for chrom, n in {"chr1": 3001, "chr2": 120, "chrM": 500}.items():
        rows += [(chrom, p, s) for p in (0, 1, n - 1) for s in "+-"]
    return make_genes(rows)


def as_fasta(genome, width=60, newline="\n"):
    lines = []
    for name, sequence in genome.items():
        lines += [f">{name} a sequence > with words"]
        lines += [sequence[i : i + width] for i in range(0, len(sequence), width)]
    return (newline.join(lines) + newline).encode()


def by_hand(genome, genes, upstream, downstream):
    windows = []
    for chrom, tss, strand in genes.itertuples(index=False):
        at = dict(enumerate(genome[chrom].upper()))
        if strand == "+":
            window = [at.get(p, "N") for p in range(tss - upstream, tss + downstream)]
        else:
            window = [COMPLEMENT.get(at.get(p, "N"), "N") for p in range(tss + upstream, tss - downstream, -1)]
        windows.append("".join(c if c in "ACGT" else "N" for c in window))
    return windows


def index(path):
    Fasta(str(path)).close()


@pytest.mark.parametrize("piece", [7, 64, 2**22])
@pytest.mark.parametrize("kind", ["plain", "one line", "windows", "gz", "bgz", "index"])
def test_equals_the_letters(genome, genes, kind, piece, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(_fasta_stream, "_PIECE", piece)
    content = as_fasta(genome, 10**6 if kind == "one line" else 60, "\r\n" if kind == "windows" else "\n")
    pack = {"gz": gzip.compress, "bgz": bgzip}.get(kind, bytes)
    path = tmp_path / f"genome.fa{'.gz' if kind in ('gz', 'bgz') else ''}"
    path.write_bytes(pack(content))
    if kind == "index":
        index(path)
        monkeypatch.setattr("genexp_scverse.io.fasta._PART_FOR_INDEX", 100)
        monkeypatch.setattr("genexp_scverse.io.fasta._stream", None)
    before = sorted(tmp_path.iterdir())
    for upstream, downstream in [(40, 25), (0, 10), (10, 0), (300, 300)]:
        caplog.clear()
        codes = read_codes(genes, path, upstream=upstream, downstream=downstream)
        assert codes.dtype == np.uint8
        assert letters(codes) == by_hand(genome, genes, upstream, downstream)
    assert "other than A, C, G, T and N" in caplog.text
    assert fasta_sizes(path) == {"chr1": 3001, "chr2": 120, "chrUn_1": 35, "chrM": 500}
    assert sorted(tmp_path.iterdir()) == before


def test_ambiguous_letters_are_counted(tmp_path, caplog):
    (tmp_path / "a.fa").write_text(">chr1\nACRNYTTTTTTTTT\n")
    codes = read_codes(make_genes([("chr1", 2, "+")]), tmp_path / "a.fa", upstream=2, downstream=4)
    assert letters(codes) == ["ACNNNT"]
    assert "2 letters of" in caplog.text


def test_bgzip_cut_between_two_blocks_is_told(tmp_path, caplog):
    path = tmp_path / "a.fa.gz"
    whole = bgzip(b">chr1\n" + b"ACGT" * 1000)
    path.write_bytes(whole)
    assert fasta_sizes(path) == {"chr1": 4000}
    assert not caplog.text
    path.write_bytes(whole[:-28])
    assert fasta_sizes(path) == {"chr1": 4000}
    assert "lacks the end mark of bgzip" in caplog.text


def test_unstranded(tmp_path):
    (tmp_path / "a.fa").write_text(">chr1\nAACCGGTT\n")
    genes = make_genes([("chr1", 3, "-")])
    window = {"upstream": 2, "downstream": 2}
    assert letters(read_codes(genes, tmp_path / "a.fa", **window)) == ["CCGG"]
    bare = genes.drop(columns="strand")
    assert letters(read_codes(bare, tmp_path / "a.fa", **window, stranded=False)) == ["ACCG"]


@pytest.fixture(scope="module")
def yeast_genes(shared_data):
    table = pd.read_csv(
        shared_data / "yeast" / "genes.gtf.gz",
        sep="\t",
        comment="#",
        header=None,
        names=["chrom", "source", "feature", "start", "end", "score", "strand", "frame", "attributes"],
    )
    table = table[(table.feature == "gene") & table.attributes.str.contains('gene_biotype "protein_coding"')]
    table["tss"] = np.where(table.strand == "+", table.start - 1, table.end - 1)
    return table.set_index(table.attributes.str.extract('gene_id "([^"]+)"')[0])[["chrom", "tss", "strand"]]


def test_yeast_genes_begin_with_atg(shared_data, yeast_genes):
    genes = yeast_genes[yeast_genes.chrom != "Mito"]
    assert len(genes) == 6572
    codes = read_codes(genes, shared_data / "yeast" / "genome.fa.gz", upstream=1000, downstream=1000)
    starts = (codes[:, 1000:1003] == [0, 3, 2]).all(axis=1)
    assert starts.sum() >= 6568
    for strand in "+-":
        assert starts[(genes.strand == strand).to_numpy()].mean() > 0.999


def test_yeast_equals_pyfaidx(shared_data, yeast_genes, tmp_path):
    plain = tmp_path / "genome.fa"
    plain.write_bytes(gzip.decompress((shared_data / "yeast" / "genome.fa.gz").read_bytes()))
    genes = yeast_genes.sample(200, random_state=0)
    aliases = genes.assign(chrom=["chrM" if c == "Mito" else f"chr{c}" for c in genes.chrom])
    codes = read_codes(aliases, shared_data / "yeast" / "genome.fa.gz", upstream=500, downstream=700)
    inside = 0
    with Fasta(str(plain)) as fasta:
        for row, (chrom, tss, strand) in zip(codes, genes.itertuples(index=False), strict=True):
            first, last = (tss - 500, tss + 700) if strand == "+" else (tss - 699, tss + 501)
            if first < 0 or last > len(fasta[chrom]):
                continue
            sequence = fasta[chrom][first:last]
            expected = str(sequence if strand == "+" else sequence.reverse.complement).upper()
            assert letters([row]) == [expected]
            inside += 1
        assert fasta_sizes(plain) == {name: len(fasta[name]) for name in fasta.keys()}  # noqa: SIM118
    assert inside > 180
    # The index that pyfaidx left is used now, to the same end.
    np.testing.assert_array_equal(read_codes(aliases, plain, upstream=500, downstream=700), codes)


def test_read_only_folder(genome, genes, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    path = folder / "genome.fa"
    path.write_bytes(as_fasta(genome))
    folder.chmod(0o555)
    try:
        codes = read_codes(genes, path, upstream=5, downstream=5)
    finally:
        folder.chmod(0o755)
    assert letters(codes) == by_hand(genome, genes, 5, 5)
    assert [p.name for p in folder.iterdir()] == ["genome.fa"]


def test_index_that_does_not_fit_is_not_used(genome, genes, tmp_path, caplog):
    path = tmp_path / "genome.fa"
    path.write_bytes(as_fasta({"chr1": "A" * 10}))
    index(path)
    path.write_bytes(as_fasta(genome))
    fai = tmp_path / "genome.fa.fai"
    os.utime(fai, (1, 1))
    assert fasta_sizes(path)["chr1"] == 3001
    assert "older than the FASTA" in caplog.text
    fai.write_text("chr1\t999999\t6\t60\t61\n")
    assert letters(read_codes(genes, path, upstream=5, downstream=5)) == by_hand(genome, genes, 5, 5)
    assert "does not fit the FASTA" in caplog.text


def test_genes_on_other_sequences(tmp_path, caplog):
    (tmp_path / "a.fa").write_text(">1\nACGTACGT\n>MT\nGGGG\n")
    genes = make_genes([("chr1", 4, "+"), ("chr7", 4, "+"), ("chrM", 1, "-"), ("chr8", 1, "-")])
    codes = read_codes(genes, tmp_path / "a.fa", upstream=1, downstream=1)
    assert letters(codes) == ["TA", "NN", "CC", "NN"]
    assert "2 of 4 genes are on sequences" in caplog.text
    assert "'chr7', 'chr8'" in caplog.text
    with pytest.raises(InputError, match=r"none of the 1 chromosomes .*'chr9'.*a\.fa"):
        read_codes(make_genes([("chr9", 4, "+")]), tmp_path / "a.fa", upstream=1, downstream=1)


def test_the_very_name_counts(tmp_path):
    genes = make_genes([("1", 1, "+")])
    for first, second in (("1", "chr1"), ("chr1", "1")):
        (tmp_path / "a.fa").write_text(f">{first}\n{'AAAA' if first == '1' else 'CCCCCC'}\n>{second}\nGGGG\n")
        expected = "AA" if first == "1" else "GG"
        assert letters(read_codes(genes, tmp_path / "a.fa", upstream=1, downstream=1)) == [expected]
    (tmp_path / "a.fa").write_text(">MT\nAAAA\n>chrM\nGGGG\n")
    with pytest.raises(InputError, match="both 'chrM' and 'MT'"):
        read_codes(make_genes([("M", 1, "+")]), tmp_path / "a.fa", upstream=1, downstream=1)


@pytest.mark.parametrize("indexed", [False, True])
def test_rna_letters_and_blanks_at_line_ends(indexed, tmp_path):
    path = tmp_path / "a.fa"
    path.write_text(">chr1 \nACGUuCGTTT \nGGCCAUGCAN \nGAT \n")
    if indexed:  # as samtools faidx writes it: blanks are bytes of a line, and no bases
        path.with_name("a.fa.fai").write_text("chr1\t23\t7\t10\t12\n")
    genes = make_genes([("chr1", 11, "+"), ("chr1", 21, "-")])
    codes = read_codes(genes, path, upstream=2, downstream=4)
    assert ["".join("ACGTN"[c] for c in row) for row in codes] == ["TGGCCA", "NATCNT"]
    assert fasta_sizes(path) == {"chr1": 23}


@pytest.mark.parametrize("indexed", [False, True])
def test_tss_beyond_the_end(indexed, tmp_path):
    path = tmp_path / "a.fa"
    path.write_text(">chr1\nACGTACGT\n")
    if indexed:
        index(path)
    with pytest.raises(InputError, match=r"1 of 2 genes .*g1 at chr1:8 of 8.*another assembly"):
        read_codes(make_genes([("chr1", 7, "+"), ("chr1", 8, "+")]), path, upstream=1, downstream=1)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"ACGT\n", r"is no FASTA .it begins with b'ACGT"),
        (b"@read\nACGT\n+\nIIII\n", "FASTQ"),
        (b"<html>", "web page"),
        (struct.pack("<I", 0x1A412743) + bytes(100), "2bit"),
        (b">chr1\nACGT\n>chr1\nAC\n", "has the sequence 'chr1' twice"),
        (b">\nACGT\n", "without a name"),
        (b">chr1\nACGT\n>chr2", "cut short: it ends within the header 'chr2'"),
        (b">chr1\nACG-T*\n", r"holds '\*', '-', which are no letters"),
        (b">chr1\nAC\x00\xff\n", "is a binary file"),
        (b">chr1\nAC\xff\n", "which are no letters"),
        (b">chr1\n" + b"MEEPQSDPSVEPPLSQETFSDLWKLLPENNV\n" * 3, "is no DNA"),
    ],
)
def test_files_that_are_no_genomes(content, text, tmp_path):
    for name, pack in (("a.fa", bytes), ("a.fa.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(content))
        with pytest.raises(InputError, match=text):
            read_codes(make_genes([("chr1", 1, "+")]), tmp_path / name, upstream=1, downstream=1)


def test_paths_that_do_not_do(genome, tmp_path):
    genes = make_genes([("chr1", 1, "+")])
    for path in (tmp_path / "nowhere.fa", tmp_path):
        with pytest.raises(InputError, match="FASTA not found"):
            read_codes(genes, path, upstream=1, downstream=1)
    cut = tmp_path / "cut.fa.gz"
    for pack in (gzip.compress, bgzip):
        cut.write_bytes(pack(as_fasta(genome))[:-200])
        with pytest.raises(InputError, match=r"cut\.fa\.gz is a truncated or damaged gzip"):
            read_codes(genes, cut, upstream=1, downstream=1)
    cut.write_bytes(gzip.compress(as_fasta(genome))[:30] + b"damaged" * 100)
    with pytest.raises(InputError, match="truncated or damaged gzip"):
        fasta_sizes(cut)
