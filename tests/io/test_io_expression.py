# ruff: noqa: E501 (messages are quoted whole)
from __future__ import annotations

import gzip
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genexp_scverse import InputError
from genexp_scverse.io import read_expression

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


def test_columns_that_describe_genes_are_left_out(write, caplog):
    caplog.set_level(logging.INFO)
    text = "symbol\tgene_id\tLength\tremark\tK562\nA\tg1\t900\tx\t30\nB\tg2\t800\ty\t\n"
    expression = read_expression(write(text), unit="tpm")
    assert expression.columns.tolist() == ["K562"]
    assert expression.index.tolist() == ["g1", "g2"]
    assert expression.loc["g1", "K562"] == 30 and np.isnan(expression.loc["g2", "K562"])
    assert "columns that are no samples are left out: 'symbol', 'Length', 'remark'" in caplog.text


def test_rows_that_are_no_genes_are_left_out_and_counted(write, caplog):
    caplog.set_level(logging.INFO)
    rows = [
        "N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous", "__no_feature", "__alignment_not_unique",
        "ERCC-00002", "gSpikein_ERCC-00003", "", "ENSG00000182378.15_PAR_Y", "ENSGR0000182378.8",
    ]  # fmt: skip
    genes = ["ENSG00000182378.15", "ERCC1", "NA", "15S_rRNA", "YDL247W-A", "AC012.1", "007"]
    text = "gene_id\tK562\n" + "".join(f"{name}\t{i}\n" for i, name in enumerate([*rows, *genes]))
    expression = read_expression(write(text), unit="counts")
    assert expression.index.tolist() == ["ENSG00000182378", *genes[1:]]
    assert expression["K562"].tolist() == [11, 12, 13, 14, 15, 16, 17]
    assert "9 rows that are no genes are left out ('N_unmapped', 'N_multimapping', 'N_noFeature', ... (9" in caplog.text
    assert (
        "2 copies on chrY of pseudo-autosomal genes are left out ('ENSG00000182378.15_PAR_Y', 'ENSGR0000182378.8')"
    ) in caplog.text


@pytest.mark.parametrize(
    ("unit", "values", "told"),
    [
        (None, [10.5, 0], "tpm"),
        ("tpm", [10.5, 0], "tpm"),
        ("FPKM", [30.25, 45.75], "fpkm"),
        ({"ENCFF001": "counts"}, [120.75, 40], "counts"),
    ],
)
@pytest.mark.parametrize("name", ["ENCFF001.genes.results", "ENCFF001.tsv", "ENCFF001.genes.results.gz"])
def test_rsem(write, caplog, unit, values, told, name):
    caplog.set_level(logging.INFO)
    expression = read_expression(write(RSEM, name), unit=unit)
    assert expression.columns.tolist() == ["ENCFF001"]
    np.testing.assert_array_equal(expression["ENCFF001"], np.float32(values))
    assert expression.attrs["unit"] == {"ENCFF001": told}
    assert "of RSEM as sample ENCFF001" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


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


def test_gct(write, fails):
    expression = read_expression(write(GCT, "GTEx_v8_gene_tpm.gct"))
    assert expression.attrs["unit"] == {"GTEX-1": "tpm", "GTEX-2": "tpm"}
    np.testing.assert_array_equal(expression, [[27.5, 3], [0.5, 40]])
    assert expression.index.tolist() == ["ENSG00000000003", "ENSG00000000005"]
    assert "the unit of 2 of 2 samples of PATH is missing" in fails(GCT, "muscle.gct", unit=None)
    assert fails(GCT.replace("#1.2", "#1.3")) == (
        "PATH is a GCT of version 1.3, of which only 1.2 is read: save it as GCT 1.2 or as TSV"
    )
    assert fails(GCT.replace("\n2\t", "\n3\t")) == "PATH announces 3 genes but holds 2: get it again"
    assert fails(GCT.replace("Description", "Text")) == (
        "the third line of PATH must start with Name and Description, but has 'Name', 'Text', 'GTEX-1', ... (4 in all)"
    )
    assert fails(GCT.replace("GTEX-2", "GTEX-1")) == "PATH has samples of the same name ('GTEX-1'): rename them"


def test_feature_counts(write):
    text = (
        "# Program:featureCounts v2.0.1\nGeneid\tChr\tStart\tEnd\tStrand\tLength\ta.bam\tb.bam\n"
        "g1\tchr1;chr1\t1;9\t5;12\t+;+\t9\t30\t0\ng2\tchr1\t1\t5\t+\t5\t7\t26\n"
    )
    expression = read_expression(write(text))
    assert expression.columns.tolist() == ["a.bam", "b.bam"]
    assert expression.attrs["unit"] == {"a.bam": "counts", "b.bam": "counts"}
    np.testing.assert_array_equal(expression, [[30, 0], [7, 26]])


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
    empty = ad.AnnData(obs=adata.obs, var=adata.var)
    assert message(empty) == "the AnnData has no X: put the expression there"


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
            "the unit of 2 of 2 samples of PATH is missing ('K562', 'H1'): give it for all with unit=\"tpm\" or --unit "
            'tpm, or by sample with unit={"K562": "tpm"} or --unit K562=tpm (one of ' + LEVELS + ")",
        ),
        (
            {"K562": "tpm"},
            "the unit of 1 of 2 samples of PATH is missing ('H1'): give it for all with unit=\"tpm\" or --unit tpm, or "
            'by sample with unit={"H1": "tpm"} or --unit H1=tpm (one of ' + LEVELS + ")",
        ),
        (
            {"K562": "tpm", "H1": "tpm", "E003": "tpm"},
            "unit names samples that PATH does not have ('E003'): it has 'K562', 'H1'",
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
            "1 values of sample 'H1' of PATH are no numbers ('high' of gene 'ENSG00000000005'): mend them, with a "
            "point for decimals",
        ),
        (
            "gene_id\tK562\ng1\t1,5\ng2\t2,5\n",
            "2 values of sample 'K562' of PATH are no numbers ('1,5' of gene 'g1'): mend them, with a point for "
            "decimals",
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
            "gene_id\tK562\tH1\ng1\t1\tNA\ng2\t2\t\n",
            "sample 'H1' of PATH has no value at all: remove it",
        ),
        (
            "gene_id\tgene_name\ng1\tA\n",
            "PATH has no column of numbers: it has 'gene_name'",
        ),
        (
            "__no_feature\t5\nN_unmapped\t6\n",
            r"PATH has no header (its first line is '__no_feature\t5'): put a line with gene_id and the names of the "
            "samples above it",
        ),
        (
            "N_unmapped\t5\t5\t5\nENSG00000000003\t6\t7\t8\n",
            r"PATH has no header (its first line is 'N_unmapped\t5\t5\t5'): put a line with gene_id and the names of "
            "the samples above it",
        ),
        (
            "gene_id\tK562\n__no_feature\t5\n",
            "no gene is left of the 1 rows of PATH ('__no_feature'): give gene ids in the first column",
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
