"""Signals, kills and exit codes of the commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import genexp_scverse as gx
from genexp_scverse.cli import main

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def started(*argv: str) -> subprocess.Popen:
    env = {**os.environ, "PYTHONPATH": str(Path(gx.__file__).parents[1])}
    command = [sys.executable, "-m", "genexp_scverse.cli", *argv]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def epochs_of(checkpoint: Path) -> int:
    """Epochs that a checkpoint holds, by the length of its text."""
    state = checkpoint / "checkpoint.json"
    return state.read_text().count('"train_loss"') if state.exists() else 0


def test_a_training_that_is_killed_and_one_that_is_terminated_go_on_to_the_same_model(simulated, tmp_path):
    train = ["train", "DeepChrome", simulated.mudata, "--max-epochs", "40", "--accelerator", "cpu"]
    train += ["--batch-size", "8", "--set", "n_hidden=[20,10]"]
    assert main([*train, "-o", str(tmp_path / "whole")]) == 0
    out, kept = tmp_path / "model", tmp_path / "model.checkpoint"
    for signum, epochs, code in ((signal.SIGKILL, 1, -9), (signal.SIGTERM, 4, 143)):
        process = started(*train, "-o", str(out), "--resume")
        while epochs_of(kept) < epochs and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert out.exists() == (code == 143)
    assert f"genexp train: interrupted; {out} holds the best so far, and --resume goes on" in err
    assert "Going on after epoch" in err
    assert len(gx.model.load(out).history) < 40
    assert main([*train, "-o", str(out), "--resume"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "whole"]
    with np.load(tmp_path / "whole" / "weights.npz") as whole, np.load(out / "weights.npz") as weights:
        assert set(whole) == set(weights)
        for name in whole:
            np.testing.assert_array_equal(whole[name], weights[name])


def test_a_training_begins_anew_unless_told_to_go_on(simulated, tmp_path, fails, caplog):
    kept = tmp_path / "model.checkpoint"
    kept.mkdir()
    (kept / "checkpoint.json").write_text("{}")
    train = ["train", "DeepChrome", simulated.mudata, "--max-epochs", "1", "-o", str(tmp_path / "model")]
    assert "it is damaged" in fails(*train, "--resume")
    assert main(train) == 0
    assert "holds a training that was cut short: it begins anew" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    train[1] = "Linear"
    assert "Linear has no epochs to go on after: leave out --resume" in fails(*train[:3], *train[5:], "--resume")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_an_output_is_written(simulated, tmp_path, monkeypatch, capfd, signum, code):
    """The old output stays, nothing is left beside it, and what follows by && does not run."""
    handler = signal.getsignal(signal.SIGTERM)
    commands = {
        "build": ["build", *simulated.build, "-o", str(tmp_path / "m.h5mu")],
        "predict": ["predict", simulated.forest, simulated.mudata, "-o", str(tmp_path / "m.h5mu")],
        "demo": ["demo", "--small", "-o", str(tmp_path / "demo")],
    }
    (tmp_path / "m.h5mu").write_text("old")

    def signalled(made, *_, **__):
        os.kill(os.getpid(), signum)

    monkeypatch.setattr("genexp_scverse._output.sync", signalled)
    for command, argv in commands.items():
        assert main(argv) == code
        assert (
            capfd.readouterr().err.splitlines()[-1] == f"genexp {command}: interrupted; no file was left half-written"
        )
    assert (tmp_path / "m.h5mu").read_text() == "old"
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["demo", "demo/.genexp_demo", "m.h5mu"]
    assert signal.getsignal(signal.SIGTERM) is handler
