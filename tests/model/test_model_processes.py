"""Training by several processes, as several GPUs are used: what Lightning's strategies are given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import json, os, sys
import numpy as np
from small_models import make_mdata
import genexp_scverse as gx

found = {}
for split in ("valid", "test"):
    mdata = make_mdata()
    # the second time without genes to choose an epoch by
    mdata.obs["split"] = mdata.obs["split"].astype(str).replace("valid", split)
    gx.model.Seq2ExpModel.setup_mudata(mdata)
    model = gx.model.Seq2ExpModel(mdata, width=8, n_layers=1, backbone="conv", n_hidden=[8])
    model.train(3, batch_size=8, accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False)
    found[split] = {
        "steps": model.trainer.global_step,
        "pairs": int(np.isfinite(mdata["rna"].layers["log"][mdata.obs["split"] == "train"]).sum()),
        "scores": model.history["valid_pearson"].tolist() if split == "valid" else None,
        "predicted": np.asarray(model.predict(), float).tolist(),
    }
with open(f"{sys.argv[1]}/{os.environ['LOCAL_RANK']}.json", "w") as out:
    json.dump(found, out)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gloo is not set up there")
def test_two_processes_share_the_pairs_and_end_with_one_model(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    # both files of helpers and of the package are found from any folder
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    # not as a part of a job that runs the tests
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOCAL_", "WORLD_", "RANK", "SLURM"))}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in "01")
    for split in ("valid", "test"):
        assert one[split]["steps"] == 3 * -(-(one[split]["pairs"] // 2) // 8)
        assert np.isfinite(one[split]["predicted"]).all()
        assert one[split] == other[split]
