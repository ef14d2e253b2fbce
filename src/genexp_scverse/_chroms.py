"""Names of chromosomes: the same chromosome is chr1, 1 or NC_000001.11, depending on who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger

_ROMAN = (
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI",
)  # fmt: skip


def _numbers(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(1, n + 1)))


_RUNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("NC_000001", (*_numbers(22), "X", "Y")),  # human, GRCh37 and GRCh38
    ("NC_060925", (*_numbers(22), "X", "Y")),  # human, T2T-CHM13
    ("NC_000067", (*_numbers(19), "X", "Y")),  # mouse
    ("NC_007112", _numbers(25)),  # zebrafish
    ("NC_001133", _ROMAN),  # budding yeast
    ("NC_003279", ("I", "II", "III", "IV", "V", "X")),  # Caenorhabditis elegans
    ("NC_003070", ("1", "2")),  # Arabidopsis, 1 and 2
    ("NC_003074", ("3", "4", "5")),
    ("NC_004353", ("4", "X")),  # Drosophila melanogaster; its arms are NT_
    ("NC_024512", ("Y",)),
    ("NT_033777", ("3R", "2R", "2L")),
    ("NT_037436", ("3L",)),
    ("NC_004818", ("X",)),  # Anopheles gambiae
    ("NT_078265", ("2L", "2R", "3L", "3R")),
    *(
        (name, ("MT",))
        for name in ("NC_012920", "NC_005089", "NC_001224", "NC_002333", "NC_001328", "NC_024511", "NC_002084")
    ),
)
"""RefSeq accession (without version) and the chromosomes that it and the ones after it stand for."""


def _refseq() -> dict[str, str]:
    names: dict[str, str] = {}
    for first, chroms in _RUNS:
        prefix, number = first.split("_")
        names |= {f"{prefix}_{int(number) + i:06d}": chrom for i, chrom in enumerate(chroms)}
    return names


_REFSEQ = _refseq()
_MITOCHONDRION = {"M", "MT", "MITO", "MITOCHONDRION", "MITOCHONDRIA", "MITOCHONDRION_GENOME"}

_SCAFFOLD = re.compile(
    r"""
    ^(chr)?Un(_|$)                                     # UCSC: unplaced
    | _(random|alt|fix)$ | _hap\d* | _patch            # UCSC: unlocalised, alternative; HG1_PATCH
    | ^(CHR_)?(HSCHR|HG\d|MMCHR|MG\d)                  # Ensembl: alternative loci and patches
    | ^(NT|NW)_\d                                      # RefSeq contigs and scaffolds
    | ^(?!(CM|CP|AE|AP|BK|LR|O[U-Z])\d)[A-Z]{2,6}\d{5,}(\.\d+)?$
    # GenBank contigs: GL000192.1, KI270728.1, JH584304; not its chromosomes: CM000663, CP068277 of T2T-CHM13, OX
    | scaffold | contig | ^hs37d5$ | ^chrEBV$ | ^NC_007605
    """,
    re.VERBOSE | re.IGNORECASE,
)


def match_chroms(
    wanted: Iterable[str], available: Iterable[str], *, wanted_in: str, available_in: str
) -> dict[str, str]:
    """Match the chromosome names of one file with those of another.

    A name is taken as it is where the other file has it; else in another case, else with or without ``chr``,
    else by meaning: chrM, MT, M and Mito are one, and the RefSeq accessions of human (GRCh37, GRCh38, T2T), mouse,
    zebrafish, fruit fly, Anopheles, C. elegans, Arabidopsis and budding yeast stand for their chromosomes, whatever
    their version. That other names were used is said in the log.

    Parameters
    ----------
    wanted
        Names asked for.
    available
        Names the other file has.
    wanted_in
        What holds `wanted`, for messages (``"genes.gtf"``).
    available_in
        What holds `available`, for messages (``"H3K4me3.bigWig"``).

    Returns
    -------
    Wanted name -> available name, in the order of `wanted`. Names without a counterpart are left out.

    Raises
    ------
    InputError
        When not one name matches.

    Examples
    --------
    >>> match_chroms(["1", "MT", "7"], ["chr1", "chrM"], wanted_in="genes.gtf", available_in="a.bigWig")
    {'1': 'chr1', 'MT': 'chrM'}
    >>> match_chroms(["chrX"], ["NC_000023.11"], wanted_in="genes.gtf", available_in="genome.fa")
    {'chrX': 'NC_000023.11'}
    """
    wanted, available = list(dict.fromkeys(wanted)), list(dict.fromkeys(available))
    readings: tuple[Callable[[str], str], ...] = (str, str.lower, _without_prefix, _meaning)
    lookups: list[dict[str, str]] = [{} for _ in readings]
    for name in available:
        for lookup, reading in zip(lookups, readings, strict=True):
            lookup.setdefault(reading(name), name)
    matched = {}
    for name in wanted:
        for lookup, reading in zip(lookups, readings, strict=True):
            if reading(name) in lookup:
                matched[name] = lookup[reading(name)]
                break
    if wanted and not matched:
        msg = (
            f"none of the {len(wanted)} chromosomes of {wanted_in} ({some(wanted)}) is among the "
            f"{len(available)} of {available_in} ({some(available)}): check that both are of the same "
            "genome, or rename the chromosomes in one of them"
        )
        raise InputError(msg)
    renamed = [f"{name} = {other}" for name, other in matched.items() if name != other]
    if renamed:
        logger.info(
            "%d chromosomes have another name in %s than in %s and were matched: %s",
            len(renamed), available_in, wanted_in, some(renamed),
        )  # fmt: skip
    return matched


def is_scaffold(chrom: str) -> bool:
    """Tell whether a sequence is an unplaced or alternative one rather than a chromosome.

    Recognises the names of UCSC (``chrUn_...``, ``_random``, ``_alt``, ``_fix``, ``_hap``), Ensembl (GenBank
    accessions such as GL000192.1, ``HSCHR...``, ``HG..._PATCH``) and RefSeq (``NT_``, ``NW_``, but not the chromosome
    arms of the fruit fly and of Anopheles, which have such names). What is not recognised counts as a chromosome, so
    that genomes with names of their own lose nothing.

    Parameters
    ----------
    chrom
        Name of the sequence.

    Returns
    -------
    True for a scaffold, patch or alternative locus.

    Examples
    --------
    >>> [name for name in ("chr1", "chrUn_GL000195v1", "KI270728.1", "NT_033777.3", "2L") if is_scaffold(name)]
    ['chrUn_GL000195v1', 'KI270728.1']
    """
    return chrom.upper().split(".")[0] not in _REFSEQ and _SCAFFOLD.search(chrom) is not None


def same_chrom(chrom: str) -> str:
    """Give the plain name that all aliases of a chromosome share.

    Parameters
    ----------
    chrom
        Name of the chromosome in any of the spellings that :func:`match_chroms` knows.

    Returns
    -------
    Name in capitals without ``CHR``; ``MT`` for the mitochondrion.

    Examples
    --------
    >>> same_chrom("chrX"), same_chrom("NC_000023.10"), same_chrom("Mito")
    ('X', 'X', 'MT')
    """
    return _meaning(chrom)


def _without_prefix(name: str) -> str:
    return re.sub("^chr", "", name.lower())


def _meaning(name: str) -> str:
    plain = re.sub("^CHR", "", name.upper())
    if plain in _MITOCHONDRION:
        return "MT"
    return _REFSEQ.get(plain.split(".")[0], plain)
