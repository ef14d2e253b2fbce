"""Which rows of a table of expression are which genes."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse._errors import speaking_shell
from genexp_scverse.io.expression.join import FORMS, join_levels
from genexp_scverse.io.expression.levels import read_levels
from genexp_scverse.io.expression.sources import Asked
from genexp_scverse.io.ids import IdSet

N = 6


def genes(ids="g{}", every_id=None, **columns):
    table = pd.DataFrame({name: [text.format(i) for i in range(N)] for name, text in columns.items()})
    table.index = pd.Index([ids.format(i) for i in range(N)], name="gene_id")
    table["chrom"] = "chr1"
    if every_id:
        table.attrs["every_id"] = IdSet(every_id)
    return table


def rows(ids, order=range(N), **columns):
    """Levels that say which gene they are of: 10, 11, ..."""
    frame = pd.DataFrame({name: [text.format(i) for i in order] for name, text in columns.items()})
    frame["K562"] = [10.0 + i for i in order]
    frame.index = [ids.format(i) for i in order]
    return read_levels(frame, Asked(unit="cage"))


@pytest.mark.parametrize(
    ("annotation", "table", "by"),
    [
        (genes(gene_name="SYM{}"), rows("SYM{}"), "gene_name"),
        (genes("SYM{}"), rows("ENSG0000000000{}", symbol="SYM{}"), "symbol"),
        (genes(gene_name="SYM{}"), rows("10{}", gene_name="SYM{}"), "gene_name"),
        (genes(locus_tag="AT{}"), rows("AT{}"), "locus_tag"),
        (genes(entrez_id="71{}").astype({"entrez_id": int}), rows("71{}"), "entrez_id"),
        (genes("WBGene0{}"), rows("Gene:WBGene0{}"), "no_prefix"),
        (genes("gene:WBGene0{}"), rows("WBGene0{}"), "no_prefix"),
        (genes("Potri.001G{}00.v4.1"), rows("Potri.001G{}00"), "no_version"),
        (genes("Glyma.{}"), rows("Glyma.{}.2"), None),
        (genes("MSTRG.{}"), rows("MSTRG.{}|NAME"), "before_bar"),
        (genes("ENSG0000000000{}"), rows("ENSG0000000000{0}.5_SYM{0}"), "before_bar"),
        (genes("SYM{}"), rows("MSTRG.{0}|SYM{0}"), "after_bar"),
        (genes("AT1G0{}"), rows("At1g0{}"), "any_case"),
    ],
)
def test_what_would_join_is_said_and_done_when_asked(annotation, table, by, caplog):
    with pytest.raises(InputError, match="no gene id of the annotation") as error:
        join_levels(annotation, table)
    if by is None:  # a number of a gene is no version
        assert "give both with ids of the same kind" in str(error.value)
        return
    assert f"{N} would join, which join_by='{by}' does" in str(error.value)
    with speaking_shell({}), pytest.raises(InputError, match=f"which --join-by {by} does"):
        join_levels(annotation, table)
    caplog.set_level(logging.INFO)
    joined = join_levels(annotation, table, by=by)
    assert joined.index.tolist() == annotation.index.tolist()
    assert joined["K562"].tolist() == [10, 11, 12, 13, 14, 15]
    assert joined.attrs["unit"] == {"K562": "cage"}
    assert f"{N} of {N} genes have expression" in caplog.text


def test_rows_in_another_order_and_names_of_several_genes():
    annotation = genes(gene_name="SYM{}")
    annotation.loc["g1", "gene_name"] = "SYM0"
    annotation.loc["g2", "gene_name"] = ""
    joined = join_levels(annotation, rows("SYM{}", order=[5, 3, 0, 4, 2]), by="gene_name")
    assert joined["K562"].to_dict() == {"g3": 13, "g4": 14, "g5": 15}


def test_a_name_of_several_rows_joins_none():
    table = rows("ENSG0000000000{}", symbol="SYM{}")
    table.names.iloc[1, 0] = "SYM0"
    assert join_levels(genes("SYM{}"), table, by="symbol")["K562"].to_dict() == {f"SYM{i}": 10 + i for i in range(2, N)}


def test_an_unknown_name_of_genes():
    with pytest.raises(
        InputError, match=r"there is no name of genes 'gene_nam' in either file: .*did you mean 'gene_name'"
    ):
        join_levels(genes(gene_name="SYM{}"), rows("SYM{}"), by="gene_nam")
    with pytest.raises(InputError, match=r"min_joined=2 is no share: give a number from 0 to 1"):
        join_levels(genes(), rows("g{}"), least=2)


@pytest.mark.parametrize(
    ("table", "every_id", "refused"),
    [
        (rows("g{}"), None, False),
        (rows("g{}", order=[0, 1]), None, False),  # a choice of genes
        (rows("g{}", order=range(3, 50)), None, False),  # half of the genes
        (rows("g{}", order=range(4, 50)), None, True),
        (rows("g{}", order=range(4, 50)), [f"g{i}" for i in range(30)], False),  # of other biotypes
        (rows("g{}", order=range(4, 50)), [f"g{i}" for i in range(10)], True),
    ],
)
def test_files_of_strangers_are_refused(table, every_id, refused):
    annotation = genes(every_id=every_id)
    if not refused:
        assert len(join_levels(annotation, table)) == len(table.values)
        return
    with pytest.raises(
        InputError, match=r"only 2 of 6 genes .* and only \d+ of its 46 rows are genes .*min_joined=0 goes on"
    ):
        join_levels(annotation, table)
    assert len(join_levels(annotation, table, least=0)) == 46
    nothing = rows("x{}")
    with pytest.raises(InputError, match="no gene id of the annotation"):
        join_levels(annotation, nothing, least=0)


def test_a_file_of_symbols_is_built_by_name(tmp_path):
    lines = [
        f'chr1\tx\tgene\t{1000 * i + 501}\t{1000 * i + 800}\t.\t+\t.\tgene_id "ENSG0000000000{i}"; gene_name "SYM{i}"; '
        f'gene_type "{"protein_coding" if i < 4 else "lncRNA"}";'
        for i in range(8)
    ]
    (tmp_path / "genes.gtf").write_text("\n".join(lines) + "\n")
    (tmp_path / "genome.fa").write_text(">chr1\n" + 9000 * "A" + "\n")
    table = "symbol\tlength\tK562\n" + "".join(f"SYM{i}\t900\t{i + 0.5}\n" for i in (3, 2, 1, 0, 7))
    (tmp_path / "rna.tsv").write_text(table)
    files = {"genes": tmp_path / "genes.gtf", "fasta": tmp_path / "genome.fa", "expression": tmp_path / "rna.tsv"}
    window = {"upstream": 100, "downstream": 100, "unit": "tpm"}
    with pytest.raises(InputError, match=r"by gene_name of the annotation and gene_id of the table 4 would join"):
        gx.io.build_mudata(**files, **window)
    mdata = gx.io.build_mudata(**files, **window, join_by="gene_name")
    assert mdata["rna"].X.ravel().tolist() == [0.5, 1.5, 2.5, 3.5]
    chosen = gx.io.build_mudata(**files, **window, join_by="gene_name", columns={"mine": "length"})
    assert chosen["rna"].var_names.tolist() == ["mine"]
    # rows that are genes of other biotypes are no strangers
    ids = "gene_id\tK562\n" + "".join(f"ENSG0000000000{i}\t{i + 0.5}\n" for i in (0, 4, 5, 6, 7))
    (tmp_path / "rna.tsv").write_text(ids)
    values = gx.io.build_mudata(**files, **window)["rna"].X.ravel()
    np.testing.assert_array_equal(values, np.float32([0.5, np.nan, np.nan, np.nan]))


def test_the_sheet_tells_which_columns_are_samples(tmp_path):
    frame = pd.DataFrame({"mean": [1.0, 2], "length": [9.0, 8], "K562": [3.0, 4], "H1": [5.0, 6]}, index=["g1", "g2"])
    path = tmp_path / "rna.tsv"
    frame.to_csv(path, sep="\t", index_label="gene_id")
    for source in (frame, path):
        found = read_levels(source, Asked(unit="tpm", wanted={"K562"}))
        assert found.values.columns.tolist() == ["K562", "H1"]
        assert read_levels(source, Asked(unit="tpm", wanted={"length"})).values.columns.tolist()[0] == "length"
        with pytest.raises(InputError, match="the unit of 1 of 2 samples"):
            read_levels(source, Asked(unit={"K562": "tpm"}, wanted={"H1"}))


def test_forms_leave_other_ids_alone():
    ids = pd.Series(["ENSG00000000003", "YDL247W-A", "AC012.1", "HLA-A", "g1"], dtype=object)
    for name in ("no_prefix", "before_bar", "after_bar"):
        assert FORMS[name](ids).tolist() == ids.tolist()


def test_numbers_of_ncbi_join_an_annotation_of_refseq(tmp_path):
    path = tmp_path / "genes.gff3"
    line = "chr17\tRefSeq\tgene\t{}\t{}\t.\t+\t.\tID=gene-{};Dbxref=GeneID:{},HGNC:1;gene_biotype=protein_coding\n"
    held = (("TP53", 7157), ("BRCA1", 672), ("GAPDH", 2597))
    path.write_text("##gff-version 3\n" + "".join(line.format(i + 1, i + 9, *gene) for i, gene in enumerate(held)))
    annotation = gx.io.read_genes(path)
    table = read_levels(pd.DataFrame({"K562": [1, 2, 3]}, index=["672", "2597", "7157"]), Asked(unit="tpm"))
    with pytest.raises(InputError, match="by entrez_id of the annotation and gene_id of the table 3 would join"):
        join_levels(annotation, table)
    assert join_levels(annotation, table, by="entrez_id")["K562"].to_dict() == {"TP53": 3, "BRCA1": 1, "GAPDH": 2}
