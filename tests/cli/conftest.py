from __future__ import annotations

from types import SimpleNamespace

import pytest

import genexp_scverse as gx
from genexp_scverse.cli import main


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Files of a small genome, and what ``genexp build`` and ``genexp train`` made of them."""
    folder = tmp_path_factory.mktemp("simulated")
    files = gx.datasets.simulate(folder / "data", n_genes=120, n_chroms=4, marks=["H3K4me3", "H3K27ac", "H3K27me3"])
    build = [str(files.sheet), "--genes", str(files.genes), "--expression", str(files.expression), "--unit", "tpm"]
    build += ["--fasta", str(files.genome), "--kmer", "2", "--upstream", "2000", "--downstream", "2000"]
    build += ["--test-chroms", "chr1", "--valid-chroms", "chr2"]
    mudata, network, forest = (str(folder / name) for name in ("m.h5mu", "network", "forest"))
    assert main(["build", *build, "-o", mudata]) == 0
    assert main(["train", "DeepChrome", mudata, "--max-epochs", "2", "-o", network]) == 0
    assert main(["train", "RandomForest", mudata, "--sample", "A", "--set", "n_trees=10", "-o", forest]) == 0
    return SimpleNamespace(folder=folder, files=files, build=build, mudata=mudata, network=network, forest=forest)


@pytest.fixture
def fails(capfd):
    """Run a command that must end with code 2 and one line; give that line."""

    def run(*argv: object) -> str:
        capfd.readouterr()
        code = main([str(a) for a in argv])
        out, err = capfd.readouterr()
        assert code == 2, err
        assert out == ""
        assert "Traceback" not in err
        lines = err.splitlines()
        assert lines[-1].startswith(f"genexp {argv[0]}: "), err
        assert sum(line.startswith("genexp ") for line in lines) == 1
        return lines[-1]

    return run
