"""Gene records of GTF and GFF3, whoever wrote them, read line by line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from genexp_scverse._errors import InputError, no_such, option
from genexp_scverse._logging import logger
from genexp_scverse.io.ids import looks_ensembl
from genexp_scverse.io.plain_text import first_line, is_position, open_text

_GTF_ATTRIBUTE = re.compile(r"([\w.]+)\s+(?:\"([^\"]*)\"|([^\s;]+))")
_GENE_ID = re.compile(rb"(?<![\w.])gene_id\s+(?:\"([^\"]*)\"|([^\s;\"]+)[;\s])")
_TRANSCRIPT_ID = re.compile(rb"(?<![\w.])transcript_id\s+\"([^\"]+)\"")
_ID = re.compile(rb"(?<![\w.])ID=([^;\n]+)")
_PARENT = re.compile(rb"(?<![\w.])Parent=([^;\n]+)[;\n]")
_NO_RECORDS = (b"track ", b"browser ")
_PARTS = {
    "CDS", "five_prime_UTR", "three_prime_UTR", "start_codon", "stop_codon", "intron", "region", "chromosome",
    "scaffold", "biological_region", "match", "cDNA_match", "protein", "polypeptide",
}  # fmt: skip
"""Features of GFF3 that are neither genes nor transcripts."""
_TRANSCRIPT = re.compile(r"(transcript|RNA)$|^pseudogene$")
"""Features of GTF that are transcripts, and of GFF3 that are transcripts also without a parent."""
_MANY = {"tag", "db_xref", "Dbxref", "Parent"}
"""Attributes that stand once for every value; of others that stand twice the first counts."""
_NAMES = ("gene_name", "Name", "gene", "gene_symbol", "symbol", "locus")
_KINDS = ("gene_type", "gene_biotype", "biotype", "locus_type", "ebi_biotype")
_CANONICAL = ("MANE_Select", "Ensembl_canonical", "RefSeq_Select", "appris_principal_1", "appris_principal")
_APART = 100_000
"""Bases between transcripts of one gene beyond which they are copies of it: within a gene they overlap or lie near."""
_LONGEST_INTRON = 3_000_000
"""Exons of one transcript further apart are of two copies of it."""


@dataclass
class _Transcript:
    """Extent, length over exons and rank among the canonical tags; `gene` is the id as the file writes it."""

    name: str
    gene: str | None
    chrom: str
    line: int
    start: int
    end: int
    strands: set[str] = field(default_factory=set)
    exons: int = 0
    rank: int = len(_CANONICAL)
    whole: bool = False
    """Whether it has a line of its own, apart from those of its exons."""

    def reaches(self, start: int, end: int) -> bool:
        """Tell whether a place is near enough to be part of the same copy."""
        return start <= self.end + _LONGEST_INTRON and end >= self.start - _LONGEST_INTRON

    def extend(self, start: int, end: int, strand: str, *, exon: bool) -> None:
        """Take up a part."""
        self.start, self.end = min(self.start, start), max(self.end, end)
        self.strands.add(strand)
        self.exons += exon * (end - start)


def read_gff(path: str | Path, *, gff3: bool, tss_source: str, gene_id: str | None = None) -> pd.DataFrame:
    r"""Read the genes of a GTF or GFF3.

    Lines are read one after the other and only what is needed is kept. A gene without a gene record is made from the
    extent of its transcripts, or of its exons, whether or not other genes have one; copies of it that lie far apart
    are rows of their own.

    Parameters
    ----------
    path
        The file, plain or gzip.
    gff3
        Whether attributes are written as in GFF3 rather than as in GTF.
    tss_source
        ``"gene"``, ``"canonical"`` or ``"longest"``, as in :func:`read_genes`.
    gene_id
        Attribute to take as the id of the genes; those without it keep their own.

    Returns
    -------
    A row per gene record: gene_id_version, chrom, start and end (0-based half-open), strand, gene_name, gene_type,
    entrez (NCBI's number of the gene or ""), tss (missing where the gene record is to be taken), tss_from, key (the id
    as the file writes it) and problem (why the gene cannot be used, or ""). ``attrs["start_codons"]``: key -> where a
    start codon begins, as far as a GTF says so; ``attrs["typed"]``: whether any gene has an attribute of its biotype.

    Raises
    ------
    InputError
        With the number of the line that cannot be read; when nothing in the file belongs to a gene, or no gene has
        the attribute.

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
    reader = _Reader(path, gff3=gff3, tss_source=tss_source, gene_id=gene_id)
    with open_text(path, what="a GTF or GFF3") as handle:
        reader.read(handle)
    return reader.table()


class _Reader:
    def __init__(self, path: str | Path, *, gff3: bool, tss_source: str, gene_id: str | None):
        self.path, self.gff3, self.tss_source, self.gene_id = path, gff3, tss_source, gene_id
        self.genes: list[dict[str, Any]] = []
        self.known: set[str] = set()
        self.tags: set[str] = set()
        """Locus tags of genes with a record."""
        self.transcripts: list[_Transcript] = []
        self.latest: dict[tuple[str, str], _Transcript] = {}
        self.parents: dict[str, str] = {}
        self.described: dict[str, dict[str, Any]] = {}
        self.start_codons: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.nameless: list[int] = []
        self.named = False
        """Whether a gene or transcript was met whose attributes name it."""
        self.seen = b"\0"
        """What marks the further lines of the gene or transcript that was met last, if no more of it is needed."""

    def read(self, lines: Iterable[bytes]) -> None:
        roles: dict[bytes | None, str] = {}
        # of genes with a record no more is needed than this
        needed = {"gene": (), "canonical": ("transcript",), "longest": ("transcript", "exon")}[self.tss_source]
        for number, line in enumerate(lines, 1):
            fields = line.split(b"\t", 3)
            feature = fields[2] if len(fields) == 4 else None
            role = roles.get(feature)
            if line.startswith(b"#") or (feature is None and (line.startswith(_NO_RECORDS) or not line.strip())):
                if line.startswith(b"##FASTA"):
                    break
                continue
            if role is None:
                role = roles[feature] = "gene" if feature is None else self._role(feature.decode("utf-8", "replace"))
            if not role:
                continue
            if role == "gene":
                self._record(line, number, role)
            elif role == "start_codon":
                self._start_codon(line)
            elif role == "CDS":
                if b"Parent=" not in line:  # of a bacterium, as Prokka writes it
                    self._record(line, number, role)
            elif role not in needed and (self.seen in line or (self.known and self._is_known(line, role))):
                continue
            elif role == "transcript" or self.gff3 or not self._further(line, role):
                self._record(line, number, role)

    def _role(self, feature: str) -> str:
        if not self.gff3:
            if feature in ("gene", "exon", "start_codon"):
                return feature
            if feature.endswith("_gene"):
                return "gene"
            return "part" if feature == "CDS" else "transcript" if _TRANSCRIPT.search(feature) else ""
        if feature in ("exon", "pseudogenic_exon"):
            return "exon"
        if feature in _PARTS:
            return "CDS" if feature == "CDS" else ""
        return "gene" if feature.endswith("gene") else "transcript"

    def _is_known(self, line: bytes, role: str) -> bool:
        """Tell by a look at one attribute whether a line belongs to a gene with a record; remember the attribute."""
        if not self.gff3:
            found = _GENE_ID.search(line)
            if found is None or (found[1] or found[2] or b"").decode("utf-8") not in self.known:
                return False
            self.seen = line[max(found.start() - 1, 0) : found.end()]
            return True
        parent = _PARENT.search(line)
        if parent is None:
            return False
        names = _unquoted(parent[1]).split(",")
        if role == "exon":
            if all(name in self.parents or name in self.known for name in names):
                self.seen = parent[0]
                return True
            return False
        name = _ID.search(line)
        if name is not None:
            self.parents[_unquoted(name[1])] = names[0]
        return names[0] in self.known

    def _further(self, line: bytes, role: str) -> bool:
        """Take up an exon or a CDS of a transcript that is known, as most lines of a GTF are; False where it is not."""
        gene, name = _GENE_ID.search(line), _TRANSCRIPT_ID.search(line)
        fields = line.split(b"\t")
        if gene is None or name is None or len(fields) != 9 or not (fields[3].isdigit() and fields[4].isdigit()):
            return False
        transcript = self.latest.get((name[1].decode("utf-8"), fields[0].decode("utf-8")))
        if transcript is None or transcript.gene != (gene[1] or gene[2] or b"").decode("utf-8"):
            return False
        start, end = int(fields[3]) - 1, int(fields[4])
        if not transcript.reaches(start, end):
            return False
        if role == "exon" or not (transcript.whole or transcript.exons):
            transcript.extend(start, end, fields[6].decode("utf-8"), exon=role == "exon")
        return True

    def _record(self, line: bytes, number: int, role: str) -> None:
        fields = line.decode("utf-8").rstrip("\n").split("\t")
        if len(fields) != 9:
            msg = (
                f"line {number} of {self.path} has {len(fields)} tab-separated columns instead of 9 "
                f"({first_line(line)}): mend the line or get the file again"
            )
            raise InputError(msg)
        if not (is_position(fields[3]) and is_position(fields[4])):
            msg = (
                f"line {number} of {self.path} has start {first_line(fields[3])} and end {first_line(fields[4])}: "
                "they must be whole numbers"
            )
            raise InputError(msg)
        place = {"chrom": fields[0], "start": int(fields[3]) - 1, "end": int(fields[4]), "strand": fields[6]}
        values = _gff3_attributes(fields[8]) if self.gff3 else _gtf_attributes(fields[8])
        values["feature"] = fields[2]
        if self.gff3:
            self._gff3_record(role, place, values, number)
        else:
            self._gtf_record(role, place, values, number, fields[8])

    def _gtf_record(self, role: str, place: dict, values: dict, number: int, text: str) -> None:
        gene, name = values.get("gene_id"), values.get("transcript_id")
        if gene and '"' in gene:
            msg = f"line {number} of {self.path} ends within quotes: the file is cut short, copy or download it again"
            raise InputError(msg)
        if gene and role in ("gene", "transcript"):
            self.named = True
        elif not gene and not self.named and re.fullmatch(r"\s*[^\s;\"]+;?\s*", text):
            # AUGUSTUS and BRAKER: the ninth column of genes and transcripts is the id alone
            gene = name = text.strip(" ;")
            if role == "transcript":
                gene = name.rpartition(".")[0] or name
                above = self.genes[-1] if self.genes else place
                if gene not in self.known and "key" in above and _lies_in(place, above):
                    gene = above["key"]  # of GeneMark: 5_t of 5_g
        if not gene and name and role != "gene":
            latest = self.latest.get((name, place["chrom"]))
            gene = latest.gene if latest else None
            if gene is None and self.known:
                return
        if not gene:  # as some lines of NCBI
            self.nameless.append(number)
            return
        if role == "gene":
            self._gene(gene, place, values, number)
        else:
            self._part(role, gene, name or gene, place, values, number)

    def _gff3_record(self, role: str, place: dict, values: dict, number: int) -> None:
        parents = [unquote(name) for name in values.get("Parent", "").split(",") if name]
        name, feature = values.get("ID", ""), values["feature"]
        if role == "gene" and (not parents or feature == "gene"):
            gene = name or values.get("gene_id") or values.get("Name") or values.get("locus_tag") or ""
            self._gene(gene, place, values, number)
        elif role == "CDS":
            if values.get("locus_tag"):
                self._part("part", values["locus_tag"], values["locus_tag"], place, values, number)
        elif role == "exon":
            for parent in parents:
                self._part(role, None, parent, place, values, number)
        else:
            like = _TRANSCRIPT.search(feature)
            stated = values.get("geneID") or values.get("gene_id") or (values.get("gene") if like else "") or ""
            if not parents and not (name and (stated or like)):
                # an operon, a transposon, an enhancer: what belongs to it belongs to no gene
                self.parents.setdefault(name, "")
                return
            gene = parents[0] if parents else stated or name
            if name:
                self.parents[name] = gene
            self._part("transcript", gene, name or gene, place, values, number)

    def _gene(self, gene: str, place: dict, values: dict, number: int) -> None:
        spliced = "part" in values or "trans-splicing" in values.get("exception", "")
        problem = "in several parts (trans-spliced)" if spliced else ""
        self.known.add(gene)
        self.tags.add(values.get("locus_tag", ""))
        self.genes.append({"key": gene, **place, **self._description(gene, values), "problem": problem, "line": number})

    def _part(self, role: str, gene: str | None, name: str, place: dict, values: dict, number: int) -> None:
        """Take up a transcript, an exon or a CDS."""
        start, end = place["start"], place["end"]
        found = self.latest.get((name, place["chrom"]))
        if found is None or (role == "transcript" and found.whole) or not found.reaches(start, end):
            found = _Transcript(name, gene, place["chrom"], number, start, end)
            self.latest[name, place["chrom"]] = found
            self.transcripts.append(found)
        found.gene = found.gene or gene
        found.extend(start, end, place["strand"], exon=role == "exon")
        if role == "transcript":
            tags = [tag.strip().replace(" ", "_") for tag in values.get("tag", "").split(",")]
            found.rank = min((_CANONICAL.index(tag) for tag in tags if tag in _CANONICAL), default=found.rank)
            found.whole = True
        key = gene or name
        if key not in self.known and key not in self.described:
            self.described[key] = self._description(gene or values.get("gene_id") or name, values, made=True)

    def _start_codon(self, line: bytes) -> None:
        """Keep where one start codon of each gene begins, of those that no intron splits."""
        fields, gene = line.split(b"\t"), _GENE_ID.search(line)
        if gene is None or not all(field.isdigit() for field in fields[3:5]):
            return
        start, end = int(fields[3]) - 1, int(fields[4])
        if end - start == 3:
            name = (gene[1] or gene[2] or b"").decode("utf-8")
            self.start_codons.setdefault(name, end - 1 if fields[6] == b"-" else start)

    def _description(self, gene: str, values: dict[str, str], *, made: bool = False) -> dict[str, Any]:
        """Give id, name, type and NCBI number of a gene, whatever the source calls them."""
        if len(self.attributes) < 200:
            self.attributes.update(values)
        names = [n for n in _NAMES if n != "Name" or (self.gff3 and not made)]
        plain = re.sub("^[Gg]ene[:-]" if self.gff3 else "^[Gg]ene:", "", gene)
        if self.gff3 and not plain.endswith("_PAR_Y"):
            # RefSeq, Ensembl and WormBase put a prefix before the id; GENCODE keeps _PAR_Y in the ID only
            plain = values.get("gene_id") or plain
        version = values.get("gene_version") or (values.get("version") if self.gff3 else "")
        if version and looks_ensembl(plain) and "." not in plain:
            plain = f"{plain}.{version}"
        xref = re.search(r"GeneID:(\d+)", values.get("Dbxref", "") + "," + values.get("db_xref", ""))
        kind = next((values[k] for k in _KINDS if values.get(k)), "")
        # SGD, TAIR and WormBase have the id as Name, and the name elsewhere
        called = [values[n] for n in names if values.get(n)]
        return {
            "gene_id_version": plain if self.gene_id is None else values.get(self.gene_id) or plain,
            "gene_name": next((n for n in called if n != plain), called[0] if called else ""),
            "gene_type": kind or _kind_of(values["feature"]),
            "entrez": xref.group(1) if xref else "",
            "typed": bool(kind),
            "chosen": self.gene_id is not None and bool(values.get(self.gene_id)),
        }

    def table(self) -> pd.DataFrame:
        rows = sorted([*({**g, "made": ""} for g in self.genes), *self._made_genes()], key=lambda g: g["line"])
        if self.nameless and not rows:
            msg = (
                f"line {self.nameless[0]} of {self.path} has no gene_id among its attributes, and no other line names "
                "a gene: give the annotation of the genes"
            )
            raise InputError(msg)
        if self.nameless:
            text = "%s: %d lines have no gene_id and are left out (the first is line %d)"
            logger.info(text, self.path, len(self.nameless), self.nameless[0])
        if not rows:
            msg = (
                f"{self.path} has no gene, transcript or exon records: give the annotation of the genes, not "
                "of other features"
            )
            raise InputError(msg)
        table = pd.DataFrame(rows)
        if self.gene_id is not None and not table["chosen"].any():
            there = sorted(self.attributes - {"feature"})
            msg = f"{no_such('attribute', self.gene_id, there, where=f'of genes in {self.path}')}"
            raise InputError(msg)
        without = int((~table["chosen"]).sum())
        if self.gene_id is not None and without:
            logger.info("%d of %d genes of %s lack %r and keep their id", without, len(table), self.path, self.gene_id)
        table["tss"] = pd.Series(float("nan"), index=table.index)
        table["tss_from"] = "the " + table["made"].replace("", "gene record")
        if self.tss_source != "gene":
            self._set_tss(table)
        typed = bool(table["typed"].any())
        table = table.drop(columns=["line", "made", "typed", "chosen"])
        table.attrs.update(start_codons=self.start_codons, typed=typed)
        return table

    def _made_genes(self) -> Iterator[dict[str, Any]]:
        """Make the genes that have no record of their own: a row for each place where transcripts of one lie."""
        with_record = {(g["gene_id_version"], g["chrom"]) for g in self.genes}
        with_genes = {g["chrom"] for g in self.genes}
        of_gene: dict[tuple[str, str], list[_Transcript]] = {}
        for transcript in self.transcripts:
            gene = self._gene_of(transcript)
            # an exon whose transcript the file lacks may be one of any gene around it
            lost = transcript.gene is None and self.gff3 and transcript.chrom in with_genes
            if gene and gene not in self.known and gene not in self.tags and not lost:
                of_gene.setdefault((gene, transcript.chrom), []).append(transcript)
        for (gene, chrom), transcripts in of_gene.items():
            named = self.described.get(gene) or self._description(gene, {"feature": "transcript"}, made=True)
            if (named["gene_id_version"], chrom) in with_record:
                continue
            for group in _places(transcripts):
                strands = set().union(*(t.strands for t in group))
                clear = strands & {"+", "-"}
                yield {
                    "key": gene,
                    "chrom": chrom,
                    "start": min(t.start for t in group),
                    "end": max(t.end for t in group),
                    "strand": next(iter(clear)) if len(clear) == 1 else min(strands),
                    **named,
                    "problem": "with transcripts on both strands" if len(clear) == 2 else "",
                    "line": min(t.line for t in group),
                    "made": f"extent of the {'transcripts' if any(t.whole or t.exons for t in group) else 'CDS'}",
                }

    def _gene_of(self, transcript: _Transcript) -> str | None:
        """Go up from a transcript, or from a part of one, to its gene; None for what belongs to something else."""
        gene = transcript.gene if transcript.gene is not None else self.parents.get(transcript.name, transcript.name)
        for _ in range(10):
            above = self.parents.get(gene, gene)
            if above == gene or gene in self.known:
                break
            gene = above
        return gene or None

    def _set_tss(self, table: pd.DataFrame) -> None:
        of_gene: dict[tuple[str, str], list[_Transcript]] = {}
        for transcript in self.transcripts:
            gene = transcript.gene or transcript.name
            if self.tss_source == "longest" or transcript.rank < len(_CANONICAL):
                of_gene.setdefault((gene, transcript.chrom), []).append(transcript)
        starts = []
        for key, chrom, start, end, strand in table[["key", "chrom", "start", "end", "strand"]].itertuples(index=False):
            there = [
                t for t in of_gene.get((key, chrom), ()) if t.start < end and t.end > start and strand in t.strands
            ]
            best = min(there, key=self._order, default=None)
            starts.append(float("nan") if best is None else float(best.end - 1 if strand == "-" else best.start))
        table["tss"] = starts
        if self.tss_source == "longest" and table["tss"].isna().all():
            msg = (
                f"no gene of {self.path} has a transcript, so {option('tss_source', 'longest')} cannot be told: give "
                f"{option('tss_source', 'gene')} or an annotation with transcripts"
            )
            raise InputError(msg)
        table.loc[table["tss"].notna(), "tss_from"] = f"the {self.tss_source} transcript"

    def _order(self, transcript: _Transcript) -> tuple[int, int]:
        rank = transcript.rank if self.tss_source == "canonical" else 0
        return rank, -(transcript.exons or transcript.end - transcript.start)


def _places(transcripts: list[_Transcript]) -> list[list[_Transcript]]:
    """Group transcripts of one gene by where they lie, the first of the file first."""
    groups: list[list[_Transcript]] = []
    end = 0
    for transcript in sorted(transcripts, key=lambda t: (t.start, t.end)):
        # UCSC marks the copies itself: NM_1_dup1
        near = 0 if re.search(r"_dup\d+$", transcript.name) else _APART
        if not groups or transcript.start > end + near:
            groups.append([])
            end = 0
        groups[-1].append(transcript)
        end = max(end, transcript.end)
    return sorted(groups, key=lambda group: min(t.line for t in group))


def _lies_in(place: dict[str, Any], gene: dict[str, Any]) -> bool:
    same = all(place[key] == gene[key] for key in ("chrom", "strand"))
    return same and gene["start"] <= place["start"] and place["end"] <= gene["end"]


def _unquoted(value: bytes) -> str:
    text = value.decode("utf-8").strip()
    return unquote(text) if "%" in text else text


def _kind_of(feature: str) -> str:
    """Type of a gene that has none among its attributes: nothing, unless its feature is a special kind of gene."""
    if feature == "pseudogenic_transcript":
        return "pseudogene"
    return feature.removesuffix("_gene") if feature.endswith("gene") and feature != "gene" else ""


def _gtf_attributes(text: str) -> dict[str, str]:
    return _joined((name, quoted or bare) for name, quoted, bare in _GTF_ATTRIBUTE.findall(text))


def _gff3_attributes(text: str) -> dict[str, str]:
    parts = (part.strip().partition("=") for part in text.split(";"))
    return _joined(
        (name, value if name == "Parent" or "%" not in value else unquote(value)) for name, _, value in parts if name
    )


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in values:
            values[name] = value
        elif name in _MANY:
            values[name] += f",{value}"
    return values
