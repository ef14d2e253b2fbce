"""Draw docs/_static/overview.png: four of the package's figures, on a simulated genome.

python docs/make_overview.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from PIL import Image

import genexp_scverse as gx

mpl.use("Agg")
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parent / "_static" / "overview.png"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = gx.datasets.simulate(folder, n_genes=2500, n_chroms=10)
        mdata = gx.io.build_mudata(files.sheet, genes=files.genes, expression=files.expression, unit="tpm")
    gx.pp.split_by_chromosome(mdata, test=["chr8", "chr9", "chr10"], valid="chr7")
    gx.pp.label(mdata)
    tables = {}
    for name in ("DeepChrome", "RandomForest", "Linear"):
        cls = gx.model.model_class(name)
        cls.setup_mudata(mdata, samples="A")
        model = cls(mdata)
        model.train(**({"enable_progress_bar": False} if name == "DeepChrome" else {}))
        label = model.name.replace("_", " ")
        model.predict(layer_key=label)
        tables[label] = model.evaluate(n_bootstrap=1000)
        if name == "DeepChrome":
            gx.tl.class_patterns(model)

    fig, axes = plt.subplots(2, 2, figsize=(11, 8.4), layout="constrained")
    gx.pl.profile(mdata, sample="A", split="train", ax=axes[0, 0])
    gx.pl.roc(mdata, list(tables), sample="A", ax=axes[0, 1])
    gx.pl.observed_predicted(mdata, "deepchrome", sample="A", ax=axes[1, 0])
    gx.pl.patterns(mdata, "deepchrome", ax=axes[1, 1])
    OUTPUT.parent.mkdir(exist_ok=True)
    fig.savefig(OUTPUT, dpi=100)
    # 256 colours are enough, and a third of the size
    with Image.open(OUTPUT) as image:
        small = image.convert("RGB").quantize(256)
    small.save(OUTPUT, optimize=True)
    print(pd.concat(tables)[["auroc", "pearson"]])


if __name__ == "__main__":
    main()
