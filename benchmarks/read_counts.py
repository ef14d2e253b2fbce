"""Read counts of five marks in 200 bins of 600 genes, K562 (E123) and H1 (E003): make the MuData that is compared.

    python benchmarks/read_counts.py deepdiff_600genes.npz counts.h5mu
    genexp compare counts.h5mu -o counts.tsv

The file holds counts (genes x bins x marks), expression and labels of both samples, and a split: 200 genes to train
on, 200 to choose the epoch, 200 to test on. There are no coordinates.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

import genexp_scverse as gx

SAMPLES = {"K562": "E123", "H1": "E003"}


def main() -> None:
    """Read, split, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arrays")
    parser.add_argument("output")
    args = parser.parse_args()
    with np.load(args.arrays) as found:
        genes = pd.Index(found["ensembl_id"])
        mdata = gx.io.from_bins(
            {name: found[f"X_{cell}"].transpose(0, 2, 1) for name, cell in SAMPLES.items()},
            genes=genes,
            marks=found["marks"],
            expression={name: found[f"expr_{cell}"] for name, cell in SAMPLES.items()},
            unit="counts",
            scale="counts",
            obs=pd.DataFrame({"split": found["split"]}, index=genes),
            window={"upstream": 10_000, "downstream": 10_000, "bin_size": 100, "stranded": False},
        )
    gx.io.write_mudata(mdata, args.output)


if __name__ == "__main__":
    main()
