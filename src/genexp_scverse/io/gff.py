"""Gene records of GTF and GFF3 as GENCODE, Ensembl, RefSeq and SGD write them, read line by line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse.io.ids import looks_ensembl
from genexp_scverse.io.plain_text import first_line, open_text

_GTF_ATTRIBUTE = re.compile(r"([\w.]+)\s+(?:\"([^\"]*)\"|([^\s;]+))")
_TRANSCRIPT = re.compile(r"transcript_id\s+\"([^\"]+)\"")
_GENE = re.compile(rb"gene_id\s+\"([^\"]+)\"")
_PARTS = {
    b"CDS", b"five_prime_UTR", b"three_prime_UTR", b"start_codon", b"stop_codon", b"intron", b"region",
    b"chromosome", b"scaffold", b"biological_region", b"match", b"cDNA_match",
}  # fmt: skip
_CANONICAL = ("MANE_Select", "Ensembl_canonical", "RefSeq_Select", "appris_principal_1", "appris_principal")


class _Key(NamedTuple):
    """A gene as the lines of its transcripts name it; copies on other chromosomes are other genes."""

    gene: str
    chrom: str
    strand: str


class _Transcript:
    """Extent, length over exons and rank among the canonical tags."""

    def __init__(self, gene: _Key | None, start: int, end: int, rank: int = len(_CANONICAL)):
        self.gene, self.start, self.end, self.rank, self.exons = gene, start, end, rank, 0


def read_gff(path: str | Path, *, gff3: bool, tss_source: str) -> pd.DataFrame:
    r"""Read the genes of a GTF or GFF3.

    Lines are read one after the other and only what is needed is kept. In a file without gene records the
    genes are made from the extent of their transcripts, or of their exons.

    Parameters
    ----------
    path
        The file, plain or gzip.
    gff3
        Whether attributes are written as in GFF3 rather than as in GTF.
    tss_source
        ``"gene"``, ``"canonical"`` or ``"longest"``, as in :func:`read_genes`.

    Returns
    -------
    A row per gene record: gene_id_version, chrom, start and end (0-based half-open), strand, gene_name,
    gene_type, entrez (NCBI's number of the gene or ""), tss (missing where the gene record is to be taken)
    and tss_from; ``attrs["start_codons"]`` says where a start codon of a gene begins, as far as a GTF does.

    Raises
    ------
    InputError
        With the number of the line that cannot be read, or when nothing in the file belongs to a gene.

    Examples
    --------
    >>> import tempfile
    >>> line = 'chr1\tX\tgene\t11\t20\t.\t-\t.\tgene_id "g1"; gene_type "lncRNA";\n'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.gtf"
    ...     _ = path.write_text(line)
    ...     genes = read_gff(path, gff3=False, tss_source="gene")
    >>> genes[["gene_id_version", "start", "end", "gene_type"]].values.tolist()
    [['g1', 10, 20, 'lncRNA']]
    """
    reader = _Reader(path, gff3=gff3, tss_source=tss_source)
    with open_text(path, what="a GTF or GFF3") as handle:
        reader.read(handle)
    return reader.table()


class _Reader:
    def __init__(self, path: str | Path, *, gff3: bool, tss_source: str):
        self.path, self.gff3, self.tss_source = path, gff3, tss_source
        self.genes: list[dict[str, Any]] = []
        self.mentioned: dict[_Key, dict[str, Any]] = {}
        self.transcripts: dict[tuple[str, str], _Transcript] = {}
        self.start_codons: dict[str, int] = {}

    def read(self, lines: Iterable[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            if line.startswith(b"##FASTA"):
                break
            if line.startswith((b"#", b"track ", b"browser ")) or not line.strip():
                continue
            fields = line.split(b"\t", 3)
            if not self.gff3 and len(fields) == 4 and fields[2] == b"start_codon":
                self._start_codon(line)
                continue
            role = self._role(fields[2]) if len(fields) == 4 else "gene"
            # the transcripts of a file with gene records are needed only for their own starts
            if not role or (role != "gene" and self.genes and self.tss_source == "gene"):
                continue
            if role == "exon" and self.genes and self.tss_source == "canonical":
                continue
            self._record(line, number, role)

    def _role(self, feature: bytes) -> str:
        if not self.gff3:
            return feature.decode() if feature in (b"gene", b"transcript", b"exon") else ""
        if feature == b"exon":
            return "exon"
        if feature.endswith(b"gene"):
            return "gene"
        return "" if feature in _PARTS else "transcript"

    def _record(self, line: bytes, number: int, role: str) -> None:
        fields = line.decode("utf-8").rstrip("\r\n").split("\t")
        if len(fields) != 9:
            msg = (
                f"line {number} of {self.path} has {len(fields)} tab-separated columns instead of 9 "
                f"({first_line(line)}): mend the line or get the file again"
            )
            raise InputError(msg)
        try:
            start, end = int(fields[3]) - 1, int(fields[4])
        except ValueError as error:
            msg = (
                f"line {number} of {self.path} has start {fields[3]!r} and end {fields[4]!r}: they must be "
                "whole numbers"
            )
            raise InputError(msg) from error
        place = {"chrom": fields[0], "start": start, "end": end, "strand": fields[6]}
        if self.gff3:
            self._gff3_record(role, place, _gff3_attributes(fields[8]))
            return
        if role == "exon" and self.genes:  # most lines of a file; their gene is known by now
            transcript = _TRANSCRIPT.search(fields[8])
            if transcript:
                self._exon(None, transcript.group(1), place, {})
            return
        values = _gtf_attributes(fields[8])
        if not values.get("gene_id"):
            msg = f"line {number} of {self.path} has no gene_id among its attributes: mend or remove the line"
            raise InputError(msg)
        key = _Key(values["gene_id"], fields[0], fields[6])
        if role == "gene":
            self._gene(key, place, values)
        elif role == "transcript":
            self._transcript(key, values.get("transcript_id", key.gene), place, values)
        else:
            self._exon(key, values.get("transcript_id", key.gene), place, values)

    def _start_codon(self, line: bytes) -> None:
        """Keep where one start codon of each gene begins, of those that no intron splits."""
        fields, gene = line.split(b"\t"), _GENE.search(line)
        if gene is None or not all(field.isdigit() for field in fields[3:5]):
            return
        start, end = int(fields[3]) - 1, int(fields[4])
        if end - start == 3:
            self.start_codons.setdefault(gene.group(1).decode(), end - 1 if fields[6] == b"-" else start)

    def _gff3_record(self, role: str, place: dict, values: dict) -> None:
        parents = [name for name in values.get("Parent", "").split(",") if name]
        if role == "gene" and not parents:
            key = _Key(values.get("ID") or values.get("gene_id", ""), place["chrom"], place["strand"])
            self._gene(key, place, values)
        elif role == "exon":
            for parent in parents:
                self._exon(None, parent, place, values)
        elif parents:
            key = _Key(parents[0], place["chrom"], place["strand"])
            self._transcript(key, values.get("ID", parents[0]), place, values)

    def _gene(self, key: _Key, place: dict, values: dict) -> None:
        self.genes.append({"key": key, **place, **_description(key.gene, values, gff3=self.gff3)})

    def _transcript(self, key: _Key, name: str, place: dict, values: dict) -> None:
        tags = [tag.strip().replace(" ", "_") for tag in values.get("tag", "").split(",")]
        rank = min((_CANONICAL.index(tag) for tag in tags if tag in _CANONICAL), default=len(_CANONICAL))
        old = self.transcripts.get((name, key.chrom))
        new = _Transcript(key, place["start"], place["end"], rank)
        if old is not None:  # an exon stood before its transcript, or a transcript has several copies
            new.exons = old.exons
            new.start, new.end = min(old.start, new.start), max(old.end, new.end)
        self.transcripts[name, key.chrom] = new
        self._mention(key, values)

    def _exon(self, key: _Key | None, name: str, place: dict, values: dict) -> None:
        found = self.transcripts.get((name, place["chrom"]))
        if found is None:
            found = _Transcript(key, place["start"], place["end"])
            self.transcripts[name, place["chrom"]] = found
        found.start, found.end = min(found.start, place["start"]), max(found.end, place["end"])
        found.exons += place["end"] - place["start"]
        if key is not None:
            self._mention(key, values)

    def _mention(self, key: _Key, values: dict) -> None:
        if not self.genes and key not in self.mentioned:
            self.mentioned[key] = _description(key.gene, values, gff3=self.gff3)

    def table(self) -> pd.DataFrame:
        made = not self.genes
        if made:
            self._make_genes()
        if not self.genes:
            msg = (
                f"{self.path} has no gene, transcript or exon records: give the annotation of the genes, not "
                "of other features"
            )
            raise InputError(msg)
        table = pd.DataFrame(self.genes)
        table["tss"] = pd.Series(float("nan"), index=table.index)
        table["tss_from"] = "the extent of the transcripts" if made else "the gene record"
        if self.tss_source != "gene":
            self._set_tss(table)
        table = table.drop(columns="key")
        table.attrs["start_codons"] = self.start_codons
        return table

    def _make_genes(self) -> None:
        extent: dict[_Key, list[int]] = {}
        for transcript in self.transcripts.values():
            if transcript.gene is not None:
                known = extent.setdefault(transcript.gene, [transcript.start, transcript.end])
                known[:] = min(known[0], transcript.start), max(known[1], transcript.end)
        for key, (start, end) in extent.items():
            place = {"chrom": key.chrom, "start": start, "end": end, "strand": key.strand}
            self.genes.append({"key": key, **place, **self.mentioned[key]})

    def _set_tss(self, table: pd.DataFrame) -> None:
        best: dict[_Key, tuple[tuple[int, int], _Transcript]] = {}
        for transcript in self.transcripts.values():
            untagged = self.tss_source == "canonical" and transcript.rank == len(_CANONICAL)
            if transcript.gene is None or untagged:
                continue
            rank = transcript.rank if self.tss_source == "canonical" else 0
            order = (rank, -(transcript.exons or transcript.end - transcript.start))
            if transcript.gene not in best or order < best[transcript.gene][0]:
                best[transcript.gene] = order, transcript
        found = [best[key][1] if key in best else None for key in table["key"]]
        table["tss"] = [
            float("nan") if t is None else float(t.end - 1 if strand == "-" else t.start)
            for t, strand in zip(found, table["strand"], strict=True)
        ]
        name = f"the {self.tss_source} transcript"
        table.loc[table["tss"].notna(), "tss_from"] = name


def _gtf_attributes(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, quoted, bare in _GTF_ATTRIBUTE.findall(text):
        value = quoted or bare
        # tag and db_xref stand once for every value
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _gff3_attributes(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        values[name] = value if name == "Parent" or "%" not in value else unquote(value)
    return values


def _description(gene: str, values: dict[str, str], *, gff3: bool) -> dict[str, str]:
    """Give id, name, type and NCBI number of a gene, whatever the source calls them."""
    name = values.get("gene_name") or (values.get("Name") if gff3 else "") or values.get("gene") or ""
    if gff3:
        # RefSeq and Ensembl put a prefix before the id; GENCODE keeps _PAR_Y in the ID only
        plain = re.sub("^gene[:-]", "", gene)
        gene = plain if plain.endswith("_PAR_Y") else values.get("gene_id") or plain
    version = values.get("gene_version") or (values.get("version") if gff3 else "")
    if version and looks_ensembl(gene) and "." not in gene:
        gene = f"{gene}.{version}"
    xref = re.search(r"GeneID:(\d+)", values.get("Dbxref", "") + "," + values.get("db_xref", ""))
    kind = values.get("gene_type") or values.get("gene_biotype") or values.get("biotype") or ""
    return {
        "gene_id_version": gene,
        "gene_name": name,
        "gene_type": kind,
        "entrez": xref.group(1) if xref else "",
    }
