"""Every command and every block of Python of the README, the documentation and the tutorials runs as printed.

Blocks of a page run in order, in a folder with simulated files under the names that the page uses.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from deepchrome_files import write_cell
from released_weights import released

import genexp_scverse as gx
from genexp_scverse.cli import main

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)]

# What needs a network, a fresh environment or minutes: .ci/run does these from a fresh clone. The values say how.
BY_CI = {
    "make demo": "make demo",
    "make test": "make test",
    "make lint": "make lint",
    "make docs": "make docs",
    ".ci/run": "make test",
    "genexp demo -o demo": "make demo",
    "git clone https://github.com/genexp-scverse/genexp-scverse": "git clone",
    "cd genexp-scverse": 'cd "$work/genexp_scverse"',
    "make test PYTHON=python3.13 VENV=.venv313": "make test",
}
# Installations that `make` does in its own words: the same constraints, torch first.
INSTALLS = {
    "pip install .",
    "pip install ./genexp-scverse",
    "pip install -c constraints.txt torch",
    "pip install -c constraints.txt .",
    "pip install deeptools",
}


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """Language and content of the fenced blocks of a page."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [(language, body) for language, body in found if language in languages]


def commands(body: str) -> list[str]:
    """Command lines of a block, continued lines joined and comments left out."""
    lines = [shlex.join(shlex.split(line, comments=True)) for line in body.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def markdown(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """Files under the names that the pages use."""
    folder = tmp_path_factory.mktemp("docs")
    samples = ("K562", "H1")
    paths = gx.datasets.simulate(folder / "made", n_genes=120, n_chroms=10, samples=samples, seed=3)
    here = folder / "files"
    shutil.copytree(paths.sheet.parent / "tracks", here / "tracks")
    for source, name in ((paths.sheet, "sheet.tsv"), (paths.genes, "genes.gtf.gz"), (paths.genome, "genome.fa")):
        shutil.copy(source, here / name)
    subprocess.run(["gzip", here / "genome.fa"], check=True)
    genes = gx.io.read_genes(paths.genes)[["gene_name", "chrom", "tss", "strand"]]
    genes.to_csv(here / "genes.tsv", sep="\t")
    tpm = pd.read_csv(paths.expression, sep="\t", index_col="gene_id")
    tpm.to_csv(here / "rna.tsv", sep="\t")
    tpm.to_csv(here / "rna.tsv.gz", sep="\t")
    mixed = pd.DataFrame({"K562": np.log1p(tpm["K562"]), "H1": tpm["H1"].round().astype(int)})
    mixed.to_csv(here / "expression.tsv", sep="\t")
    torch.save(released(), here / "E003_attchrome_avgAUC_model.pt")
    return here


@pytest.fixture(scope="module")
def fetched(tmp_path_factory) -> Path:
    """A cache that holds what the pages fetch."""
    folder = tmp_path_factory.mktemp("cache")
    cells = ["E003", "E112", "E123"]
    for seed, cell in enumerate(cells):
        write_cell(folder / "deepchrome", cell, sizes=(14, 8, 10), seed=seed)
    (folder / "deepchrome" / "cells.json").write_text(json.dumps(cells))
    return folder


@pytest.fixture
def folder(simulated, fetched, tmp_path, monkeypatch) -> Path:
    """A folder of one's own with those files, and the MuData that pages begin with."""
    for path in simulated.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENEXP_DATA_DIR", str(fetched))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture(scope="module")
def built(simulated, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("built") / "k562.h5mu"
    command = f"build {simulated}/sheet.tsv --genes {simulated}/genes.tsv --expression {simulated}/expression.tsv"
    command += f" --unit K562=log --unit H1=counts --test-chroms chr1 --valid-chroms chr2,chr10 -o {path}"
    assert main(shlex.split(command)) == 0
    return path


def run(line: str) -> None:
    """Run one command as a shell would."""
    if line in BY_CI or line in INSTALLS or line.startswith("python docs/"):
        return
    words = shlex.split(line)
    if words[0] == "genexp":
        try:
            code = main(words[1:])
        except SystemExit as end:
            code = end.code
        assert code == 0, line
    elif words[0] == "python" and words[1].startswith("benchmarks/"):
        check_benchmark(words[1:])
    elif words[0] == "python":
        subprocess.run([sys.executable, *words[1:]], check=True)
    else:
        pytest.fail(f"nothing runs the command {line!r}: add it to .ci/run and to this test, or take it out")


def check_benchmark(words: list[str]) -> None:
    """Benchmarks take minutes, so only the options of the command are compared with those that it has."""
    tree = ast.parse((ROOT / words[0]).read_text(encoding="utf-8"))
    known, needed = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            name = node.args[0].value
            known.add(name)
            if any(k.arg == "required" and k.value.value for k in node.keywords):
                needed.add(name)
    given = {w for w in words[1:] if w.startswith("--")}
    assert given <= known, words
    assert needed <= given, words


def runs_by_itself(page: Path) -> list[tuple[str, str]]:
    return blocks(page.read_text(encoding="utf-8"), "python", "bash")


def two_epochs(body: str) -> str:
    """The same code or commands, without the many epochs of real data."""
    return re.sub(r"(max[-_]epochs\W{1,3}|\.train\()([3-9]|\d\d+)\b", r"\g<1>2", body)


def test_epochs_are_found_in_code_and_commands():
    code = 'm.train(20, vae={"max_epochs": 30})\nm.train(max_epochs=5, batch_size=64)\nm.train(max_epochs=1)\n'
    assert two_epochs(code) == (
        'm.train(2, vae={"max_epochs": 2})\nm.train(max_epochs=2, batch_size=64)\nm.train(max_epochs=1)\n'
    )
    assert two_epochs("genexp train X --max-epochs 10 --seed 11") == "genexp train X --max-epochs 2 --seed 11"


WITH_BLOCKS = [p for p in PAGES if runs_by_itself(p)]


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_blocks_of_page_run(page, folder, built, monkeypatch):
    """In order, in one namespace and one folder; networks are trained for two epochs."""
    from genexp_scverse.model.base import _torch_model

    settings = [s.get("train", {}) for name in gx.model.MODELS for s in gx.model.model_class(name).settings.values()]
    for training in [_torch_model.TRAINING, *settings]:
        if "max_epochs" in training:
            monkeypatch.setitem(training, "max_epochs", 2)
    text = page.read_text(encoding="utf-8")
    if "-o k562.h5mu" not in text:
        (folder / "k562.h5mu").symlink_to(built)
    namespace: dict = {}
    for language, printed in runs_by_itself(page):
        body = two_epochs(printed)
        if language == "python":
            exec(compile(body, str(page), "exec"), namespace)
        else:
            for line in commands(body):
                run(line)
    plt.close("all")
    for name in re.findall(
        r"^ *genexp (?:build|evaluate|predict)\b.* -o (\S+)$", text.replace("\\\n", " "), re.MULTILINE
    ):
        assert (folder / name).stat().st_size > 0, name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_tutorial_runs_in_a_small_size(notebook, folder, monkeypatch):
    cells = [c for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    code = "\n\n".join("".join(c["source"]) for c in cells)
    for name, value in {"n_genes": 200, "max_epochs": 2, "n_bootstrap": 50}.items():
        code, found = re.subn(rf"^{name} = \d+$", f"{name} = {value}", code, flags=re.MULTILINE)
        assert found == 1, name
    code = re.sub(r"^n_choices = \d+$", "n_choices = 8", code, flags=re.MULTILINE)
    module = types.ModuleType("tutorial")
    exec(compile(code, notebook.name, "exec"), vars(module))
    plt.close("all")
    for body in (b for _, b in blocks(markdown(notebook), "bash")):
        for line in commands(body):
            run(line)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_tutorial_is_stored_as_it_ran(notebook):
    """Run once from top to bottom, without an error, and with nothing of the machine in it."""
    book = json.loads(notebook.read_text(encoding="utf-8"))
    code = [c for c in book["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    outputs = [o for c in code for o in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3
    text = json.dumps([{k: v for k, v in o.get("data", o).items() if k != "image/png"} for o in outputs])
    for sign in ("/tmp", "/home", "/work", "site-packages", "Warning", "\\u001b", "widget"):
        assert sign not in text, sign
    assert set(book["metadata"]) == {"kernelspec", "language_info"}


def test_what_is_not_run_here_is_run_by_ci():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command, how in BY_CI.items():
        assert how in ci, command
    assert "genexp demo -o $(DEMO_DIR)" in makefile
    assert re.search(r"pip install .*--constraint constraints\.txt", makefile)
    assert re.search(r"\$\(install\) torch\n\t\$\(install\) --editable \.", makefile)
    assert "deeptools" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_exception_is_used():
    lines = {line for p in PAGES for _, body in runs_by_itself(p) for line in commands(body)}
    assert set(BY_CI) | INSTALLS <= lines | {"make lint", "make docs", ".ci/run", "genexp demo -o demo"}
    for line in lines:
        if line.startswith("python docs/"):
            assert (ROOT / line.split()[1]).is_file(), line


def test_commands_are_read_from_a_block():
    assert commands("genexp build a \\\n    --unit log   # why\n\n# note\npip install .\n") == [
        "genexp build a --unit log",
        "pip install .",
    ]


def test_readme_links_to_files_that_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]
    assert len(targets) >= 8
    for target in targets:
        assert (ROOT / target).exists(), target
    for span in re.findall(r"`(\S+)`", text):
        if re.fullmatch(r"(docs|benchmarks|tutorials|src)/[\w./]+", span):
            assert (ROOT / span).exists(), span


def test_readme_table_lists_every_model():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Models") : text.index("## How good")]
    assert set(re.findall(r"^\| `(\w+)", table, flags=re.MULTILINE)) == set(gx.model.MODELS)


def test_every_part_of_the_package_has_an_api_page():
    pages = {p.stem for p in (ROOT / "docs" / "api").glob("*.md")} - {"index"}
    assert pages == set(gx.__all__) - {"InputError"}
    index = (ROOT / "docs" / "api" / "index.md").read_text(encoding="utf-8")
    assert all(re.search(rf"^{page}$", index, flags=re.MULTILINE) for page in pages)


def test_commands_of_the_guide_are_those_of_genexp():
    guide = (ROOT / "docs" / "user_guide" / "command_line.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## genexp (\w+)$", guide, flags=re.MULTILINE))
    shown = subprocess.run(
        [sys.executable, "-m", "genexp_scverse.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    there = set(re.findall(r"^    (\w+)(?: |$)", shown, flags=re.MULTILINE))
    assert sections == there
