"""What the chromatin of neighbouring genes is worth: SimpleChromeVAE with none, 1, 5, 10 and 20 neighbours.

    python benchmarks/neighbors.py k562.h5mu --sample K562 --out results

Neighbours are the nearest TSSs on the chromosome. The control, ``shuffled``, gives every gene the neighbours of another
gene of its chromosome: as many of the same kind of genes, in another place. Differences are paired with the model
without neighbours, by the same seed. ``--split valid`` is for choosing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

import genexp_scverse as gx


def main() -> None:
    """Train every number of neighbours for every seed; print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mudata")
    parser.add_argument("--sample", required=True)
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    parser.add_argument("--numbers", default="0,1,5,10,20", help="of neighbours, separated by commas")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    mdata = gx.io.read_mudata(args.mudata)
    numbers = [int(k) for k in args.numbers.split(",")]
    gx.pp.gene_neighbors(mdata, n_neighbors=max(numbers))
    shuffle(mdata)
    rows = [(f"{k} neighbours", "neighbors" if k else None, k) for k in numbers]
    rows.append((f"{max(numbers)} neighbours, shuffled", "shuffled", max(numbers)))
    gx.model.SimpleChromeVAE.setup_mudata(mdata, samples=[args.sample])
    tables = []
    for seed in range(args.seeds):
        models = {}
        for label, key, k in rows:
            models[label] = gx.model.SimpleChromeVAE(mdata, neighbors=key, n_neighbors=max(1, k), seed=seed)
            models[label].train(enable_progress_bar=sys.stderr.isatty())
            sys.stderr.write(f"seed {seed}, {label}: {models[label].fitted_['train_seconds']:.0f} s\n")
        table = gx.tl.compare(models, mdata, split=args.split, reference=rows[0][0], samples=args.sample)
        tables.append(table.drop(columns=["sample", "reference"]).assign(seed=seed))
    result = pd.concat(tables)
    result.to_csv(sys.stdout, sep="\t", float_format="%.4f")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        result.to_csv(args.out / f"neighbors_{args.sample}.tsv", sep="\t", float_format="%.4f")


def shuffle(mdata) -> None:
    """Write ``obsp["shuffled"]``: the rows of ``obsp["neighbors"]`` in another order within each chromosome."""
    rng = np.random.default_rng(0)
    order = np.arange(mdata.n_obs)
    chrom = mdata.obs["chrom"].astype(str).to_numpy()
    for name in np.unique(chrom):
        of = np.flatnonzero(chrom == name)
        order[of] = rng.permutation(of)
    graph = sparse.csr_matrix(mdata.obsp["neighbors"])[order].tolil()
    graph.setdiag(0)
    graph = graph.tocsr()
    graph.eliminate_zeros()
    mdata.obsp["shuffled"] = graph
    mdata.uns["graphs"]["shuffled"] = {"method": "shuffled neighbours", "expression_of": []}


if __name__ == "__main__":
    main()
