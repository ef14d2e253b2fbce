"""Small folders and archives in the exact format of the published DeepChrome data."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZES = (60, 24, 30)


def cell_text(genes: Sequence[int], *, seed: int, effect: float = 1.0) -> str:
    """100 rows for every gene, ids with leading zeros; the fourth mark is high around the TSS of high genes."""
    rng = np.random.default_rng(seed)
    lines = []
    for gene in genes:
        label = int(rng.random() < 0.5)
        counts = rng.poisson(1.5, (100, 5))
        counts[40:60, 3] += rng.poisson(1 + 2 * effect * label, 20)
        counts[:, 0] += rng.poisson(0.5 + 0.5 * effect * (1 - label), 100)
        lines += [f"{gene:06d},{i + 1},{','.join(map(str, row))},{label}\n" for i, row in enumerate(counts)]
    return "".join(lines)


def write_cell(folder: Path, cell: str, *, sizes: Sequence[int] = SIZES, seed: int = 0, effect: float = 1.0) -> Path:
    """Write ``<cell>/classification/{train,valid,test}.csv`` with so many genes, the same ids in every cell."""
    place = folder / cell / "classification"
    place.mkdir(parents=True)
    first = 3
    for i, (split, n) in enumerate(zip(("train", "valid", "test"), sizes, strict=True)):
        text = cell_text(range(first, first + n), seed=10 * seed + i, effect=effect)
        (place / f"{split}.csv").write_text(text)
        first += 1000
    return place


def tar_of(folder: Path, prefix: str = "data/") -> bytes:
    """``data.tar.gz`` of a folder of cells."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for file in sorted(folder.rglob("*.csv")):
            tar.add(file, prefix + file.relative_to(folder).as_posix())
    return out.getvalue()


def zenodo(archive: bytes) -> dict[str, bytes]:
    """What the server of the record has: the archive and what the record says of it, path -> content."""
    checksum = "md5:" + hashlib.md5(archive).hexdigest()
    record = {"files": [{"key": "data.tar.gz", "size": len(archive), "checksum": checksum}]}
    return {
        "/records/2652278/files/data.tar.gz": archive,
        "/api/records/2652278": json.dumps(record).encode(),
    }
