"""The tables of ``genexp reproduce``: what is done, and how it compares with what was published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse.cli._outputs import write_table
from genexp_scverse.datasets.published import published_cells, published_results

_KEY = ["cell", "model", "setting", "trained_on"]
_METRICS = [f"{metric}{end}" for metric in ("auroc", "auprc") for end in ("", "_low", "_high")]
_ASKED = ["seed", "max_epochs", "version"]
_TEXT = [*_KEY, *_ASKED, "data"]
COLUMNS = [*_KEY, "n", *_METRICS, "published", "best_epoch", "epochs", "seconds", *_ASKED, "data"]
_NUMBERS = [c for c in COLUMNS if c not in _TEXT]
_OPTIONS = {"seed": "--seed", "max_epochs": "--max-epochs"}


class Results:
    """``cells.tsv``: a row for every cell, model, setting and set of cells trained on.

    Parameters
    ----------
    path
        The table; it is read again before each addition.
    seed, max_epochs
        What was asked for: a table of other runs is not added to.
    """

    def __init__(self, path: Path, *, seed: int, max_epochs: int | None):
        self.path = path
        self.asked = {
            "seed": str(seed),
            "max_epochs": "" if max_epochs is None else str(max_epochs),
            "version": version("genexp-scverse"),
        }

    def read(self) -> pd.DataFrame:
        """Give the rows so far; raise when they were made in another way than is asked for now."""
        if not self.path.exists():
            return pd.DataFrame(columns=COLUMNS)
        try:
            table = pd.read_csv(self.path, sep="\t", dtype=str, keep_default_na=False)
            table = table[COLUMNS]
            table[_NUMBERS] = table[_NUMBERS].replace("", "nan").astype(float)
        except (OSError, ValueError, KeyError) as error:
            msg = f"{self.path} is no table of genexp reproduce ({error}): name another directory with -o"
            raise InputError(msg) from error
        for column, asked in self.asked.items():
            other = [value for value in table[column] if value != asked]
            if other:
                raise InputError(self._differs(column, other[0], asked))
        return table

    def done(self, cell: str, model: str, setting: str, trained_on: Sequence[str], data: str) -> bool:
        """Tell whether a row is there; raise when it is of other data."""
        key = (cell, model, setting, ",".join(trained_on))
        table = self.read()
        there = table[(table[_KEY] == key).all(axis=1)]
        if len(there) and (there["data"] != data).any():
            msg = (
                f"{self.path} holds {model} on {cell} trained on other data ({there['data'].iloc[0]}, now {data}): "
                "name another directory with -o"
            )
            raise InputError(msg)
        return bool(len(there))

    def add(
        self, evaluated: pd.DataFrame, model: Any, trained_on: Sequence[str], *, data: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Write the evaluation of `model` on one or more cells, and give the new rows."""
        name = type(model).__name__
        # papers report models of one cell
        known = published_cells(name) if len(trained_on) == 1 else {}
        rows = [
            {
                "cell": cell,
                "model": name,
                "setting": model.setting,
                "trained_on": ",".join(trained_on),
                "n": row["n"],
                **{metric: row[metric] for metric in _METRICS},
                "published": known.get(str(cell)),
                "best_epoch": model.fitted_.get("best_epoch"),
                "epochs": model.fitted_.get("epochs"),
                "seconds": model.fitted_["train_seconds"],
                **self.asked,
                "data": data[str(cell)],
            }
            for cell, row in evaluated.iterrows()
        ]
        before = self.read()
        new = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(_NUMBERS, float))
        table = pd.concat([before, new], ignore_index=True) if len(before) else new
        write_table(table.set_index("cell"), self.path)
        return rows

    def _differs(self, column: str, there: str, asked: str) -> str:
        what = {"seed": "seed", "max_epochs": "epochs at most", "version": "version of genexp_scverse"}[column]
        option = f", or give {_OPTIONS[column]} {there}" if there and column in _OPTIONS else ""
        if column == "max_epochs" and not there:
            option = ", or leave out --max-epochs"
        return (
            f"{self.path} holds results with another {what} ({there or 'as the setting'}, now "
            f"{asked or 'as the setting'}): name another directory with -o{option}"
        )


def named(table: pd.DataFrame) -> pd.Series:
    """Name the series of every row: the model, its setting and what it was trained on."""
    n_cells = table["trained_on"].str.count(",") + 1
    own = table["trained_on"] == table["cell"]
    seen = pd.Series([c in t.split(",") for c, t in zip(table["cell"], table["trained_on"], strict=True)], table.index)
    how = pd.Series("", index=table.index)
    how[~own & seen] = " (pooled over " + n_cells.astype(str) + ")"
    how[~own & ~seen] = " (left out, trained on " + n_cells.astype(str) + " others)"
    return table["model"] + " " + table["setting"] + how


def summary(table: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """Mean, median, maximum and minimum AUROC over the cells done, and below them what was published.

    Returns
    -------
    Index model (``published: <model>`` for what papers report); columns as those of
    :func:`genexp_scverse.datasets.published_results`.
    """
    published = published_results(benchmark)
    rows = {}
    for name, group in table.groupby(named(table), sort=False):
        auroc = group.set_index("cell")["auroc"].dropna()
        if len(auroc):
            rows[name] = (
                len(auroc), auroc.mean(), auroc.median(), auroc.max(), auroc.idxmax(), auroc.min(), auroc.idxmin(),
                "this run",
            )  # fmt: skip
    here = pd.DataFrame.from_dict(rows, orient="index", columns=list(published.columns))
    here.index.name = published.index.name
    published.index = pd.Index([f"published: {name}" for name in published.index], name=published.index.name)
    return pd.concat([here, published]) if len(here) else published


def digest(files: Iterable[Path]) -> str:
    """Tell one set of files from another by what is in them: 12 digits of MD5."""
    both = hashlib.md5(usedforsecurity=False)
    for file in files:
        try:
            with file.open("rb") as handle:
                both.update(hashlib.file_digest(handle, "md5").digest())
        except OSError as error:
            msg = f"{file} cannot be read ({error.strerror or error}): check the folder of the data"
            raise InputError(msg) from error
    return both.hexdigest()[:12]


def digest_of_all(digests: Iterable[str]) -> str:
    """Do the same for several cells of which the digest is known."""
    return hashlib.md5(",".join(digests).encode(), usedforsecurity=False).hexdigest()[:12]
