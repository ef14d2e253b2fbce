"""Damage small files of every format that is read, read each in a child with limits, and count what comes of it.

    python benchmarks/fuzz.py --text 10000 --binary 2000 --seed 0

A case is right where it ends in an InputError of one line, or where what was read is what an independent reader takes
from the same bytes (or what was there before the damage). Everything else is a fault: another exception, the end of the
process, no end within the time, or other values. Inputs of faults are kept in a folder (--keep).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import gzip
import hashlib
import json
import logging
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MEMORY = 12 * 2**30
"""Address space of a child: what is read here takes kilobytes, and libraries some gigabytes of addresses."""
OUTCOMES = ("clean error", "right", "differing", "traceback", "crash", "hang")


# what is read


class Format(NamedTuple):
    name: str
    make: Callable[[Path], Path]
    """Writes a whole file, or a folder, and returns it."""
    read: Callable[[Path], Any]
    """Reads with the package; gives key -> value, compared by key."""
    parse: Callable[[bytes], dict[Any, set]] | None = None
    """Of text: every value that a line of the file gives for a key."""
    other: Callable[[Path], Any] | None = None
    """Of binary: reads with another library."""


def number(value: Any) -> float:
    return float(f"{float(value):.6g}")


def split_lines(data: bytes) -> list[str]:
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return [line for line in re.split("\r\n|\r|\n", data.decode("utf-8-sig", "replace")) if line.strip()]


def fields_of(line: str) -> Iterator[list[str]]:
    """The line cut by each delimiter that there may be."""
    for delimiter in ("\t", ",", ";"):
        if delimiter in line:
            with contextlib.suppress(csv.Error):
                yield [f.strip() for f in next(csv.reader([line], delimiter=delimiter))]
    yield line.split()


def numbers_in(text: str) -> set[float]:
    """What a number may mean: with points, with commas for points, with thousands."""
    found = set()
    for form in (text, text.replace(",", ""), text.replace(".", "").replace(",", "."), text.replace(",", ".")):
        with contextlib.suppress(ValueError, OverflowError):
            found.add(number(form))
            with contextlib.suppress(OverflowError):
                found.add(number(np.float32(float(form))))
    return found


def plain_id(text: str) -> str:
    return re.sub(r"^(ENS[A-Z_]*\d{6,})\.\d+(?:_\d+)?(?=$|_PAR_Y$)", r"\1", text)


GENES = [(f"ENSG{i:011d}", f"chr{1 + i % 3}", 1000 * i + 500, 1000 * i + 900, "+-"[i % 2]) for i in range(1, 25)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def make_gtf(folder: Path) -> Path:
    lines = ["#!genome-build test"]
    for gene, chrom, start, end, strand in GENES:
        more = f'gene_id "{gene}.2"; gene_type "protein_coding"; gene_name "N{gene[-2:]}";'
        lines.append(f"{chrom}\tHAVANA\tgene\t{start}\t{end}\t.\t{strand}\t.\t{more}")
        lines.append(f'{chrom}\tHAVANA\ttranscript\t{start}\t{end}\t.\t{strand}\t.\t{more} transcript_id "T{gene}";')
    return write(folder / "genes.gtf", "\n".join(lines) + "\n")


def make_gff(folder: Path) -> Path:
    lines = ["##gff-version 3"]
    for gene, chrom, start, end, strand in GENES:
        lines.append(f"{chrom}\tEnsembl\tgene\t{start}\t{end}\t.\t{strand}\t.\tID=gene:{gene};biotype=protein_coding")
    return write(folder / "genes.gff3", "\n".join(lines) + "\n")


def make_bed(folder: Path) -> Path:
    rows = (f"{chrom}\t{start - 1}\t{end}\t{gene}\t0\t{strand}" for gene, chrom, start, end, strand in GENES)
    return write(folder / "genes.bed", "\n".join(rows) + "\n")


def make_gene_table(folder: Path) -> Path:
    rows = (f"{g},{c},{s - 1 if d == '+' else e - 1},{d}" for g, c, s, e, d in GENES)
    return write(folder / "genes.csv", "gene_id,chrom,tss,strand\n" + "\n".join(rows) + "\n")


def read_genes(path: Path) -> dict:
    import genexp_scverse as gx

    table = gx.io.read_genes(path, biotypes=None)
    return {str(g): (str(r.chrom), int(r.tss), str(r.strand)) for g, r in table.iterrows()}


def parse_genes(data: bytes) -> dict[Any, set]:
    found: dict[Any, set] = {}
    for line in split_lines(data):
        for fields in fields_of(line):
            names: set[str] = set()
            spans: list[tuple[str, str, str, str, int]] = []
            if len(fields) >= 9:
                # a text in quotes may hold a semicolon
                names |= {quoted or bare for quoted, bare in re.findall(r'gene_id (?:"([^"]*)"|([^";]*))', fields[8])}
                names |= set(re.findall(r'gene_id "?([^";]*)"?', fields[8]))
                names |= {n.removeprefix("gene:") for n in re.findall(r"(?:ID|gene_id)=([^;]*)", fields[8])}
                spans.append((fields[0], fields[3], fields[4], fields[6], 1))
            if len(fields) >= 6:
                names.add(fields[3])
                spans.append((fields[0], fields[1], fields[2], fields[5], 0))
            if len(fields) >= 4:
                names.add(fields[0])
                spans.append((fields[1], fields[2], "", fields[3], 2))
            for chrom, start, end, strand, base in spans:
                with contextlib.suppress(ValueError, OverflowError):
                    low = int(float(start)) - (base == 1)
                    tss = int(float(end)) - 1 if base < 2 and strand == "-" else low
                    for name in names:
                        found.setdefault(plain_id(name.strip()), set()).add((chrom, tss, strand))
    return found


LEVELS = np.random.default_rng(5).gamma(1, 20, (24, 3)).round(3)


def expression_rows(delimiter: str) -> str:
    rows = (delimiter.join([g[0], *(f"{v:g}" for v in values)]) for g, values in zip(GENES, LEVELS, strict=True))
    return "\n".join(rows) + "\n"


def make_expression(folder: Path) -> Path:
    return write(folder / "rna.tsv", "gene_id\tK562\tH1\tHepG2\n" + expression_rows("\t"))


def make_expression_csv(folder: Path) -> Path:
    rows = "".join(f'"{g[0]}","{v[0]:g}","{v[1]:g}"\n' for g, v in zip(GENES, LEVELS, strict=True))
    return write(folder / "rna.csv", '"gene_id","K562","H1"\n' + rows)


def make_gct(folder: Path) -> Path:
    rows = "".join(f"{g[0]}\tN{i}\t{v[0]:g}\t{v[1]:g}\n" for i, (g, v) in enumerate(zip(GENES, LEVELS, strict=True)))
    return write(folder / "rna.gct", f"#1.2\n{len(GENES)}\t2\nName\tDescription\tK562\tH1\n{rows}")


def make_rsem(folder: Path) -> Path:
    head = "gene_id\ttranscript_id(s)\tlength\teffective_length\texpected_count\tTPM\tFPKM\n"
    rows = "".join(f"{g[0]}\tT{g[0]}\t900\t800\t5\t{v[0]:g}\t{v[1]:g}\n" for g, v in zip(GENES, LEVELS, strict=True))
    return write(folder / "K562.genes.results", head + rows)


def make_gzipped(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def packed(folder: Path) -> Path:
        path = make(folder)
        out = path.with_name(f"{path.name}.gz")
        out.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        return out

    return packed


def read_expression(path: Path) -> dict:
    import genexp_scverse as gx

    table = gx.io.read_expression(path, unit="tpm")
    # names of samples are of the header, which is damaged too: values are compared by gene
    return {
        str(g): frozenset(number(v) for v in row if not np.isnan(v))
        for g, row in zip(table.index, table.to_numpy(), strict=True)
    }


def parse_values(data: bytes) -> dict[Any, set]:
    found: dict[Any, set] = {}
    for line in split_lines(data):
        for fields in fields_of(line):
            values = frozenset().union(*(numbers_in(f) for f in fields[1:]), *(numbers_in(f) for f in fields[:1]))
            for name in fields[:3]:
                found.setdefault(plain_id(name), set()).add(values)
    return found


def make_features(folder: Path) -> Path:
    rows = "".join(f"{g[0]}\t{v[0]:g}\t{v[1]:g}\n" for g, v in zip(GENES, LEVELS, strict=True))
    return write(folder / "features.tsv", "gene_id\tUTR5GC\tCDSLEN\n" + rows)


def read_features(path: Path) -> dict:
    import genexp_scverse as gx

    table = gx.io.read_gene_features(path)
    return {
        str(g): frozenset(number(v) for v in row if not np.isnan(v))
        for g, row in zip(table.index, table.to_numpy(float), strict=True)
    }


def make_sheet(folder: Path) -> Path:
    for i in range(6):
        (folder / f"{i}.bigWig").write_bytes(b"x")
    rows = "".join(f"S{i % 3}\tH3K{i}me3\t{i}.bigWig\tcoverage\n" for i in range(6))
    return write(folder / "sheet.tsv", "sample\tmark\tpath\tscale\n" + rows)


def read_sheet(path: Path) -> dict:
    import genexp_scverse as gx

    table = gx.io.read_sheet(path)
    return {(r.sample, r.mark): (Path(r.path).name, r.scale) for r in table.itertuples()}


def parse_sheet(data: bytes) -> dict[Any, set]:
    found: dict[Any, set] = {}
    for line in split_lines(data):
        for fields in fields_of(line):
            scales = {f.lower().replace(" ", "_").replace("-", "_") for f in fields} | {"coverage"}
            for a in fields:
                for b in fields:
                    found.setdefault((a, b), set()).update((Path(f).name, s) for f in fields for s in scales)
    return found


def make_intervals(folder: Path) -> Path:
    rows = "".join(f"{c}\t{s}\t{e}\tp{g[-2:]}\t{s % 1000}\t{d}\n" for g, c, s, e, d in GENES)
    return write(folder / "peaks.bed", rows)


def read_intervals(path: Path) -> dict:
    import genexp_scverse as gx

    table = gx.io.read_intervals(path)
    return {(str(r.chrom), int(r.start), int(r.end)): () for r in table.itertuples()}


def parse_intervals(data: bytes) -> dict[Any, set]:
    found: dict[Any, set] = {}
    for line in split_lines(data):
        for fields in fields_of(line):
            with contextlib.suppress(ValueError, IndexError, OverflowError):
                found[(fields[0], int(float(fields[1])), int(float(fields[2])))] = {()}
    return found


def make_loops(folder: Path) -> Path:
    rows = "".join(f"{c}\t{s}\t{s + 100}\t{c}\t{e + 5000}\t{e + 5100}\tl\t{s % 97 + 1}\n" for _, c, s, e, _ in GENES)
    return write(folder / "loops.bedpe", rows)


def read_contacts(path: Path) -> dict:
    import genexp_scverse as gx

    table = gx.io.read_contacts(path, max_distance=None)
    places = zip(table.chrom.astype(str), table.start1, table.end1, table.start2, table.end2, strict=True)
    return {tuple(map(str, p)): number(c) for p, c in zip(places, table["count"], strict=True)}


def parse_loops(data: bytes) -> dict[Any, set]:
    found: dict[Any, set] = {}
    for line in split_lines(data):
        for fields in fields_of(line):
            with contextlib.suppress(ValueError, IndexError, OverflowError):
                a, b = sorted(tuple(str(int(float(f))) for f in fields[i : i + 2]) for i in (1, 4))
                values = {1.0}.union(*(numbers_in(f) for f in fields[6:]))
                for one, two in ((a, b), (b, a)):
                    found.setdefault((fields[0].lstrip("#"), *one, *two), set()).update(values)
    return found


def make_fasta(folder: Path) -> Path:
    rng = np.random.default_rng(2)
    text = ""
    for i in range(1, 4):
        letters = "".join(rng.choice(list("ACGTacgtN"), 700))
        text += f">chr{i} test\n" + "\n".join(letters[j : j + 60] for j in range(0, 700, 60)) + "\n"
    return write(folder / "genome.fa", text)


def read_fasta(path: Path) -> dict:
    import pandas as pd

    import genexp_scverse as gx

    chroms = list(gx.io.fasta_sizes(path))
    table = pd.DataFrame({"chrom": chroms, "tss": 300, "strand": "+"}, index=chroms)
    codes = gx.io.read_codes(table, path, upstream=300, downstream=500)
    return {c: "".join("ACGTN"[v] for v in row) for c, row in zip(chroms, codes, strict=True)}


def parse_fasta(data: bytes) -> dict[Any, set]:
    found: dict[Any, set] = {}
    name = None
    letters: dict[str, str] = {}
    for line in split_lines(data):
        if line.startswith(">"):
            name = (line[1:].split() or [""])[0]
            letters[name] = ""
        elif name is not None:
            letters[name] += "".join(line.split())
    for key, value in letters.items():
        plain = re.sub("[^ACGT]", "N", value.upper().replace("U", "T"))[:800]
        found[key] = {plain.ljust(800, "N")}
    return found


def make_deepchrome(folder: Path) -> Path:
    rng = np.random.default_rng(3)
    rows = [f"{g:06d},{b},{','.join(map(str, rng.poisson(3, 5)))},{g % 2}" for g in range(1, 4) for b in range(1, 101)]
    return write(folder / "train.csv", "\n".join(rows) + "\n")


def read_deepchrome(path: Path) -> dict:
    import genexp_scverse as gx

    mdata = gx.io.read_deepchrome(path, sample="E003")
    bins = np.asarray(mdata["chromatin"].obsm["bins"])
    return {
        (g, b + 1): tuple(map(number, bins[i, :, b]))
        for i, g in enumerate(mdata.obs_names)
        for b in range(bins.shape[2])
    }


def parse_deepchrome(data: bytes) -> dict[Any, set]:
    found: dict[Any, set] = {}
    for line in split_lines(data):
        fields = [f.strip() for f in line.split(",")]
        with contextlib.suppress(ValueError, IndexError, OverflowError):
            key = (fields[0].strip('"'), int(float(fields[1])))
            found.setdefault(key, set()).add(tuple(number(f.strip('"')) for f in fields[2:7]))
    return found


# binary


def make_bigwig(folder: Path) -> Path:
    import pyBigWig

    rng = np.random.default_rng(4)
    path = folder / "track.bigWig"
    with pyBigWig.open(str(path), "w") as out:
        out.addHeader([("chr1", 20_000), ("chr2", 9_000)])
        for chrom, size in (("chr1", 20_000), ("chr2", 9_000)):
            edges = np.sort(rng.choice(size, 400, replace=False))
            values = rng.gamma(1, 5, 200)
            out.addEntries([chrom] * 200, edges[::2].tolist(), ends=edges[1::2].tolist(), values=values.tolist())
    return path


def read_bigwig(path: Path) -> dict:
    import pandas as pd

    import genexp_scverse as gx

    sizes = gx.io.check_bigwigs([path])
    table = pd.DataFrame({"chrom": ["chr1", "chr2"], "tss": [10_000, 4_500], "strand": "+"}, index=["a", "b"])
    bins = gx.io.bin_tracks(table, [path], upstream=4000, downstream=4000, bin_size=50, progress=False, n_jobs=1)
    return {
        "sizes": str(sorted(sizes.items())),
        **{g: tuple(map(number, row[0])) for g, row in zip("ab", bins, strict=True)},
    }


def other_bigwig(path: Path) -> dict:
    import pyBigWig

    found: dict[str, Any] = {}
    with pyBigWig.open(str(path)) as bw:
        found["sizes"] = str(sorted(bw.chroms().items()))
        for gene, chrom, tss in (("a", "chr1", 10_000), ("b", "chr2", 4_500)):
            size = bw.chroms().get(chrom, 0)
            base = np.zeros(8000)
            for start, end, value in (
                bw.intervals(chrom, max(tss - 4000, 0), min(tss + 4000, size)) or () if size else ()
            ):
                base[max(start - tss + 4000, 0) : max(end - tss + 4000, 0)] = value
            found[gene] = tuple(map(number, base.reshape(-1, 50).mean(axis=1).astype(np.float32)))
    return found


def small_mdata() -> Any:
    import pandas as pd

    import genexp_scverse as gx

    rng = np.random.default_rng(0)
    names = [g[0] for g in GENES]
    obs = pd.DataFrame({"chrom": [g[1] for g in GENES], "tss": [g[2] for g in GENES], "strand": "+"}, index=names)
    bins = rng.gamma(1, 2, (len(names), 2, 10)).astype(np.float32)
    mdata = gx.io.from_bins(bins, genes=names, marks=["H3K4me3", "H3K27me3"], sample="K562",
                            expression=bins[:, 0].sum(1), unit="tpm", obs=obs)  # fmt: skip
    mdata.obs["split"] = pd.Categorical(["train", "valid", "test"] * 8)
    return mdata


def values_of(mdata: Any) -> dict:
    found: dict[str, Any] = {"genes": tuple(mdata.obs_names), "mods": tuple(mdata.mod)}
    for column in ("chrom", "tss", "split"):
        if column in mdata.obs:
            found[column] = tuple(map(str, mdata.obs[column]))
    for name, modality in mdata.mod.items():
        found[f"{name} var"] = modality.var.astype(str).to_csv()
        arrays = {"X": modality.X, **{f"layer {k}": v for k, v in modality.layers.items()}, **dict(modality.obsm)}
        for key, array in arrays.items():
            if array is not None:
                found[f"{name} {key}"] = hashlib.sha1(np.ascontiguousarray(np.asarray(array)).tobytes()).hexdigest()
    return found


def make_store(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import genexp_scverse as gx

        gx.io.write_mudata(small_mdata(), folder / f"m.{ending}")
        return folder / f"m.{ending}"

    return make


def read_store(path: Path) -> dict:
    import genexp_scverse as gx

    return values_of(gx.io.read_mudata(path))


def other_store(path: Path) -> dict:
    import mudata

    return values_of(mudata.read_zarr(path) if path.is_dir() else mudata.read_h5mu(path))


def make_h5ad(folder: Path) -> Path:
    import anndata
    import pandas as pd

    adata = anndata.AnnData(
        LEVELS.T.copy(), pd.DataFrame(index=["K562", "H1", "HepG2"]), pd.DataFrame(index=[g[0] for g in GENES])
    )
    adata.write_h5ad(folder / "rna.h5ad")
    return folder / "rna.h5ad"


def other_h5ad(path: Path) -> dict:
    import anndata

    adata = anndata.read_h5ad(path)
    return {
        plain_id(str(g)): frozenset(number(np.float32(v)) for v in column if not np.isnan(v))
        for g, column in zip(adata.var_names, adata.X.T, strict=True)
    }


PIXELS = [(0, 0, 50), (0, 1, 9), (0, 7, 2), (1, 4, 3), (3, 10, 5), (10, 10, 8), (11, 12, 6), (13, 16, 4)]


def make_cool(folder: Path) -> Path:
    import hictkpy

    return written_pixels(
        hictkpy.cooler.FileWriter(folder / "a.cool", {"chr1": 10_500, "chr2": 6_000}, 1000), folder / "a.cool"
    )


def make_hic(folder: Path) -> Path:
    import hictkpy

    return written_pixels(
        hictkpy.hic.FileWriter(folder / "a.hic", {"chr1": 10_500, "chr2": 6_000}, 1000), folder / "a.hic"
    )


def make_mcool(folder: Path) -> Path:
    import h5py

    with h5py.File(make_cool(folder)) as cool, h5py.File(folder / "a.mcool", "w") as out:
        out.attrs.update({"format": "HDF5::MCOOL", "format-version": 3, "bin-type": "fixed"})
        cool.copy(cool["/"], out.create_group("resolutions"), name="1000")
    return folder / "a.mcool"


def written_pixels(writer: Any, path: Path) -> Path:
    columns = list(zip(*PIXELS, strict=True))
    writer.add_pixels_from_dict({"bin1_id": list(columns[0]), "bin2_id": list(columns[1]), "count": list(columns[2])})
    writer.finalize()
    return path


def other_cool(path: Path) -> dict:
    """Pixels by h5py alone."""
    import h5py

    with h5py.File(path) as file:
        root = file["resolutions/1000"] if "resolutions" in file else file
        names = [n.decode() for n in root["chroms/name"][:]]
        bins = {k: root[f"bins/{k}"][:] for k in ("chrom", "start", "end")}
        found = {}
        for one, two, count in zip(*(root[f"pixels/{k}"][:] for k in ("bin1_id", "bin2_id", "count")), strict=True):
            if bins["chrom"][one] == bins["chrom"][two]:
                place = (names[bins["chrom"][one]], *(bins[k][i] for i in (one, two) for k in ("start", "end")))
                found[tuple(map(str, place))] = number(np.float32(count))
    return found


def other_hic(path: Path) -> dict:
    """Pixels as they were written, on the chromosomes that the header names: a bin ends where its chromosome does."""
    data = path.read_bytes()
    # a name that ends in 0 and 8 bytes of length, after "All"
    at = data.index(b"All\0") + 12
    found = {}
    for bins in (range(11), range(11, 17)):
        end = data.index(b"\0", at)
        name, length = data[at:end].decode("utf-8"), int.from_bytes(data[end + 1 : end + 9], "little")
        at = end + 9
        for one, two, count in PIXELS:
            if one in bins and two in bins and length > 1000 * (two - bins[0]):
                starts = [1000 * (i - bins[0]) for i in (one, two)]
                place = [str(v) for start in starts for v in (start, min(start + 1000, length))]
                found[(name, *place)] = number(count)
    return found


def make_model(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import genexp_scverse as gx

        network = {"n_filters": 4, "kernel_size": 3, "pool_size": 2, "n_hidden": [4, 4]}
        of_class = {"DeepChrome": network, "RandomForest": {"n_trees": 3}, "Ensemble": {"model": ["Linear"]}}
        hyper: dict[str, Any] = of_class.get(name, {})
        model = gx.model.model_class(name)(small_mdata(), **hyper)
        model.train(
            **({"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False} if name == "DeepChrome" else {})
        )
        model.save(folder / name)
        return folder / name

    return make


def read_model(path: Path) -> dict:
    import genexp_scverse as gx

    model = gx.model.load(path)
    table = model.predict(small_mdata())
    return {"columns": tuple(table), "values": tuple(number(v) for v in table.to_numpy().ravel())}


def make_genome(folder: Path) -> Path:
    import genexp_scverse as gx

    gx.io.write_genome(folder / "store", fasta=make_fasta(folder))
    return folder / "store"


def read_genome(path: Path) -> dict:
    import genexp_scverse as gx

    store = gx.io.read_genome(path)
    return {c: store.codes(c, 0, min(n, 700)).tobytes().hex() for c, n in store.chrom_sizes.items()}


def other_genome(path: Path) -> dict:
    manifest = json.loads((path / "manifest.json").read_text())
    arrays = {c["name"]: np.load(path / "codes" / f"{c['file']}.npy")[:700] for c in manifest["chroms"]}
    return {c: a.tobytes().hex() for c, a in arrays.items()}


TEXT = [
    Format("GTF", make_gtf, read_genes, parse_genes),
    Format("GTF, gzipped", make_gzipped(make_gtf), read_genes, parse_genes),
    Format("GFF3", make_gff, read_genes, parse_genes),
    Format("BED of genes", make_bed, read_genes, parse_genes),
    Format("table of genes", make_gene_table, read_genes, parse_genes),
    Format("expression", make_expression, read_expression, parse_values),
    Format("expression, gzipped", make_gzipped(make_expression), read_expression, parse_values),
    Format("expression, quoted", make_expression_csv, read_expression, parse_values),
    Format("GCT", make_gct, read_expression, parse_values),
    Format("RSEM", make_rsem, read_expression, parse_values),
    Format("gene features", make_features, read_features, parse_values),
    Format("sample sheet", make_sheet, read_sheet, parse_sheet),
    Format("intervals", make_intervals, read_intervals, parse_intervals),
    Format("loops", make_loops, read_contacts, parse_loops),
    Format("FASTA", make_fasta, read_fasta, parse_fasta),
    Format("DeepChrome CSV", make_deepchrome, read_deepchrome, parse_deepchrome),
]
BINARY = [
    Format("bigWig", make_bigwig, read_bigwig, other=other_bigwig),
    Format("h5mu", make_store("h5mu"), read_store, other=other_store),
    Format("zarr", make_store("zarr"), read_store, other=other_store),
    Format("h5ad", make_h5ad, read_expression, other=other_h5ad),
    Format("cool", make_cool, read_contacts, other=other_cool),
    Format("mcool", make_mcool, read_contacts, other=other_cool),
    Format("hic", make_hic, read_contacts, other=other_hic),
    Format("DeepChrome", make_model("DeepChrome"), read_model),
    Format("Linear", make_model("Linear"), read_model),
    Format("RandomForest", make_model("RandomForest"), read_model),
    Format("Ensemble", make_model("Ensemble"), read_model),
    Format("genome store", make_genome, read_genome, other=other_genome),
]


# damage

EXTREMES = (
    *("0", "-1", "-0", "1e39", "1e308", "1e400", "1e4294967297", "1e2147483648", "9223372036854775808", "2147483648"),
    *("4294967295", "nan", "inf", "-inf", "NA", "1,234.5", "1.234,5", "0x10", ""),
)


def damaged_text(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes that people, programs and disks make."""
    packed = data[:2] == b"\x1f\x8b"
    if packed and rng.random() < 0.5:
        return damaged_bytes(data, rng)
    data = gzip.decompress(data) if packed else data
    for _ in range(rng.integers(1, 4)):
        data = TEXT_CHANGES[rng.integers(len(TEXT_CHANGES))](data, rng)
    return gzip.compress(data, mtime=0) if packed else data


def some_line(data: bytes, rng: np.random.Generator) -> tuple[list[bytes], int]:
    lines = data.split(b"\n")
    return lines, int(rng.integers(len(lines)))


def change_line(
    change: Callable[[bytes, np.random.Generator], list[bytes]],
) -> Callable[[bytes, np.random.Generator], bytes]:
    def changed(data: bytes, rng: np.random.Generator) -> bytes:
        lines, i = some_line(data, rng)
        return b"\n".join([*lines[:i], *change(lines[i], rng), *lines[i + 1 :]])

    return changed


def change_field(
    change: Callable[[list[bytes], int, np.random.Generator], None],
) -> Callable[[bytes, np.random.Generator], bytes]:
    def of_line(line: bytes, rng: np.random.Generator) -> list[bytes]:
        delimiter = b"\t" if b"\t" in line else b","
        fields = line.split(delimiter)
        change(fields, int(rng.integers(len(fields))), rng)
        return [delimiter.join(fields)]

    return change_line(of_line)


def swap(fields: list[bytes], i: int, rng: np.random.Generator) -> None:
    j = int(rng.integers(len(fields)))
    fields[i], fields[j] = fields[j], fields[i]


def extreme(fields: list[bytes], i: int, rng: np.random.Generator) -> None:
    fields[i] = EXTREMES[rng.integers(len(EXTREMES))].encode()


def odd(fields: list[bytes], i: int, rng: np.random.Generator) -> None:
    words = [
        b'"',
        b"'",
        b'""',
        b"\xff",
        b"\x00",
        "é".encode(),
        "\u202e".encode(),
        b"#",
        b" ",
        b"a" * 5000,
        b"\\",
        b";",
        b"=",
    ]
    at = int(rng.integers(len(fields[i]) + 1))
    fields[i] = fields[i][:at] + words[rng.integers(len(words))] + fields[i][at:]


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(rng.integers(1, 5) if out else 0):
        out[rng.integers(len(out))] = rng.integers(256)
    return bytes(out)


TEXT_CHANGES: list[Callable[[bytes, np.random.Generator], bytes]] = [
    flip,
    lambda data, rng: data[: rng.integers(len(data) + 1)],
    change_line(lambda line, rng: [line, line]),
    change_line(lambda line, rng: []),
    change_line(lambda line, rng: [line[: rng.integers(len(line) + 1)]]),
    change_line(lambda line, rng: [b"", line]),
    change_field(swap),
    change_field(extreme),
    change_field(extreme),
    change_field(odd),
    change_field(lambda fields, i, rng: fields.pop(i) and None),
    change_field(lambda fields, i, rng: fields.insert(i, b"")),
    lambda data, rng: data.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b"\n\r"][rng.integers(4)]),
    lambda data, rng: b"\xef\xbb\xbf" + data,
    lambda data, rng: data.decode("utf-8", "replace").encode(["utf-16", "utf-32", "utf-8-sig"][rng.integers(3)]),
    lambda data, rng: data.replace(b"\t", [b",", b" ", b";", b"  "][rng.integers(4)]),
    lambda data, rng: data.replace(b"\n", b"\t\n"),
    lambda data, rng: data.rstrip(b"\n"),
]


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    kind = rng.integers(6)
    at = int(rng.integers(len(out) + 1))
    if kind <= 1:
        return flip(data, rng)
    if kind == 2:
        return bytes(out[:at])
    length = int(rng.integers(1, 64))
    if kind == 3:
        out[at : at + length] = bytes(len(out[at : at + length]))
    elif kind == 4:
        out[at:at] = out[at : at + length]
    else:
        width = int(rng.choice([1, 2, 4, 8]))
        value = int(rng.choice([0, 1, 2, -1])) if rng.random() < 0.7 else int(rng.integers(2**31))
        out[at - at % width : at - at % width + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(out)


def damaged_json(value: Any, rng: np.random.Generator) -> Any:
    """Change one value somewhere in a tree."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        key = list(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value)))
        value = value.copy()
        if rng.random() < 0.1:
            value.pop(key)
        else:
            value[key] = damaged_json(value[key], rng)
        return value
    odd = [
        None,
        True,
        -1,
        0,
        1,
        2,
        10**9,
        2**62,
        1e308,
        float("nan"),
        "",
        "a\nb",
        "x" * 5000,
        [],
        {},
        [[]],
        {"a": 1},
        [1, 2],
        "os.system",
    ]
    return odd[rng.integers(len(odd))]


def damage_file(path: Path, rng: np.random.Generator) -> bool:
    """Damage a file; tell whether it is whole again and says other things, with checksums that are right."""
    data = path.read_bytes()
    if path.name in ("model.json", "manifest.json", ".zarray", ".zattrs", "zarr.json") and rng.random() < 0.7:
        with contextlib.suppress(ValueError):
            path.write_text(json.dumps(damaged_json(json.loads(data), rng)))
            return True
    if path.suffix == ".skops" and rng.random() < 0.7:
        damage_skops(path, rng)
        return True
    if path.suffix in (".h5mu", ".h5ad", ".cool", ".mcool") and rng.random() < 0.4:
        damage_hdf5(path, rng)
        return True
    path.write_bytes(damaged_bytes(data, rng))
    return False


def damage_skops(path: Path, rng: np.random.Generator) -> None:
    """Change a member of the archive and write its checksum anew."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    name = list(files)[rng.integers(len(files))]
    if name == "schema.json" or rng.random() < 0.3:
        files["schema.json"] = json.dumps(damaged_json(json.loads(files["schema.json"]), rng)).encode()
    else:
        files[name] = damaged_bytes(files[name], rng)
    with zipfile.ZipFile(path, "w") as archive:
        for n, content in files.items():
            archive.writestr(n, content)


def damage_hdf5(path: Path, rng: np.random.Generator) -> None:
    """Change what is stored by HDF5's own means: types, shapes, attributes, values, names."""
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = names[rng.integers(len(names))]
        item = file[name]
        kind = rng.integers(6)
        with contextlib.suppress(TypeError, ValueError, OSError, RuntimeError, KeyError):
            if kind == 0:
                del file[name]
            elif kind == 1:
                keys = list(item.attrs)
                key = keys[rng.integers(len(keys))] if keys else "x"
                item.attrs[key] = [1, "text", np.arange(3), 1e300, ""][rng.integers(5)]
            elif kind == 2:
                del file[name]
                file[name] = [np.arange(5), "text", np.array([b"a", b"b"]), np.zeros((2, 2)), 1.5][rng.integers(5)]
            elif kind == 3:
                file.move(name, f"{name}{['x', '/a/b', ' '][rng.integers(3)]}")
            elif kind == 4 and isinstance(item, h5py.Dataset) and item.size:
                flat = np.array(item[...]).ravel()
                flat[rng.integers(flat.size)] = (
                    [0, -1, 2**31 - 1, 1][rng.integers(4)] if flat.dtype.kind in "iuf" else b"z"
                )
                item[...] = flat.reshape(item.shape)
            elif kind == 5:
                del file[name]
                file.create_dataset(name, (2 ** int(rng.integers(1, 60)),), "f4", chunks=(16,))


# children


def child() -> None:
    """Answer requests: a line of JSON each way."""
    import resource
    import warnings

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")
    from genexp_scverse import InputError

    logging.getLogger("genexp_scverse").setLevel(logging.CRITICAL)
    formats = {f.name: f for f in [*TEXT, *BINARY]}
    for line in sys.stdin:
        asked = json.loads(line)
        form, path = formats[asked["format"]], Path(asked["path"])
        try:
            value = getattr(form, asked["how"])(path)
            answer = {"kind": "value", "value": base64.b64encode(repr_of(value)).decode()}
        except InputError as error:
            answer = {"kind": "error" if "\n" not in str(error) else "several lines", "said": str(error)}
        except BaseException as error:  # noqa: BLE001 - to be counted
            where = traceback.extract_tb(error.__traceback__)
            ours = [f"{Path(t.filename).name}:{t.lineno}" for t in where if "genexp_scverse" in t.filename]
            answer = {"kind": "traceback", "said": f"{type(error).__name__}: {error} ({', '.join(ours[-2:])})"[:600]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def repr_of(value: Any) -> bytes:
    import pickle

    return pickle.dumps(value)


class Reader:
    """A child that reads, and is replaced when it ends."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def ask(self, form: str, path: Path, how: str = "read", seconds: float = 60) -> dict:
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, __file__, "--child"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"format": form, "path": str(path), "how": how}).encode() + b"\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            self.end()
            return {"kind": "hang", "said": f"no answer in {seconds:g} s"}
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.process = None
            return {"kind": "crash", "said": f"exit status {code}"}
        return json.loads(line)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def value_of(answer: dict) -> Any:
    import pickle

    return pickle.loads(base64.b64decode(answer["value"])) if answer["kind"] == "value" else None


# the whole


def originals(folder: Path, formats: list[Format]) -> dict[str, Path]:
    made = {}
    # not by those that read: a writer of contacts leaves a thread that never sleeps
    writer = Reader()
    for form in formats:
        own = folder / form.name.replace(" ", "_").replace(",", "")
        own.mkdir()
        answer = writer.ask(form.name, own, "make", seconds=600)
        if answer["kind"] != "value":
            sys.exit(f"the whole {form.name} cannot be written: {answer}")
        made[form.name] = value_of(answer)
    writer.end()
    return made


def damaged_copy(
    form: Format, original: Path, folder: Path, rng: np.random.Generator, *, text: bool
) -> tuple[Path, bool]:
    """Copy a whole file or folder, damage one file in it, and give the copy and what `damage_file` tells."""
    shutil.copytree(original.parent, folder)
    path = folder / original.name
    if text:
        path.write_bytes(damaged_text(original.read_bytes(), rng))
        return path, False
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    # descriptions are small and many things hang on them
    weights = np.array([4.0 if p.suffix == ".json" or p.name.startswith(".z") else 1.0 for p in files])
    file = files[rng.choice(len(files), p=weights / weights.sum())]
    return path, damage_file(file, rng)


def judged(form: Format, before: Any, path: Path, reader: Reader, *, text: bool) -> tuple[str, str]:
    """Outcome of a case and what is to be said of it."""
    answer = reader.ask(form.name, path)
    kind = answer["kind"]
    if kind == "error":
        return "clean error", answer["said"]
    if kind == "several lines":
        return "traceback", answer["said"]
    if kind != "value":
        return kind, answer["said"]
    value = value_of(answer)
    if value == before:
        return "right", ""
    if text:
        return judged_text(form, before, value, path)
    if form.other is not None:
        other = reader.ask(form.name, path, "other")
        if other["kind"] == "value" and value_of(other) == value:
            return "right", ""
    return "differing", str(sorted(k for k in {*value, *before} if value.get(k) != before.get(k)))[:200]


def judged_text(form: Format, before: Any, value: Any, path: Path) -> tuple[str, str]:
    """Compare by key with what an independent reader finds on the lines of the file."""
    assert form.parse is not None
    try:
        allowed = form.parse(path.read_bytes())
    except (OSError, ValueError, EOFError) as error:
        return "differing", f"accepted what is no text: {error}"
    for key, got in value.items():
        may = allowed.get(key, set())
        fits = any(got <= each for each in may) if isinstance(got, frozenset) else got in may
        if not fits:
            return "differing", f"{key}: {str(got)[:80]}, and the file has {str(may)[:80]}"
    kept = form.parse(b"\n".join(_lines_kept(form, path))) if value else {}
    for key, was in before.items():
        if key not in value and key in kept and len(allowed.get(key, ())) == 1:
            return "differing", f"{key}: {str(was)[:80]} is gone"
    return "right", ""


def _lines_kept(form: Format, path: Path) -> list[bytes]:
    """Lines that are as they were, where their header is too."""
    whole = ORIGINAL_LINES[form.name]
    now = [line.encode() for line in split_lines(path.read_bytes())]
    if not now or now[0] != whole[0]:
        return []
    count = Counter(now)
    return [line for line in now if line in set(whole) and count[line] == 1]


ORIGINAL_LINES: dict[str, list[bytes]] = {}


def run(n_text: int, n_binary: int, seed: int, keep: Path, *, only: str = "") -> dict[str, Counter]:
    """Run the cases, print every fault, and give the outcomes of each format."""
    table: dict[str, Counter] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for formats, n, text in ((TEXT, n_text, True), (BINARY, n_binary, False)):
            chosen = [f for f in formats if only in f.name]
            if not n or not chosen:
                continue
            (base := Path(scratch) / ("text" if text else "binary")).mkdir()
            reader = Reader()
            made = originals(base, chosen)
            before = {}
            for form in chosen:
                answer = reader.ask(form.name, made[form.name], seconds=300)
                if answer["kind"] != "value":
                    sys.exit(f"the whole {form.name} cannot be read: {answer}")
                before[form.name] = value_of(answer)
                if text:
                    ORIGINAL_LINES[form.name] = [line.encode() for line in split_lines(made[form.name].read_bytes())]
            for i in range(n):
                form = chosen[i % len(chosen)]
                rng = np.random.default_rng([seed, i, int(text)])
                folder = Path(scratch) / "case"
                path, restated = damaged_copy(form, made[form.name], folder, rng, text=text)
                try:
                    outcome, said = judged(form, before[form.name], path, reader, text=text)
                    if outcome == "differing" and restated and form.read is read_model:
                        # a whole file with other numbers that can be is another model
                        outcome = "right"
                except (OSError, ValueError) as error:
                    outcome, said = "differing", f"could not be judged: {error}"
                table.setdefault(form.name, Counter())[outcome] += 1
                if outcome not in ("clean error", "right"):
                    print(f"{outcome:10} {form.name} {i}: {said}", flush=True)
                    shutil.copytree(folder, keep / f"{form.name.replace(' ', '_')}_{i}", dirs_exist_ok=True)
                shutil.rmtree(folder)
            reader.end()
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=int, default=10_000, help="cases of text")
    parser.add_argument("--binary", type=int, default=2_000, help="cases of binary files and folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="formats whose names hold this")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_faults"), help="folder for inputs of faults")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child()
        return
    logging.disable(logging.CRITICAL)
    start = time.perf_counter()
    table = run(args.text, args.binary, args.seed, args.keep, only=args.only)
    print(f"{'':22}{'cases':>8}" + "".join(f"{o:>13}" for o in OUTCOMES))
    total: Counter = Counter()
    for name, counts in table.items():
        total += counts
        print(f"{name:22}{counts.total():8}" + "".join(f"{counts[o]:13}" for o in OUTCOMES))
    print(f"{'all':22}{total.total():8}" + "".join(f"{total[o]:13}" for o in OUTCOMES))
    print(f"{time.perf_counter() - start:.0f} s, seed {args.seed}")
    sys.exit(0 if total["clean error"] + total["right"] == total.total() else 1)


if __name__ == "__main__":
    main()
