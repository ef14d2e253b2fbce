# ruff: noqa: E501 (messages are quoted whole)
from __future__ import annotations

import gzip
import logging
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genexp_scverse import InputError
from genexp_scverse._errors import speaking_shell
from genexp_scverse.io import read_expression
from genexp_scverse.io.expression.known import FORMATS
from genexp_scverse.io.expression.levels import read_levels
from genexp_scverse.io.expression.sources import Asked

WHAT = "a table of expression (genes in rows, samples in columns)"
TABLE = "gene_id\tK562\tH1\nENSG00000000003.14\t30.5\t0\nENSG00000000005\t1\t260\n"
RSEM = (
    "gene_id\ttranscript_id(s)\tlength\teffective_length\texpected_count\tTPM\tFPKM\n"
    "ENSG00000000003.14\tENST1,ENST2\t2000.50\t1900.10\t120.75\t10.50\t30.25\n"
    "ENSG00000000005.5\tENST3\t900.00\t800.00\t40.00\t0.00\t45.75\n"
)
GCT = (
    "#1.2\n2\t2\nName\tDescription\tGTEX-1\tGTEX-2\nENSG00000000003.14\tTSPAN6\t27.5\t3\n"
    "ENSG00000000005.5\tTNMD\t0.5\t40\n"
)


@pytest.fixture
def write(tmp_path):
    def write(text, name="expression.tsv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def fails(write):
    """Read a text and give the message of the error, with the path as PATH."""

    def fails(text, name="expression.tsv", unit="tpm"):
        path = write(text, name)
        with pytest.raises(InputError) as error:
            read_expression(path, unit=unit)
        return str(error.value).replace(str(path), "PATH")

    return fails


def message(source, unit="tpm"):
    with pytest.raises(InputError) as error:
        read_expression(source, unit=unit)
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.replace("\t", ","),
        TABLE.replace("\n", "\r\n"),
        "# made by hand\n" + TABLE,
        TABLE.replace("gene_id\t", ""),  # R's write.table
        TABLE.replace("gene_id", ""),  # pandas' to_csv of an index without name
        TABLE.replace("gene_id", "Gene"),
        TABLE.replace("\n", "\t\n").replace("H1\t\n", "H1\n"),  # Roadmap's delimiter at the end of rows
        TABLE.replace("\n", "\t\n"),
        b"\xef\xbb\xbf" + TABLE.encode(),
        gzip.compress(TABLE.encode(), mtime=0),
    ],
)
def test_tables(write, text):
    expression = read_expression(write(text), unit={"K562": "tpm", "H1": "counts"})
    assert expression.index.name == "gene_id"
    assert expression.index.tolist() == ["ENSG00000000003", "ENSG00000000005"]
    assert expression.columns.tolist() == ["K562", "H1"]
    np.testing.assert_array_equal(expression, [[30.5, 0], [1, 260]])
    assert (expression.dtypes == np.float32).all()
    assert expression.attrs["unit"] == {"K562": "tpm", "H1": "counts"}


G = "ENSG0000000000"


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("symbol\tgene_id\tLength\tremark\tK562\nA\tg1\t900\tx\t30\nB\tg2\t800\ty\t7\n", "tpm", {"K562": [30, 7]}),
        (",gene_id,K562\n0,g1,1.5\n1,g2,7\n", "tpm", {"K562": [1.5, 7]}),
        ("Unnamed: 0,gene_id,K562\n0,g1,1.5\n1,g2,7\n", "tpm", {"K562": [1.5, 7]}),
        (",gene_name,K562\n0,g1,1.5\n1,g2,7\n", "tpm", {"K562": [1.5, 7]}),
        ('"gene_id" "K562"\n"1" "g1" 1.5\n"2" "g2" 7\n', "tpm", {"K562": [1.5, 7]}),
        ('"","K562"\n"g1",1.5\n"g2",7\n', "tpm", {"K562": [1.5, 7]}),
        (
            "Gene stable ID\tGene start (bp)\tGene % GC content\tNCBI gene (formerly Entrezgene) ID\tChromosome/scaffold name\tK562\n"
            "g1\t100\t41.5\t7105\t1\t1.5\ng2\t200\t40\t64102\tX\t7\n",
            "tpm",
            {"K562": [1.5, 7]},
        ),
        (
            "gene_id\tstart.position\tCONF_LO\tpadj\tK562\ng1\t5\t1\t0.1\t1.5\ng2\t6\t1\t0.1\t7\n",
            "log",
            {"K562": [1.5, 7]},
        ),
        ("gene_id\tTPM\tcount\ng1\t1.5\t100\ng2\t7\t200\n", "tpm", {"TPM": [1.5, 7]}),
        ("gene_id\tTPM\tcount\ng1\t1.5\t100\ng2\t7\t200\n", "counts", {"count": [100, 200]}),
        (
            "gene_id\tA_TPM\tA_counts\tB_TPM\tB_counts\ng1\t1.5\t100\t3\t50\ng2\t7\t200\t4\t60\n",
            "tpm",
            {"A": [1.5, 7], "B": [3, 4]},
        ),
        ("gene_id\tA_TPM\tB_TPM\ng1\t1.5\t3\ng2\t7\t4\n", "tpm", {"A_TPM": [1.5, 7], "B_TPM": [3, 4]}),
        ("gene_id\tfpkm\ng1\t1.5\ng2\t7\n", "fpkm", {"fpkm": [1.5, 7]}),
        ("gene_id\tmean\ng1\t1.5\ng2\t7\n", "tpm", {"mean": [1.5, 7]}),
        ("gene_id\tA_mean\tB_mean\ng1\t1.5\t3\ng2\t7\t4\n", "tpm", {"A_mean": [1.5, 7], "B_mean": [3, 4]}),
        # ids behind the samples
        ("K562\tH1\tsymbol\n5.5\t6\tg1\n0\t2\tg2\n", "tpm", {"K562": [5.5, 0], "H1": [6, 2]}),
        ("gene_id\tmean\tK562\ng1\t1.5\t3\ng2\t7\t4\n", {"K562": "tpm"}, {"K562": [3, 4]}),
        ("gene_id\tlength\tK562\ng1\t1.5\t3\ng2\t7\t4\n", {"length": "tpm"}, {"length": [1.5, 7]}),
    ],
)
def test_which_columns_are_samples(write, caplog, text, unit, expected):
    caplog.set_level(logging.INFO)
    expression = read_expression(write(text), unit=unit)
    assert expression.index.tolist() == ["g1", "g2"]
    assert expression.to_dict("list") == expected
    if expression.shape[1] + 2 < text.split("\n")[0].count("\t"):
        assert "columns that are no samples are left out" in caplog.text


def numbers(n, first=1):
    return range(first, n + first)


@pytest.mark.parametrize(
    ("frame", "doubtful", "fix"),
    [
        ({"mean": [1.5, 7], "K562": [3, 4], "H1": [1, 2]}, "'mean'", "columns=['K562', 'H1']"),
        ({"A_TPM": [1.5, 7], "K562": [3, 4]}, "'A_TPM'", "columns=['K562']"),
        ({"A_TPM": [1.5, 7], "A_fpkm": [3, 4], "A_cpm": [3, 4]}, "'A_TPM', 'A_fpkm', 'A_cpm'", "columns=['A_TPM']"),
        ({"ncbi.nr": numbers(1000, 7105), "K562": [0.5] * 1000}, "'ncbi.nr'", "columns=['K562']"),
        ({"Copies": [1, 1], "K562/ cage TPM": [3, 4], "note": [np.nan] * 2}, "'K562/ cage TPM'", "columns=['Copies']"),
        (
            {"A_mean": [3, 4], "A_sd": [1, 1], "B_mean": [3, 4]},
            "'A_mean', 'A_sd', 'B_mean'",
            "columns=['A_mean', 'B_mean']",
        ),
        ({"WT_1": [3, 4], "WT_2": [1, 1], "WT.Mean": [2, 2.5]}, "'WT.Mean'", "columns=['WT_1', 'WT_2']"),
        ({"note": [np.nan] * 2, "A_TPM": [3, 4]}, "'A_TPM'", "columns=['A_TPM']"),
    ],
)
def test_what_cannot_be_told_is_asked(write, frame, doubtful, fix):
    frame = pd.DataFrame(frame)
    frame.index = [f"g{i}" for i in range(len(frame))]
    path = write(frame.to_csv(sep="\t"))
    asked = f"PATH has columns of which it is not clear whether they are samples ({doubtful}): name those that are, as in {fix}"
    for source in (path, frame):
        unit = "cage"
        assert message(source, unit) == asked.replace("PATH", str(path) if source is path else "the DataFrame")
        column = fix.split("'")[1]
        assert read_expression(source, unit=unit, columns=[column]).columns.tolist() == [column]
        renamed = read_expression(source, unit=unit, columns={"mine": column})
        np.testing.assert_array_equal(renamed["mine"], frame[column])
        with speaking_shell({}):
            assert message(source, unit).endswith(
                "as in --columns " + fix[len("columns=[") : -1].replace("'", "").replace(" ", "")
            )


def test_columns_of_the_unit_are_advised(fails):
    text = "gene_id\tCopies\tK562/ FPKM\tH1/ FPKM\ng1\t1\t5.5\t3\ng2\t1\t0\t3\n"
    assert fails(text, unit="fpkm").endswith("as in columns=['K562/ FPKM', 'H1/ FPKM']")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"Gene\tGene name\tTissue\tTPM\tnTPM\n{G}003\tTSPAN6\tliver\t3\t1.5\n{G}003\tTSPAN6\tbrain\t2\t7\n",
            "PATH has a row for each gene and Tissue ('liver', 'brain'): give a column for each, as by pivot(index='Gene', "
            "columns='Tissue', values='TPM') of pandas",
        ),
        (
            ",TSPAN6 (7105),TNMD (64102)\nACH-001113,4.33,0\nACH-001289,4.5,0.58\n",
            "PATH has gene ids where samples belong ('TSPAN6 (7105)', 'TNMD (64102)'): give genes in rows (.T turns it)",
        ),
        # cells of one gene in several rows, and replicates in brackets, are neither
        ("gene_id\tremark\tK562\ng1\ta\t1\ng1\ta\t2\ng2\tb\t3\n", "1 gene ids of PATH occur more than once ('g1'): keep or sum"),
    ],
)  # fmt: skip
def test_tables_of_another_shape(fails, text, said):
    assert fails(text, unit="log").startswith(said)


def test_samples_of_the_sheet_in_rows(write):
    asked = Asked(unit="tpm", wanted=["K562", "H1"])
    path = write("sample,TP53,BRCA1\nK562,1.5,2\nHeLa,3,2\n")
    for source in (path, pd.read_csv(path, index_col=0)):
        with pytest.raises(
            InputError, match=r"has samples of the sheet where genes belong \('K562'\): give genes in rows"
        ):
            read_levels(source, asked)


def test_ids_that_a_spreadsheet_made_dates(write, caplog):
    text = "gene\tK562 (1)\n" + "".join(f"{name}\t30\n" for name in ("1-Mar", "Sep-02", "sep-1", "NKX2-5", "TP53"))
    assert len(read_expression(write(text), unit="tpm")) == 5
    assert "2 gene ids are dates ('1-Mar', 'Sep-02'), as a spreadsheet makes of names such as MARCH1" in caplog.text


def test_columns_that_are_not_there(write):
    path = write(TABLE)
    with pytest.raises(
        InputError, match=r"there is no column 'K563' in .*tsv: it has 'K562', 'H1'; did you mean 'K562'\?"
    ):
        read_expression(path, unit="tpm", columns=["K563"])
    with pytest.raises(InputError, match=r"columns= names no column"):
        read_expression(path, unit="tpm", columns=[])


@pytest.mark.parametrize(
    ("rows", "unit", "values"),
    [
        (["1,234.5\t2", "1,112.5\t3"], "tpm", [[1234.5, 2], [1112.5, 3]]),
        (["1.234,5\t1.000", "7\t0,5"], "tpm", [[1234.5, 1000], [7, 0.5]]),
        (["0,5\t2", "1,234\t3"], "tpm", [[0.5, 2], [1.234, 3]]),
        (["1,234\t2", "12\t10,001"], "counts", [[1234, 2], [12, 10001]]),
        (["1 234\t2", "12\t10 001"], "counts", [[1234, 2], [12, 10001]]),
        (["NA\t2,5", "1,5\t"], "tpm", [[np.nan, 2.5], [1.5, np.nan]]),
        (["1e-3\t2", "5E2\t.5"], "tpm", [[0.001, 2], [500, 0.5]]),
    ],
)
def test_values_in_the_writing_of_a_country(write, caplog, rows, unit, values):
    caplog.set_level(logging.INFO)
    text = "gene_id\tK562\tH1\n" + "".join(f"g{i}\t{row}\n" for i, row in enumerate(rows))
    np.testing.assert_array_equal(read_expression(write(text), unit=unit), np.float32(values))
    assert ("numbers are written as" in caplog.text) == ("," in text or " 0" in text or " 2" in text)
    semicolons = text.replace("\t", ";")
    np.testing.assert_array_equal(read_expression(write(semicolons), unit=unit), np.float32(values))


def test_rows_without_id_and_values_beside_numbers_of_a_country(write):
    path = write('gene_id,K562,H1\ng1,"1,234.5",2.5\n,NA,NA\ng2,7,1\n,,\n', "a.csv")
    assert read_expression(path, unit="tpm").to_dict() == {"K562": {"g1": 1234.5, "g2": 7}, "H1": {"g1": 2.5, "g2": 1}}


@pytest.mark.parametrize("value", ["<0.1", "#N/A", "1.5*", "12%", "1,2,3", "0x1F", "1_000", "5,5,5", "1.2.3", "- 5"])
def test_a_value_that_cannot_be_read_is_no_missing_sample(fails, value):
    for rows in ([value, value], ["5", value]):
        text = "gene_id\tK562\tH1\n" + "".join(f"g{i}\t{row}\t1\n" for i, row in enumerate(rows))
        assert f"sample 'K562' of PATH has the value {value!r} (gene 'g{rows.index(value)}')" in fails(text)


def test_a_text_column_that_is_asked_for_is_an_error(fails, write):
    text = "gene_id\tK562\tH1\ng1\thigh\t1\ng2\tlow\t2\n"
    assert "sample 'K562' of PATH has the value 'high'" in fails(text, unit={"K562": "tpm"})
    assert read_expression(write(text), unit="tpm").columns.tolist() == ["H1"]


def test_rows_that_are_no_genes_are_left_out_and_counted(write, caplog):
    caplog.set_level(logging.INFO)
    rows = [
        "N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous", "__no_feature", "__alignment_not_unique",
        "ERCC-00002", "gSpikein_ERCC-00003", "", "no_feature", "too_low_aQual", "_total_no_feature", "ENSG00000182378.15_PAR_Y", "ENSGR0000182378.8",
    ]  # fmt: skip
    genes = ["ENSG00000182378.15", "ERCC1", "NA", "15S_rRNA", "YDL247W-A", "AC012.1", "007"]
    text = "gene_id\tK562\n" + "".join(f"{name}\t{i}\n" for i, name in enumerate([*rows, *genes]))
    expression = read_expression(write(text), unit="counts")
    assert expression.index.tolist() == ["ENSG00000182378", *genes[1:]]
    assert expression["K562"].tolist() == [14, 15, 16, 17, 18, 19, 20]
    assert (
        "12 rows that are no genes are left out ('N_unmapped', 'N_multimapping', 'N_noFeature', ... (12" in caplog.text
    )
    assert (
        "2 copies on chrY of pseudo-autosomal genes are left out ('ENSG00000182378.15_PAR_Y', 'ENSGR0000182378.8')"
    ) in caplog.text


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_known_formats(fmt, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for folder, pack in ((tmp_path, bytes), (tmp_path / "packed", gzip.compress)):
        path = folder / (fmt.example.file + (".gz" if pack is gzip.compress else ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(fmt.example.text.encode()))
        if fmt.refused:
            assert message(path, None) == f"{path} {fmt.refused}"
            continue
        for i, (unit, samples) in enumerate(fmt.example.read.items()):
            # the unit need not be given where the format tells it, nor the first of several
            for asked in [unit, unit.upper()] + ([None] if i == 0 and "" not in fmt.take else []):
                expression = read_expression(path, unit=asked)
                expected = dict(samples)
                assert expression.columns.tolist() == list(expected)
                assert expression.index.tolist() == fmt.example.genes
                assert expression.attrs["unit"] == dict.fromkeys(expected, unit)
                np.testing.assert_array_equal(expression.to_numpy().T, np.float32(list(expected.values())))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and "not whole numbers" in r.getMessage()]


def test_the_guide_lists_the_known_formats():
    page = (Path(__file__).parents[2] / "docs" / "user_guide" / "files.md").read_text(encoding="utf-8")
    missing = [fmt.row() for fmt in FORMATS if fmt.row() not in page]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("file", "sample"),
    [
        ("ENCFF001.genes.results", "ENCFF001"),
        ("ENCFF001.tsv", "ENCFF001"),
        ("ENCFF001.genes.results.gz", "ENCFF001"),
    ],
)
def test_rsem_is_named_as_its_file(write, caplog, file, sample):
    caplog.set_level(logging.INFO)
    expression = read_expression(write(gzip.compress(RSEM.encode()) if file.endswith("gz") else RSEM, file))
    assert expression.columns.tolist() == [sample]
    assert "column TPM of RSEM as sample ENCFF001" in caplog.text
    by_sample = read_expression(write(RSEM, "ENCFF001.tsv"), unit={"ENCFF001": "counts"})
    np.testing.assert_array_equal(by_sample["ENCFF001"], np.float32([120.75, 40]))


@pytest.mark.parametrize(
    ("example", "unit", "said"),
    [
        ("featureCounts", "tpm", "is of featureCounts, which gives counts, not 'tpm': leave the unit out"),
        ("GCT of GTEx, TPM", "fpkm", "is of GCT of GTEx, TPM, which gives tpm, not 'fpkm': leave the unit out"),
        ("Salmon", "fpkm", "is of Salmon, which gives tpm and counts, not 'fpkm': choose one of them"),
        (
            "featureCounts",
            {"c.bam": "counts"},
            "there is no sample 'c.bam' in PATH: it has 'a.bam', 'b.bam'; did you mean 'b.bam'?",
        ),
    ],
)
def test_units_that_a_format_does_not_have(fails, example, unit, said):
    fmt = next(f for f in FORMATS if f.name == example)
    assert fails(fmt.example.text, Path(fmt.example.file).name, unit).endswith(said)


def test_logs_of_a_known_format_and_columns_of_it(write):
    text = "Geneid\tChr\tStart\tEnd\tStrand\tLength\ta.bam\ng1\tchr1\t1\t5\t+\t9\t3.5\n"
    assert read_expression(write(text), unit="log").attrs["unit"] == {"a.bam": "log"}
    gdc = next(f for f in FORMATS if "GDC" in f.name)
    path = write(gdc.example.text, gdc.example.file)
    chosen = read_expression(path, columns=["fpkm_uq_unstranded"], unit="fpkm")
    assert chosen.to_dict("list") == {"K562": np.float32([22.1, 0.06]).tolist()}
    two = read_expression(path, columns={"sense": "stranded_first", "other": "stranded_second"}, unit="counts")
    assert two.to_dict("list") == {"sense": [2000, 1], "other": [2007, 2]}
    assert read_expression(path, columns={"mine": "tpm_unstranded"}).attrs["unit"] == {"mine": "tpm"}
    star = next(f for f in FORMATS if f.name == "STAR").example
    assert read_expression(write(star.text, star.file), columns="reverse").to_dict("list") == {"K562": [29, 0]}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("quant.sf", "Name\tLength\tEffectiveLength\tTPM\tNumReads\nENST00000456328.2\t9\t8\t7\t6\n"),
        ("abundance.tsv", "target_id\tlength\teff_length\test_counts\ttpm\nNM_000014.6\t9\t8\t7\t6\n"),
        ("abundance.tsv", "target_id\tlength\teff_length\test_counts\ttpm\nFBtr0070000\t9\t8\t7\t6\n"),
        (
            "isoforms.fpkm_tracking",
            "tracking_id\tclass_code\tnearest_ref_id\tgene_id\tgene_short_name\ttss_id\tlocus\tlength\tcoverage\tFPKM\t"
            "FPKM_conf_lo\tFPKM_conf_hi\tFPKM_status\nENST01\t-\t-\tENSG01\tA\t-\tX:1-9\t-\t-\t5.5\t4.1\t6.9\tOK\n",
        ),
        ("salmon.merged.transcript_tpm.tsv", "tx\tgene_id\tS1\nENST00000456328\tENSG1\t5\n"),
    ],
)
def test_tables_of_transcripts_are_told(fails, file, text):
    assert "row per transcript" in fails(text, file, None)


@pytest.mark.parametrize(
    "text",
    [
        "gene_id\tunstranded\tsense\tanti\nN_unmapped\t1\t1\t1\nN_multimapping\t1\t1\t1\nN_noFeature\t1\t1\t1\nN_ambiguous\t1\t1\t1\ng1\t30\t1\t29\n",
        "N_unmapped\t1\t1\t1\nN_multimapping\t1\t1\t1\nN_noFeature\t1\t1\t1\nN_ambiguous\t1\t1\t1\ng1\t30\t1\t29\n",
        "gene_id\tK562\ng1\t30\n__no_feature\t5\n",
        "g1\t30\n__no_feature\t5\n",
        "__no_feature\t5\ng1\t30\n",
        "g1\tTSPAN6\t30\n__no_feature\t\t5\n",
        "gene_id\tgene_name\tK562\ng1\tTSPAN6\t30\n__no_feature\t\t5\n",
    ],
)
def test_counts_with_and_without_header(write, text):
    expression = read_expression(write(text, "K562.tsv"), unit="counts")
    assert expression.to_dict() == {"K562": {"g1": 30}}


def test_rsem_has_no_other_units(fails):
    assert fails(RSEM, "a.genes.results", unit="log") == (
        "PATH is of RSEM, which gives tpm, fpkm and counts, not 'log': choose one of them"
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_roadmap(write, pack, caplog):
    caplog.set_level(logging.INFO)
    text = "gene_id\tE000\tE003\tE004\nENSG00000000003\t23.265\t43.985\t39.413\t\nENSG00000000005\t0.872\t1.642\t0\t\n"
    expression = read_expression(write(pack(text.encode()), "57epigenomes.RPKM.pc.gz"))
    assert expression.columns.tolist() == ["E000", "E003", "E004"]
    np.testing.assert_array_equal(expression, np.float32([[23.265, 43.985, 39.413], [0.872, 1.642, 0]]))
    assert set(expression.attrs["unit"].values()) == {"rpkm"}
    assert "unit rpkm, as its format tells" in caplog.text
    assert read_expression(write(text.replace(".", ""), "57epigenomes.N.pc")).attrs["unit"]["E003"] == "counts"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GCT, "the unit of 2 of 2 samples of PATH is missing"),
        (
            GCT.replace("#1.2", "#1.4"),
            "PATH is a GCT of version 1.4, of which only 1.2 and 1.3 are read: save it as GCT 1.2 or as TSV",
        ),
        (GCT.replace("#1.2", "#1.3"), "the second line of PATH must hold four numbers, as GCT 1.3 has: get it again"),
        (GCT.replace("\n2\t", "\n3\t"), "PATH announces 3 genes but holds 2: get it again"),
        (GCT.replace("\t2\nName", "\t3\nName"), "PATH announces 3 samples but holds 2: get it again"),
        (
            GCT.replace("Description", "Text"),
            "the third line of PATH must start with Name and Description, but has 'Name', 'Text', 'GTEX-1', ... (4 in all)",
        ),
        (GCT.replace("GTEX-2", "GTEX-1"), "PATH has samples of the same name ('GTEX-1'): rename them"),
    ],
)
def test_gct_errors(fails, text, said):
    assert fails(text, "muscle.gct", unit=None).startswith(said)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_anndata_has_samples_in_obs(kind, tmp_path):
    values = np.array([[30.0, 0, 5], [1, 260, 7]])
    adata = ad.AnnData(
        kind(values),
        obs=pd.DataFrame(index=["K562", "H1"]),
        var=pd.DataFrame(index=["ENSG00000000003.1", "ENSG00000000005.2", "ERCC-00002"]),
    )
    expression = read_expression(adata, unit="tpm")
    assert expression.columns.tolist() == ["K562", "H1"]
    np.testing.assert_array_equal(expression, values[:, :2].T)
    adata.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(read_expression(tmp_path / "a.h5ad", unit="tpm"), expression)
    named = adata.copy()
    named.var["gene_ids"], named.var_names = list(adata.var_names), ["A", "B", "C"]
    pd.testing.assert_frame_equal(read_expression(named, unit="tpm"), expression)
    assert message(adata.T.copy()) == (
        "the AnnData has gene ids where samples belong ('ENSG00000000003.1', 'ENSG00000000005.2', 'ERCC-00002'): "
        "give genes in .var and samples in .obs (.T turns it)"
    )


def samples_in_obs(x, **layers):
    return ad.AnnData(
        x,
        obs=pd.DataFrame({"cell_type": ["a", "b"]}, index=["K562", "H1"]),
        var=pd.DataFrame({"symbol": ["A", "B", "C"]}, index=["g1", "g2", "g3"]),
        layers=layers,
    )


VALUES = np.array([[1.0, 2, 0], [3, 0, 5]], np.float32)


@pytest.mark.parametrize("in_layer", [False, True])
@pytest.mark.parametrize(
    "kind", [np.array, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, "dask", "dask of csr"]
)
def test_arrays_of_an_anndata(kind, in_layer, tmp_path):
    if isinstance(kind, str):
        dask = pytest.importorskip("dask.array")
        lazy = dask.from_array(VALUES, chunks=(1, 3))
        array = lazy.map_blocks(sparse.csr_matrix) if kind == "dask of csr" else lazy
    else:
        array = kind(VALUES)
    adata = samples_in_obs(None, sum=array) if in_layer else samples_in_obs(array)
    layer = "sum" if in_layer else None
    sources = [adata]
    if not isinstance(kind, str):
        adata.write_h5ad(tmp_path / "a.h5ad")
        sources += [tmp_path / "a.h5ad", ad.read_h5ad(tmp_path / "a.h5ad", backed="r")]
    for source in sources:
        expression = read_expression(source, unit="counts", layer=layer)
        assert expression.to_dict("list") == {"K562": [1, 2, 0], "H1": [3, 0, 5]}
        assert expression.index.tolist() == ["g1", "g2", "g3"]
        assert read_expression(source, unit="counts", layer=layer, columns={"mine": "H1"}).to_dict("list") == {
            "mine": [3, 0, 5]
        }
        if in_layer:
            assert message(source).endswith("has no X but the layers 'sum': choose a layer, as in layer='sum'")
            with pytest.raises(InputError, match=r"there is no layer 'som' in .*: it has 'sum'; did you mean 'sum'"):
                read_expression(source, unit="tpm", layer="som")


def test_cells_summed_by_scanpy():
    sc = pytest.importorskip("scanpy")
    cells = ad.AnnData(
        sparse.csr_matrix(np.array([[1.0, 2], [3, 4], [5, 6]], np.float32)),
        obs=pd.DataFrame({"sample": list("aba")}, index=list("xyz")),
    )
    cells.var_names = ["g1", "g2"]
    pooled = sc.get.aggregate(cells, by="sample", func=["sum", "mean"])
    assert read_expression(pooled, unit="counts", layer="sum").to_dict("list") == {"a": [6, 8], "b": [3, 4]}
    assert read_expression(pooled, unit="cage", layer="mean").to_dict("list") == {"a": [3, 4], "b": [3, 4]}
    assert "layer='" in message(pooled)


def test_files_that_are_no_anndata(tmp_path):
    path = tmp_path / "filtered.h5ad"
    with h5py.File(path, "w") as file:
        file.create_group("matrix").create_dataset("data", data=[1, 2])
    assert message(path).startswith(f"{path} is no AnnData but a matrix of 10x Genomics: read it with scanpy")
    with h5py.File(path, "w") as file:
        file.create_dataset("values", data=[1, 2])
    assert message(path).startswith(f"{path} is no AnnData but HDF5 with 'values'")
    with h5py.File(path, "w") as file:
        file.create_group("obs")
        file.create_dataset("var", data=[1, 2])
    assert "is no whole .h5ad file (" in message(path)
    empty = ad.AnnData(obs=pd.DataFrame(index=["K562"]), var=pd.DataFrame(index=["g1"]))
    assert message(empty) == "the AnnData has no X: put the expression there"
    with pytest.raises(InputError, match="layer='sum' is for an AnnData, and the DataFrame is none: leave it out"):
        read_expression(frame_of([1.5]), unit="tpm", layer="sum")


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        ([7105, 64102], ["7105", "64102"]),
        ([7105.0, 64102.0], ["7105", "64102"]),
        (["7105", "64102"], ["7105", "64102"]),
        (pd.Index([7105, 64102], name="entrez"), ["7105", "64102"]),
    ],
)
def test_numbers_of_genes_as_index(index, ids):
    frame = pd.DataFrame({"K562": [1.5, 2]}, index=index)
    assert read_expression(frame, unit="tpm").index.tolist() == ids
    read_back = pd.DataFrame({"Gene.ID": index, "K562": [1.5, 2]})
    assert read_expression(read_back, unit="tpm").to_dict() == {"K562": dict(zip(ids, [1.5, 2], strict=True))}


def test_data_frame():
    frame = pd.DataFrame({"K562": [30, 1]}, index=["ENSG00000000003.1", "g2"])
    expression = read_expression(frame, unit="counts")
    assert expression.index.tolist() == ["ENSG00000000003", "g2"]
    assert frame.index.tolist() == ["ENSG00000000003.1", "g2"]
    again = read_expression(frame.rename_axis("gene_id").reset_index(), unit="counts")
    pd.testing.assert_frame_equal(again, expression)
    assert read_expression(expression).attrs["unit"] == {"K562": "counts"}
    assert message(frame.reset_index(drop=True)) == (
        "the DataFrame has no gene ids: give it rows, and gene ids as index or as column gene_id"
    )
    assert message(frame.T.rename(columns={"g2": "ENSG00000000005"})) == (
        "the DataFrame has gene ids where samples belong ('ENSG00000000003.1', 'ENSG00000000005'): give genes in "
        "rows (.T turns it)"
    )
    twice = pd.concat([frame, frame], axis=1)
    assert message(twice) == "the DataFrame has samples of the same name ('K562'): rename them"


LEVELS = "tpm, rpkm, fpkm, counts, cage, log"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (
            None,
            "the unit of 2 of 2 samples of PATH is missing ('K562', 'H1'): give it for all, as in unit='tpm', or by "
            "sample, as in unit={'K562': 'tpm'} (one of " + LEVELS + ")",
        ),
        (
            {"K562": "tpm", "H1": "tpm", "E003": "tpm"},
            "there is no sample 'E003' in PATH: it has 'K562', 'H1'",
        ),
        ("cpm", "unit 'cpm' is not known: give one of " + LEVELS),
        ("label", "unit 'label' is not known: give one of " + LEVELS + "; a label is no level of expression"),
    ],
)
def test_units_errors(fails, unit, expected):
    assert fails(TABLE, unit=unit) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            TABLE + "ENSG00000000003.15\t1\t1\n",
            "1 gene ids of PATH occur more than once ('ENSG00000000003'): keep or sum the rows of each",
        ),
        (TABLE.replace("H1", "K562"), "PATH has samples of the same name ('K562'): rename them"),
        (
            TABLE.replace("260", "high"),
            "sample 'H1' of PATH has the value 'high' (gene 'ENSG00000000005'), which is no number: write numbers without "
            "separators of thousands and decimals with a point; if 'H1' is no sample, name those that are with columns=",
        ),
        (
            "gene_id\tK562\ng1\t1,500\ng2\t2,250\n",
            "sample 'K562' of PATH has the value '1,500' (gene 'g1'), which may be 1500 or 1.5: write numbers without "
            "separators of thousands and decimals with a point",
        ),
        (
            TABLE.replace("260", "1e39"),
            "1 values of sample 'H1' of PATH are too large for float32 (1e+39 of gene 'ENSG00000000005'): give numbers "
            "below 3.4e38",
        ),
        (
            TABLE.replace("260", "-1.5"),
            "1 values of sample 'H1' of PATH are negative (-1.5 of gene 'ENSG00000000005'), which tpm cannot be: if "
            "they are logs, give the unit log",
        ),
        (
            TABLE.replace("260", "inf"),
            "1 values of sample 'H1' of PATH are infinite ('ENSG00000000005'): give numbers, or leave them empty (a "
            "log needs a pseudo-count)",
        ),
        (
            TABLE.replace("260", "1e2147483648"),
            "1 values of sample 'H1' of PATH are infinite ('ENSG00000000005'): give numbers, or leave them empty (a log "
            "needs a pseudo-count)",
        ),
        (
            TABLE.replace("260", "1e4294967297"),
            "1 values of sample 'H1' of PATH are infinite ('ENSG00000000005'): give numbers, or leave them empty (a log "
            "needs a pseudo-count)",
        ),
        (
            "gene_id\tK562\tH1\ng1\t1\tNA\ng2\t2\t\n",
            "sample 'H1' of PATH has no value at all: remove it",
        ),
        (
            "gene_id\tgene_name\ng1\tA\n",
            "PATH has no column of numbers: it has 'gene_name'",
        ),
        (
            "N_unmapped\t5\t5\t5\nENSG00000000003\t6\t7\t8\n",
            r"PATH has no header (its first line is 'N_unmapped\t5\t5\t5'): put a line with gene_id and the names of "
            "the samples above it",
        ),
        (
            "g1\tTSPAN6\tX\t7.5\t8\ng2\tTNMD\tX\t0.5\t1\n",
            r"PATH has no header (its first line is 'g1\tTSPAN6\tX\t7.5\t8'): put a line with gene_id and the names of "
            "the samples above it",
        ),
        (
            "gene_id\tK562\n__no_feature\t5\n",
            "no gene is left of the 1 rows of PATH ('__no_feature'): give gene ids in the first column",
        ),
        (
            "H1\tK562\tgene_id\nENSG00000000003\t2\t5.5\nENSG00000000005\t3\t1.25\n",
            "PATH has fractions where its gene ids should be ('5.5', '1.25'): put the names of its columns above what they name",
        ),
        ("gene_id\tK562\t\tH1\ng1\t1\t2\t3\n", "column 3 of PATH has no name: give every sample one"),
        ("gene_id\ng1\n", "PATH has one column only ('gene_id'): give a table delimited by tabs or commas"),
        ("gene_id\tK562\n", f"PATH has a header and no rows: give {WHAT}"),
        (
            "sample\tENSG00000000003\tENSG00000000005\nK562\t1\t2\n",
            "PATH has gene ids where samples belong ('ENSG00000000003', 'ENSG00000000005'): give genes in rows (.T "
            "turns it)",
        ),
        (
            "gene_id\ta\tb\ng1\t1\t2\t7\t8\n",
            "the first row of PATH has 5 fields and the header 3: give every row the fields of the header",
        ),
        (
            "gene_id\ta\tb\ng1\t1\t2\t\ng2\t3\t4\t9\n",
            "1 rows of PATH have more values than the header has names (row 2): give every row the fields of the header",
        ),
        (b"", f"PATH is empty: give {WHAT}"),
        (b"\x26\xfc\x8f\x88\x04\x00\x0a\x00", f"PATH is a binary file: give {WHAT}"),
    ],
)
def test_table_errors(fails, text, expected):
    assert fails(text) == expected


def test_a_row_with_more_fields_than_the_others(fails):
    error = fails(TABLE + "g3\t1\t2\t3\n")
    assert error.startswith("PATH is no regular table (")
    assert error.endswith("): give every row the fields of the header")


def test_truncated_gzip_and_missing_file(fails, tmp_path):
    rng = np.random.default_rng(0)
    text = "gene_id\tK562\n" + "".join(f"g{i}\t{v}\n" for i, v in enumerate(rng.random(20_000)))
    whole = gzip.compress(text.encode())
    error = fails(whole[: len(whole) // 2])
    assert error.startswith("PATH is a truncated or damaged gzip file (")
    assert error.endswith("): copy or download it again")
    assert message(tmp_path / "none.tsv") == f"{tmp_path / 'none.tsv'} does not exist: give the path of {WHAT}"
    (tmp_path / "a.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert message(tmp_path / "a.h5ad").startswith(f"{tmp_path / 'a.h5ad'} is no whole .h5ad file (")
    assert message(tmp_path / "none.h5ad").startswith(f"{tmp_path / 'none.h5ad'} does not exist")


def frame_of(values):
    return pd.DataFrame({"s": values}, index=[f"g{i}" for i in range(len(values))])


@pytest.mark.parametrize(
    ("values", "unit", "warning"),
    [
        (np.linspace(0, 12, 200), "tpm", "no value is above 25, which looks like logs already; is the unit log?"),
        (np.linspace(0, 12, 200), "counts", "no value is above 25, which looks like logs already; is the unit log?"),
        (np.linspace(0, 12, 200), "log", None),
        (np.linspace(-9, 31, 200), "log", "values above 30 do not look like logs; is the unit tpm, fpkm or counts?"),
        (np.full(200, 6000.0), "tpm", "the values sum to more than a million, which TPM cannot; is the unit fpkm or counts?"),
        (np.full(200, 5000.0), "tpm", None),
        (np.full(200, 1000.0), "tpm", None),
        (np.full(200, 6000.0), "fpkm", None),
        (np.full(200, 60.5), "counts", "counts that are not whole numbers; expected counts may be, normalised ones are no counts"),
        (np.full(200, 60.0), "counts", None),
        (np.zeros(5), "rpkm", "all values are 0"),
        (np.ones(5), "rpkm", None),
    ],
)  # fmt: skip
def test_values_that_contradict_the_unit(caplog, values, unit, warning):
    read_expression(frame_of(values), unit=unit)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ([f"the DataFrame: 's ({unit})': {warning}"] if warning else [])


def test_log_may_be_negative():
    assert read_expression(frame_of([-2.5, 3]), unit="log")["s"].tolist() == [-2.5, 3]


def test_roadmap_peaks(shared_data):
    path = shared_data / "roadmap_peaks_hg19" / "expression.tsv"
    expression = read_expression(path, unit={"K562": "log", "H1": "counts"})
    table = pd.read_csv(path, sep="\t", index_col=0)
    assert expression.index.tolist() == table.index.tolist()
    np.testing.assert_array_equal(expression, table.to_numpy(np.float32))


def test_k562_logs_are_known_as_such(shared_data, caplog):
    path = shared_data / "k562_elements_hg38" / "expression.tsv"
    assert len(read_expression(path, unit="log")) == 13711
    assert "no value is above 25" not in caplog.text
    read_expression(path, unit="tpm")
    assert "'K562 (tpm)': no value is above 25, which looks like logs already; is the unit log?" in caplog.text


def test_yeast(shared_data, caplog):
    caplog.set_level(logging.INFO)
    path = shared_data / "yeast" / "rna_16_times_fpkm.tsv.gz"
    expression = read_expression(path, unit="fpkm")
    table = pd.read_csv(path, sep="\t", index_col=0)
    assert expression.shape == table.shape == (len(table), 16)
    assert "15S_rRNA" in expression.index
    np.testing.assert_array_equal(expression, table.to_numpy(np.float32))
    second = read_expression(shared_data / "yeast" / "rna_second_study_fpkm.tsv.gz", unit="fpkm")
    assert second.columns.tolist() == ["fpkm"]
    assert second.loc["YAL001C", "fpkm"] == np.float32(28.7545)
    assert "columns that are no samples are left out: 'gene_name'" in caplog.text


def test_a_sample_named_as_a_probability_is_refused():
    table = pd.DataFrame({"K562": [1.0], "K562:prob": [2.0]}, index=["g1"])
    with pytest.raises(InputError, match=r"names the sample 'K562:prob', but ':prob' marks .*rename it"):
        read_expression(table, unit="tpm")
