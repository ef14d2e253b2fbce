"""``genexp elements``."""

from __future__ import annotations

import argparse

from genexp_scverse import io
from genexp_scverse._errors import InputError
from genexp_scverse._output import check_apart
from genexp_scverse._scores import samples_of
from genexp_scverse.cli._arguments import check_names
from genexp_scverse.cli._outputs import check_table_path, write_table

_BED = (".bed", ".bed.gz")


def run(args: argparse.Namespace) -> None:
    """Call elements and write them."""
    stored = args.model == "-"
    _check_outputs(args, [args.mudata, None if stored else args.model])
    mdata = io.read_mudata(args.mudata, on_disk=True)
    check_names(mdata, args.sample, model=args.model)
    # pandas and what needs it are loaded only when the file is a good one
    from genexp_scverse.tl.elements import call_elements, union_elements

    model = None
    if not stored:
        from genexp_scverse.model.base import load

        model = load(args.model, mdata)
        if not hasattr(model, "get_mask"):
            msg = f"{args.model} is a {type(model).__name__}, which has no mask: give a model that selects positions"
            raise InputError(msg)
    table = call_elements(
        model,
        mdata,
        key=args.key,
        threshold=args.threshold,
        top=args.top,
        merge_gap=args.merge_gap,
        min_length=args.min_length,
        exclude_promoter=args.exclude_promoter,
        samples=args.sample,
    )
    samples = args.sample or samples_of(mdata, args.key)
    if args.bigwig is not None and len(samples) > 1:
        msg = f"a bigWig holds one sample, and there are {len(samples)} ({', '.join(samples)}): name one by --sample"
        raise InputError(msg)
    out = union_elements(table) if args.union else table
    if args.output.endswith(_BED):
        # call_elements has cut them at the ends of those chromosomes whose length is known
        io.write_bed(out, args.output)
    else:
        write_table(out.set_index("chrom"), args.output)
    if args.bedpe is not None:
        io.write_bedpe(table, args.bedpe)
    if args.bigwig is not None:
        io.write_bigwig(mdata, args.bigwig, key=args.key, sample=samples[0] if samples else None)


def _check_outputs(args: argparse.Namespace, inputs: list[str | None]) -> None:
    if not args.output.endswith((*_BED, ".tsv")):
        msg = f"{args.output} has another ending: let the name end in .bed, .bed.gz or .tsv"
        raise InputError(msg)
    outputs = [p for p in (args.output, args.bigwig, args.bedpe) if p is not None]
    twice = next((p for i, p in enumerate(outputs) if p in outputs[:i]), None)
    if twice is not None:
        msg = f"{twice} is to hold two of the outputs: give each a name of its own"
        raise InputError(msg)
    for path in outputs:
        check_table_path(path)
        check_apart(path, inputs)
