"""``genexp predict``."""

from __future__ import annotations

import argparse

from genexp_scverse import io
from genexp_scverse._output import check_apart
from genexp_scverse.cli._arguments import check_names
from genexp_scverse.cli._outputs import check_table_path, write_table


def run(args: argparse.Namespace) -> None:
    """Predict and write a TSV: gene_id, then a level and a probability for each sample."""
    check_table_path(args.output)
    check_apart(args.output, [args.mudata, args.model])
    mdata = io.read_mudata(args.mudata, on_disk=True)
    check_names(mdata, args.sample, model=args.model)
    # torch and scvi-tools are loaded only when the file is a good one
    from genexp_scverse.model.base import load

    model = load(args.model, mdata)
    write_table(model.predict(split=args.split, samples=args.sample), args.output)
