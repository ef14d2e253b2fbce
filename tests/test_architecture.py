"""The house rules of the package, held by its imports: data flow io -> pp -> model -> tl -> pl, one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import genexp_scverse as gx

ROOT = Path(gx.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FLOW = ("io", "pp", "model", "tl", "pl")
MODEL_FOLDERS = {p.name for p in (ROOT / "model").iterdir() if (p / "__init__.py").exists()} - {"base"}
HEAVY = ("torch", "scvi", "lightning")
FILE_READERS = ("pyBigWig", "pyfaidx", "h5py", "zarr", "gzip", "hictkpy", "pooch")
READING_CALLS = (
    "open",
    "load",
    "loadtxt",
    "genfromtxt",
    "fromfile",
    "memmap",
    "imread",
    "read_text",
    "read_bytes",
)
MAX_LINES = 600


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def code_that_runs(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, functions' bodies included, apart from what stands under ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from code_that_runs(child)


def imported(module: str, source: str, *, is_package: bool = False) -> set[str]:
    """Full names of what `source` imports: by statement, by ``import_module("...")``, by ``gx.part``."""
    names: set[str] = set()
    ourselves: set[str] = set()
    nodes = list(code_that_runs(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            ourselves |= {a.asname or a.name for a in node.names if a.name == "genexp_scverse"}
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and name_called(node) in ("import_module", "__import__"):
            names |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            first, *rest = ast.unparse(node).split(".")
            if first in ourselves:
                names.add(".".join(["genexp_scverse", *rest]))
    return names


def name_called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What in `source`, were it the file of `module`, breaks a rule."""
    part, *inner = [*module.split(".")[1:], ""]
    names = imported(module, source, is_package=is_package)
    found = []

    def forbid(rule: str, *prefixes: str) -> None:
        hits = sorted(n for n in names for p in prefixes if n == p or n.startswith(p + "."))
        found.extend(f"{module} imports {hit}: {rule}" for hit in hits)

    if part in FLOW:
        later = FLOW[FLOW.index(part) + 1 :]
        forbid("data flow io -> pp -> model -> tl -> pl", *(f"genexp_scverse.{p}" for p in later))
    if part in ("io", "pp"):
        forbid("io and pp do without torch", *HEAVY, "genexp_scverse.nn")
    if part in ("nn", "pp", "pl"):
        forbid("only io reads files", "genexp_scverse.io", *FILE_READERS)
        for node in code_that_runs(ast.parse(source)):
            reads = isinstance(node, ast.Call) and (
                name_called(node) in READING_CALLS or name_called(node).startswith("read_")
            )
            # triton's load is of memory
            if reads and ast.unparse(node.func) != "tl.load":
                found.append(f"{module} calls {ast.unparse(node.func)}: only io reads files")
    if part == "nn":
        forbid("nn knows nothing of AnnData", "anndata", "mudata", "scvi", "genexp_scverse.model")
    if part in ("schema", "metrics"):
        forbid("the ground stands on nothing", *(f"genexp_scverse.{p}" for p in (*FLOW, "nn")), *HEAVY)
    if part == "tl":
        models = sorted(MODEL_FOLDERS | set(gx.model.MODELS))
        forbid("tl works on what model.base promises", *(f"genexp_scverse.model.{m}" for m in models))
    if part == "model" and len(inner) > 1:
        others = sorted((MODEL_FOLDERS | set(gx.model.MODELS)) - {inner[0]})
        forbid("one model's folder never imports another's", *(f"genexp_scverse.model.{m}" for m in others))
    if source.count("\n") > MAX_LINES:
        found.append(f"{module} has {source.count(chr(10))} lines: at most {MAX_LINES}")
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_file_keeps_the_rules(path):
    source = path.read_text(encoding="utf-8")
    assert violations(module_of(path), source, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("io.genes", "import torch", "imports torch: io and pp do without torch"),
        ("io.genes", "def f():\n    from torch import nn", "imports torch.nn"),
        ("io.genes", "def f():\n    import_module('scvi.data')", "imports scvi.data"),
        ("pp.scale", "import scvi", "imports scvi"),
        ("io.build", "from genexp_scverse.pp import label", "imports genexp_scverse.pp.label: data flow"),
        ("pp.split", "from genexp_scverse import io", "imports genexp_scverse.io: only io reads files"),
        ("pp.split", "from ..io.genes import read_genes", "imports genexp_scverse.io.genes.read_genes"),
        (
            "pp.split",
            "import genexp_scverse as gx\ngx.io.read_genes('x')",
            "imports genexp_scverse.io.read_genes",
        ),
        ("pp.split", "import pandas as pd\npd.read_csv('x')", "calls pd.read_csv: only io reads files"),
        ("nn.heads", "import h5py", "imports h5py"),
        ("nn.heads", "import anndata", "imports anndata: nn knows nothing"),
        ("nn.heads", "import torch\ntorch.load('x')", "calls torch.load"),
        ("pl.signal", "import pyBigWig", "imports pyBigWig"),
        ("pl.signal", "with open('x') as f: pass", "calls open"),
        ("pl.signal", "from pathlib import Path\nPath('x').read_text()", "calls Path('x').read_text"),
        ("pl.signal", "import genexp_scverse.io.bigwig", "imports genexp_scverse.io.bigwig"),
        ("model.base._model", "from genexp_scverse import tl", "imports genexp_scverse.tl"),
        ("model.base._model", "from genexp_scverse.pl import roc", "imports genexp_scverse.pl.roc"),
        (
            "model.base._model",
            "from ..deepchrome import DeepChrome",
            "imports genexp_scverse.model.deepchrome",
        ),
        ("model.baseline._models", "from genexp_scverse.model.deepchrome import X", "one model's folder"),
        ("model.baseline._models", "from genexp_scverse.model import DeepChrome", "one model's folder"),
        ("tl.patterns", "from genexp_scverse.model.deepchrome import DeepChrome", "what model.base promises"),
        ("tl.patterns", "from genexp_scverse.model import Linear", "what model.base promises"),
        ("tl.patterns", "from genexp_scverse import pl", "imports genexp_scverse.pl: data flow"),
        ("schema", "from genexp_scverse.io import read_genes", "the ground stands on nothing"),
        ("tl.patterns", "\n" * 601, "601 lines: at most 600"),
    ],
)
def test_a_planted_violation_is_found(module, source, said):
    found = violations(f"genexp_scverse.{module}", source)
    assert any(said in message for message in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("io.genes", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("io.genes", "import pandas as pd\npd.read_csv('x')"),
        ("pp.split", "from genexp_scverse.schema import SPLIT\nimport numpy as np"),
        ("model.deepchrome._model", "from genexp_scverse.model.base import GeneModel\nimport torch"),
        ("model.deepchrome._model", "from ._module import Network"),
        ("tl.patterns", "from genexp_scverse.model.base import GeneModel"),
        ("pl.signal", "import matplotlib.pyplot as plt\nfrom genexp_scverse.metrics import curve"),
        ("tl.patterns", "\n" * 600),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations(f"genexp_scverse.{module}", source) == []


def loaded_after(statement: str, watched: tuple[str, ...]) -> list[str]:
    code = f"{statement}\nimport sys\nprint(*[m for m in {watched!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("statement", ["import genexp_scverse", "import genexp_scverse.cli"])
def test_import_loads_nothing_heavy(statement):
    assert loaded_after(statement, ("torch", "scvi", "anndata", "mudata", "scanpy", "lightning")) == []


def test_what_is_loaded_is_seen():
    assert loaded_after("import genexp_scverse, json", ("torch", "json", "genexp_scverse")) == [
        "json",
        "genexp_scverse",
    ]
