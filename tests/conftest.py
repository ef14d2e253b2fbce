from __future__ import annotations

import os
from pathlib import Path

# The networks of the tests are small: threads would only wait for each other. numba sets those of torch, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import matplotlib as mpl
import pytest

from genexp_scverse._logging import logger

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _log_reaches_caplog(monkeypatch):
    """The package's logger does not propagate; caplog listens at the root."""
    monkeypatch.setattr(logger, "propagate", True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real measurements; tests that need it are skipped, visibly, without it."""
    folder = Path(os.environ.get("GENEXP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the data folder ({folder}; set GENEXP_TEST_DATA)")
    return folder
