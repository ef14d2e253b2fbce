"""``genexp build``."""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from genexp_scverse import io, pp, schema
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse._output import check_apart
from genexp_scverse.cli._arguments import comma_list, named_columns, units
from genexp_scverse.io.assemble import assemble_mudata
from genexp_scverse.io.store import check_output


def run(args: argparse.Namespace) -> None:
    """Build, split, label and write."""
    check_output(args.output)
    check_apart(args.output, [args.sheet, args.genes, args.expression, args.fasta])
    unit = units(args.unit)
    _check_choices(args)
    genes = io.read_genes(
        args.genes,
        biotypes=None if args.biotypes == "all" else comma_list(args.biotypes),
        tss_source=args.tss_source,
        tss_column=comma_list(args.tss_column),
        gene_id=args.gene_id,
        keep_scaffolds=args.keep_scaffolds,
    )
    if args.sheet is not None:
        check_apart(args.output, io.read_sheet(args.sheet)["path"])
    genes.attrs["path"] = args.genes
    # the split is made first: a wrong name of a chromosome is said before the long reading
    if args.split == "none":
        genes = genes.drop(columns=schema.SPLIT, errors="ignore")
    else:
        genes[schema.SPLIT] = _split(genes, args)
    mdata = io.build_mudata(
        args.sheet,
        genes=genes,
        expression=args.expression,
        unit=unit,
        columns=named_columns(args.columns),
        layer=args.layer,
        join_by=args.join_by,
        min_joined=args.min_joined,
        fasta=args.fasta,
        upstream=args.upstream,
        downstream=args.downstream,
        bin_size=args.bin_size,
        summary=args.summary,
        stranded=not args.unstranded,
        uncovered=float(args.uncovered),
        dtype=args.dtype,
        assembly=args.assembly,
        n_jobs=args.jobs,
    )
    if schema.RNA in mdata.mod and args.split != "none":
        pp.label(mdata)
    if schema.CHROMATIN in mdata.mod and args.split != "none":
        pp.mean_profile(mdata)
    if schema.DNA in mdata.mod:
        pp.sequence_features(mdata, k=args.kmer or None)
    io.write_mudata(mdata, args.output)
    logger.info("Wrote %s", args.output)


def _check_choices(args: argparse.Namespace) -> None:
    if args.sheet is None and args.fasta is None:
        msg = "neither a sample sheet nor --fasta is given, so there is nothing to predict from: give one of them"
        raise InputError(msg)
    of_expression = {
        "--unit": args.unit[:1],
        "--columns": args.columns,
        "--layer": args.layer,
        "--join-by": args.join_by,
    }
    for option, value in of_expression.items():
        if value and args.expression is None:
            given = value if isinstance(value, str) else value[0]
            msg = f"{option} {given} is of no use without --expression: give the table as well"
            raise InputError(msg)
    chroms, folds = args.test_chroms or args.valid_chroms, args.fold or args.test_folds or args.valid_folds
    if args.split in ("random", "none") and (chroms or folds):
        msg = f"--split {args.split} takes no chromosomes or folds: leave out --split, or the options that name them"
        raise InputError(msg)
    if args.split == "chromosome" and folds:
        msg = "--split chromosome and --fold are two ways to split: give one of them"
        raise InputError(msg)
    if args.fold is None and (args.test_folds or args.valid_folds):
        msg = "--test-folds and --valid-folds need --fold COLUMN: name the column of the gene table with the folds"
        raise InputError(msg)
    if args.fold is not None and not args.test_folds:
        msg = f"--fold {args.fold} needs --test-folds: the folds to hold out"
        raise InputError(msg)
    if args.fold is not None and (args.test_chroms or args.valid_chroms):
        msg = "--fold and --test-chroms or --valid-chroms are two ways to split: give one of them"
        raise InputError(msg)


def _split(genes: pd.DataFrame, args: argparse.Namespace) -> pd.Categorical:
    only_genes = AnnData(X=np.zeros((len(genes), 0), np.float32), obs=pd.DataFrame(index=list(genes.index)))
    # the overlaps of a random split are counted with the window of the modality
    only_genes.uns["window"] = {
        "upstream": args.upstream,
        "downstream": args.downstream,
        "bin_size": args.bin_size,
        "stranded": not args.unstranded,
    }
    mdata = assemble_mudata(genes, {schema.DNA: only_genes})
    if schema.SPLIT in genes and not (args.split or args.fold or args.test_chroms or args.valid_chroms):
        schema.validate(mdata)
        logger.info("Split: as in the column %s of %s", schema.SPLIT, args.genes)
    elif args.fold is not None:
        pp.split_by_fold(mdata, args.fold, test=comma_list(args.test_folds), valid=comma_list(args.valid_folds))
    elif args.split == "random":
        pp.split_at_random(mdata, seed=args.seed)
    else:
        _split_by_chromosome(mdata, args)
    return pd.Categorical(mdata.obs[schema.SPLIT], categories=list(schema.SPLITS))


def _split_by_chromosome(mdata: MuData, args: argparse.Namespace) -> None:
    try:
        pp.split_by_chromosome(
            mdata, test=comma_list(args.test_chroms), valid=comma_list(args.valid_chroms), seed=args.seed
        )
    except InputError as error:
        # the way out, as it is called here
        msg = str(error).replace("gx.pp.split_at_random", "--split random").replace("gx.pp.split_by_fold", "--fold")
        raise InputError(msg) from error
