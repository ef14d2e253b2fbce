"""Every reader of text sees the same lines, whatever ends them, and refuses what is no text in one sentence."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.io import plain_text
from genexp_scverse.io.plain_text import open_text

GENES = pd.DataFrame({"chrom": ["chr1"], "tss": [3], "strand": ["+"]}, index=["g1"])
GTF = '#!genome\nchr1\tX\tgene\t101\t900\t.\t+\t.\tgene_id "g1"; gene_type "protein_coding";\n'
DEEPCHROME = "".join(f"000003,{i},0,1,0,{i},0,1\n" for i in range(1, 101))

# reader -> (name of the file, its text, how it is read into what pandas or numpy compares)
READERS = {
    "GTF": ("a.gtf", GTF + GTF.replace("g1", "g2").replace("+", "-"), gx.io.read_genes),
    "GFF3": ("a.gff3", "##gff-version 3\nchr1\tX\tgene\t1\t9\t.\t-\t.\tID=g1;Name=a b\n", gx.io.read_genes),
    "BED of genes": ("a.bed", "chr1\t0\t9\tg1\t0\t+\nchr1\t5\t9\tg2\t0\t-\n", gx.io.read_genes),
    "table of genes": ("a.tsv", "gene_id\tchrom\ttss\tstrand\ng1\tchr1\t7\t+\n", gx.io.read_genes),
    "expression": ("rna.csv", "gene_id,K562\ng1,1.5\ng2,2.25\n", lambda p: gx.io.read_expression(p, unit="tpm").values),
    "gene features": ("f.csv", "gene_id,half_life\ng1,1.5\ng2,2.25\n", gx.io.read_gene_features),
    "narrowPeak": ("a.narrowPeak", "chr1\t10\t20\tp\t5\t.\t1.5\t-1\t-1\t3\n", gx.io.read_intervals),
    "loops": ("a.bedpe", "chr1\t10\t20\tchr1\t50\t60\tl\t4.5\nchr1\t10\t20\tchr1\t70\t80\tl\t2\n", gx.io.read_contacts),
    "FASTA": ("a.fa", ">chr1 x\nACGT\nTTNA\n>2\nGG\n", lambda p: gx.io.read_codes(GENES, p, upstream=3, downstream=5)),
    "lengths of a FASTA": ("a.fa", ">chr1 x\nACGT\nTT\n>chr2\nGG\n", lambda p: pd.Series(gx.io.fasta_sizes(p))),
    "DeepChrome": ("train.csv", DEEPCHROME, lambda p: gx.io.read_deepchrome(p, sample="E3")["chromatin"].obsm["bins"]),
    "sheet": ("s.tsv", "sample\tmark\tpath\nK562\tH3K4me3\ttrack.bw\n", gx.io.read_sheet),
}  # fmt: skip

FORMS = {
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "CR": lambda text: text.replace(b"\n", b"\r"),
    "CR without the last": lambda text: text.replace(b"\n", b"\r")[:-1],
    "byte-order mark": lambda text: b"\xef\xbb\xbf" + text,
    "all of it, gzip": lambda text: gzip.compress(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")),
}


@pytest.mark.parametrize("reader", READERS)
def test_line_ends_and_byte_order_marks_change_nothing(reader, tmp_path):
    name, text, read = READERS[reader]
    path = tmp_path / name
    (tmp_path / "track.bw").touch()
    path.write_text(text)
    expected = read(path)
    for form, change in FORMS.items():
        path.write_bytes(change(text.encode()))
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(read(path), expected, form)
        else:
            (pd.testing.assert_frame_equal if expected.ndim == 2 else pd.testing.assert_series_equal)(
                read(path), expected, obj=form
            )


@pytest.mark.parametrize("reader", READERS)
def test_pipes_empty_files_and_web_pages(reader, tmp_path):
    name, _, read = READERS[reader]
    path = tmp_path / name
    for content, said in (
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"\xef\xbb\xbf\r\n \r\n", "is empty"),
        (b"\n<!DOCTYPE html>\n<html>", "web page"),
        (b"\0" * 100, "binary"),
    ):
        path.write_bytes(content)
        with pytest.raises(gx.InputError, match=said) as caught:
            read(path)
        assert str(path) in str(caught.value)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(gx.InputError, match="is a pipe or a device, which can be read only once: save"):
        read(path)


def test_line_ends_where_pieces_of_the_file_meet(tmp_path, monkeypatch):
    """What Python's own universal newlines give, at random and with small pieces."""
    monkeypatch.setattr(plain_text, "_CHUNK", 7)
    rng = np.random.default_rng(0)
    path = tmp_path / "a.txt"
    for n in (1, 2, 50, 4094, 4095, 4096, 4097, 9000):
        text = bytes(rng.choice([*b"\r\r\n\nab"], n).tolist()) + b"a"
        path.write_bytes(b"a" + text)
        with open_text(path, what="text") as handle, path.open(newline=None) as expected:
            assert [line.decode() for line in handle] == list(expected)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"a" * (2**26 + 2**21), 1), "has a line of more than 64 MiB"),
        (b"g1\tchr1\n" * 2**18 + b"\0", "holds a zero byte"),
        (gzip.compress(b"a\n" * 2**20)[:-9], "truncated or damaged gzip"),
    ],
)
def test_what_no_text_holds_is_refused_on_the_way(content, said, tmp_path):
    path = tmp_path / "genes.txt"
    path.write_bytes(content)
    with pytest.raises(gx.InputError, match=said), open_text(path, what="text") as handle:
        for _ in handle:
            pass
    # pandas' parser hands the sentence on
    with pytest.raises(gx.InputError, match=said), open_text(path, what="text") as handle:
        pd.read_csv(handle, sep="\t", header=None)


def test_a_gzip_that_unpacks_to_far_more_than_text_does(tmp_path, monkeypatch):
    path = tmp_path / "genes.gtf.gz"
    path.write_bytes(gzip.compress(b"#" * 2**23))
    assert path.stat().st_size < 2**23 / 500
    with open_text(path, what="text") as handle:
        assert len(handle.read()) == 2**23
    monkeypatch.setattr(plain_text, "_UNPACKED", 2**20)
    for read in (gx.io.read_genes, gx.io.read_intervals):
        with pytest.raises(gx.InputError, match=r"genes\.gtf\.gz unpacks to more than 500 times its size"):
            read(path)
    path.write_bytes(gzip.compress(b">chr1\n" + b"N" * 2**23))
    with pytest.raises(gx.InputError, match="unpacks to more than 500 times its size"):
        gx.io.fasta_sizes(path)


def test_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.gtf").write_text(GTF)
    (tmp_path / "a.fa").write_text(">chr1\nACGTAC\n")
    assert gx.io.read_genes("~/a.gtf").index.tolist() == ["g1"]
    assert gx.io.fasta_sizes("~/a.fa") == {"chr1": 6}
    assert gx.io.read_codes(GENES, "~/a.fa", upstream=1, downstream=1).tolist() == [[2, 3]]


def test_a_name_that_is_too_long_is_said():
    with pytest.raises(gx.InputError, match=r"cannot be looked up \(File name too long\)"):
        gx.io.read_genes("a" * 300)


def test_a_pipe_is_no_bigwig(tmp_path):
    os.mkfifo(tmp_path / "a.bigWig")
    with pytest.raises(gx.InputError, match="is a pipe or a device"):
        gx.io.check_bigwigs([tmp_path / "a.bigWig"])
