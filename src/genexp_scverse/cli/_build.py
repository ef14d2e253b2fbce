"""``genexp build``."""

from __future__ import annotations

import argparse

from genexp_scverse import io, pp
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.cli._parser import comma_list, units
from genexp_scverse.io.store import check_output


def run(args: argparse.Namespace) -> None:
    """Build, split, label and write."""
    check_output(args.output)
    if args.fold is None and (args.test_folds or args.valid_folds):
        msg = "--test-folds and --valid-folds need --fold COLUMN: the column of the gene table with the folds"
        raise InputError(msg)
    if args.fold is not None and not args.test_folds:
        msg = f"--fold {args.fold} needs --test-folds: the folds to hold out"
        raise InputError(msg)
    tss_column = comma_list(args.tss_column)
    mdata = io.build_mudata(
        args.sheet,
        genes=args.genes,
        expression=args.expression,
        unit=units(args.unit),
        fasta=args.fasta,
        upstream=args.upstream,
        downstream=args.downstream,
        bin_size=args.bin_size,
        summary=args.summary,
        stranded=not args.unstranded,
        uncovered=float(args.uncovered),
        assembly=args.assembly,
        biotypes=None if args.biotypes == "all" else comma_list(args.biotypes),
        tss_source=args.tss_source,
        tss_column=tss_column,
        n_jobs=args.jobs,
    )
    if args.fold is not None:
        pp.split_by_fold(mdata, args.fold, test=comma_list(args.test_folds), valid=comma_list(args.valid_folds))
    else:
        pp.split_by_chromosome(mdata, test=comma_list(args.test_chroms), valid=comma_list(args.valid_chroms))
    if "rna" in mdata.mod:
        pp.label(mdata)
    if "chromatin" in mdata.mod:
        pp.mean_profile(mdata)
    if "dna" in mdata.mod:
        pp.sequence_features(mdata, k=args.kmer or None)
    io.write_mudata(mdata, args.output)
    logger.info("Wrote %s", args.output)
