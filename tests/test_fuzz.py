"""Damaged files of every format of text, a few of each, by the command that runs thousands.

Binary ones are left to the command: a matrix of contacts takes a process for each case. `test_hostile.py` has the
hostile ones of every binary format.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"


def test_damage_ends_in_an_error_or_in_what_the_file_says(tmp_path):
    cases = 320
    options = {"--text": cases, "--binary": 0, "--seed": 11, "--keep": tmp_path / "faults"}
    command = [sys.executable, FUZZ, *(str(word) for pair in options.items() for word in pair)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"all{cases:27}" in done.stdout
