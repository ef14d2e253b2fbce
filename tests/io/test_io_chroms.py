from __future__ import annotations

import logging

import pytest

from genexp_scverse import InputError
from genexp_scverse.io import match_chroms
from genexp_scverse.io.chroms import is_scaffold, same_chrom


def match(wanted, available):
    return match_chroms(wanted, available, wanted_in="genes.gtf", available_in="H3K4me3.bigWig")


@pytest.mark.parametrize(
    ("wanted", "available"),
    [
        ("1", "chr1"),
        ("chr1", "1"),
        ("chrM", "MT"),
        ("MT", "chrM"),
        ("Mito", "chrM"),
        ("M", "chrMT"),
        ("chrX", "CHRX"),
        ("Chr2", "2"),
        ("IV", "chrIV"),
        # NCBI assembly reports: GRCh37.p13 and GRCh38.p14, GRCm38 and GRCm39, R64
        ("chr1", "NC_000001.10"),
        ("1", "NC_000001.11"),
        ("chr9", "NC_000009.12"),
        ("chr22", "NC_000022.11"),
        ("chrX", "NC_000023.11"),
        ("Y", "NC_000024.10"),
        ("MT", "NC_012920.1"),
        ("chr1", "NC_000067.6"),
        ("chr10", "NC_000076.7"),
        ("19", "NC_000085.7"),
        ("chrX", "NC_000086.8"),
        ("chrY", "NC_000087.8"),
        ("chrM", "NC_005089.1"),
        ("I", "NC_001133.9"),
        ("chrIV", "NC_001136.10"),
        ("X", "NC_001142.9"),
        ("XVI", "NC_001148.4"),
        ("Mito", "NC_001224.1"),
        ("NC_000001.10", "NC_000001"),
    ],
)
def test_one_chromosome_by_any_name(wanted, available):
    assert match([wanted], [available]) == {wanted: available}
    assert match([available], [wanted]) == {available: wanted}


def test_identity_goes_before_aliases_and_closeness_before_meaning():
    assert match(["1", "chr1"], ["chr1", "1"]) == {"1": "1", "chr1": "chr1"}
    # hg19 has chrM (an older sequence) and, in later releases, chrMT beside it
    assert match(["MT", "chrM"], ["chrM", "chrMT"]) == {"MT": "chrMT", "chrM": "chrM"}
    assert match(["CHR1"], ["1", "chr1"]) == {"CHR1": "chr1"}


def test_missing_names_are_left_out_in_the_order_asked():
    assert list(match(["7", "GL000192.1", "2"], ["chr2", "chr7"]).items()) == [("7", "chr7"), ("2", "chr2")]
    assert match([], ["chr1"]) == {}


def test_scaffolds_do_not_match_chromosomes():
    assert match(["1", "chr1_GL383518v1_alt"], ["chr1"]) == {"1": "chr1"}
    with pytest.raises(InputError):
        match(["GL000192.1"], ["chr1"])


def test_other_names_are_said(caplog):
    with caplog.at_level(logging.INFO, logger="genexp_scverse"):
        match(["1", "2"], ["chr1", "chr2"])
    assert (
        "2 chromosomes have another name in H3K4me3.bigWig than in genes.gtf and were matched: "
        "'1 = chr1', '2 = chr2'" in caplog.text
    )
    caplog.clear()
    match(["chr1"], ["chr1"])
    assert caplog.text == ""


def test_no_match_names_both_files_and_the_mend():
    with pytest.raises(InputError) as error:
        match(["I", "II", "III", "IV"], ["chr1", "chr2"])
    assert str(error.value) == (
        "none of the 4 chromosomes of genes.gtf ('I', 'II', 'III', ... (4 in all)) is among the 2 of "
        "H3K4me3.bigWig ('chr1', 'chr2'): check that both are of the same genome, or rename the chromosomes "
        "in one of them"
    )
    with pytest.raises(InputError, match=r"among the 0 of H3K4me3\.bigWig"):
        match(["chr1"], [])


@pytest.mark.parametrize(
    "name",
    [
        "GL000192.1", "KI270728.1", "NT_113889.1", "NW_003315903.1", "chrUn_KI270302v1", "chrUn",
        "JH584304.1", "chr1_KI270706v1_random", "chr19_KI270938v1_alt", "chr1_KN196472v1_fix",
        "chr6_apd_hap1", "chr17_ctg5_hap1", "HG1000_1_PATCH", "HSCHR6_MHC_COX", "CHR_HSCHR1_1_CTG3",
        "CHR_MG4136_PATCH", "hs37d5", "chrEBV", "scaffold_12", "AADN05001525.1",
    ],
)  # fmt: skip
def test_scaffolds(name):
    assert is_scaffold(name)


@pytest.mark.parametrize(
    "name",
    [
        *map(str, range(1, 23)), "chr1", "chrX", "X", "Y", "chrM", "MT", "Mito", "I", "IV", "XVI",
        "chrXIV", "2L", "3R", "NC_000001.11", "NC_001136.10", "CM000663.2", "CP068277.2", "BK006935.2", "OX359157.1",
        "Z", "W", "LG4", "Pt", "Chr01", "chr2A", "Chromosome",
    ],
)  # fmt: skip
def test_chromosomes(name):
    assert not is_scaffold(name)


def test_same_chrom():
    assert {same_chrom(n) for n in ("chrY", "y", "NC_000024.9", "NC_000087.7")} == {"Y"}
