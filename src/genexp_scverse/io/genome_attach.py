"""Which genome store the genes of a MuData are read from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import rows_of
from genexp_scverse.io._build_checks import check_same_genome, check_windows
from genexp_scverse.io._genome_windows import GenomeWindows
from genexp_scverse.io.genome_store import GenomeStore, read_genome
from genexp_scverse.io.window import tss_windows

if TYPE_CHECKING:
    from mudata import MuData

GENOME = "genome"
_UNKNOWN = schema.BASES.index("N")
_COMPARED, _AROUND = 200, 50


def attach_genome(
    mdata: MuData, folder: str | os.PathLike, *, upstream: int, downstream: int, stranded: bool = True
) -> None:
    r"""Say in a MuData which genome store its genes are read from, and with which window.

    Before that, all is compared that can be: names and lengths of chromosomes, the assembly, every TSS, and where the
    MuData has DNA of its own, that DNA around the TSS of up to 200 genes.

    Parameters
    ----------
    mdata
        With chrom, tss (0-based) and strand in ``obs``.
    folder
        The genome store. It is kept as given: a relative path is one from the working directory.
    upstream, downstream
        Window around the TSS in bases, read in the direction of transcription.
    stranded
        Read windows of genes on the minus strand backwards.

    Returns
    -------
    None. Writes

    ``mdata.uns["genome"]`` : dict
        path, upstream, downstream, bin_size (of the store) and stranded.

    Raises
    ------
    InputError
        When the store is damaged or of another assembly than the genes, a TSS is missing or beyond the end of its
        chromosome, the window is longer than every chromosome with genes, or the bins of the store do not fill it.

    Examples
    --------
    >>> import tempfile, genexp_scverse as gx
    >>> paths = gx.datasets.simulate(tempfile.mkdtemp(), n_genes=40, n_chroms=2)
    >>> mdata = gx.io.build_mudata(fasta=paths.genome, genes=paths.genes, upstream=10, downstream=10)
    >>> folder = tempfile.mkdtemp() + "/genome"
    >>> _ = gx.io.write_genome(folder, fasta=paths.genome, sheet=paths.sheet)
    >>> gx.io.attach_genome(mdata, folder, upstream=2000, downstream=1000)
    >>> windows = gx.io.genome_windows(mdata)
    >>> windows.codes([3, 5]).shape, windows.signal([3, 5]).shape
    ((2, 3000), (2, 10, 3000))
    """
    store = read_genome(folder)
    missing = [c for c in ("chrom", "tss", "strand") if c not in mdata.obs and (stranded or c != "strand")]
    if missing:
        msg = f"mdata.obs has no column {some(missing)}, and windows in a genome need it: see gx.io.build_mudata"
        raise InputError(msg)
    name = f"the genome store {store.path}"
    sizes = mdata.uns.get("chrom_sizes")
    if sizes is not None and len(sizes):
        known = dict(zip(sizes["chrom"].astype(str), sizes["size"].astype(int), strict=True))
        check_same_genome(known, store.chrom_sizes, source=name, what="the MuData")
    assembly = str(mdata.uns.get("assembly", "unknown"))
    if "unknown" not in (assembly, store.assembly) and assembly != store.assembly:
        msg = f"the MuData is of the assembly {assembly} and {name} of {store.assembly}: take both from one"
        raise InputError(msg)
    windows = GenomeWindows(mdata.obs, store, upstream=upstream, downstream=downstream, stranded=stranded)
    if not windows.present.all():
        chroms = mdata.obs["chrom"].astype(str)[~windows.present]
        logger.warning(
            "%d of %d genes are on chromosomes that %s lacks (%s): their DNA is N and their signal 0",
            *(int((~windows.present).sum()), len(windows), name, some(pd.unique(chroms))),
        )
    window = {"upstream": upstream, "downstream": downstream, "stranded": stranded}
    check_windows(mdata.obs, store.chrom_sizes, window=window, source=name)
    _compare_dna(mdata, store, windows.present)
    mdata.uns[GENOME] = {
        "path": os.fspath(folder),
        "upstream": int(upstream),
        "downstream": int(downstream),
        "bin_size": store.bin_size,
        "stranded": bool(stranded),
    }


def genome_windows(mdata: MuData, *, upstream: int | None = None, downstream: int | None = None) -> GenomeWindows:
    """Open the genome store that :func:`attach_genome` named, for the genes of a MuData.

    Parameters
    ----------
    mdata
        With ``uns["genome"]``.
    upstream, downstream
        Window in bases where it is to be another one than that in ``uns["genome"]``.

    Returns
    -------
    The windows, in the order of the genes.

    Raises
    ------
    InputError
        When no store is attached, it is not where it was, its bins have changed, or genes and store do not fit.

    Examples
    --------
    See :func:`attach_genome`.
    """
    entry = mdata.uns.get(GENOME)
    if entry is None:
        msg = (
            'mdata.uns has no "genome": write a genome store with gx.io.write_genome and name it by gx.io.attach_genome'
        )
        raise InputError(msg)
    store = read_genome(str(entry["path"]))
    if store.bin_size != int(entry["bin_size"]):
        msg = (
            f"the genome store {store.path} has bins of {store.bin_size} bases, and {int(entry['bin_size'])} when it "
            "was attached: attach it again with gx.io.attach_genome"
        )
        raise InputError(msg)
    return GenomeWindows(
        mdata.obs,
        store,
        upstream=int(entry["upstream"]) if upstream is None else upstream,
        downstream=int(entry["downstream"]) if downstream is None else downstream,
        stranded=bool(entry["stranded"]),
    )


def _compare_dna(mdata: MuData, store: GenomeStore, present: np.ndarray) -> None:
    """Compare the bases around some TSSs with those that the MuData holds, where both are known."""
    dna = mdata.mod.get(schema.DNA)
    if dna is None or schema.CODES not in dna.obsm or "window" not in dna.uns or not store.has_codes:
        return
    window, codes = dna.uns["window"], dna.obsm[schema.CODES]
    before = min(_AROUND, int(window["upstream"]))
    after = min(_AROUND, codes.shape[1] - int(window["upstream"]))
    if before + after == 0:
        return
    # not by GenomeWindows: the store's bins of signal would have to fill these few bases
    around = tss_windows(mdata.obs, upstream=before, downstream=after, stranded=bool(window["stranded"]))
    there = np.flatnonzero(present)
    rows = there[np.unique(np.linspace(0, len(there) - 1, min(_COMPARED, len(there))).astype(int))]
    first = int(window["upstream"]) - before
    ours = rows_of(codes, rows)[:, first : first + before + after]
    theirs = store.codes(around.chrom[rows], around.start[rows], around.end[rows], around.reverse[rows])
    differ = ((ours != theirs) & (ours != _UNKNOWN) & (theirs != _UNKNOWN)).any(axis=1)
    if differ.any():
        msg = (
            f"around the TSS of {int(differ.sum())} of {len(rows)} genes ({some(mdata.obs_names[rows[differ]])}) the "
            f"genome store {store.path} has other DNA than the MuData: one of them is from a FASTA of another "
            "assembly, take both from the same"
        )
        raise InputError(msg)
