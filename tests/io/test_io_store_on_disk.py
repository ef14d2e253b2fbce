"""A stored MuData whose bins stay in the file."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import random as random_graph
from small_models import make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse._rows import on_disk
from genexp_scverse.cli import main

ENDINGS = [".h5mu", ".zarr"]


@pytest.fixture(scope="module")
def mdata():
    mdata = make_mdata()
    mdata.obs["note"] = pd.Categorical(np.where(np.arange(mdata.n_obs) % 2, "odd", None))
    dna = AnnData(np.zeros((mdata.n_obs, 0), np.float32), obs=pd.DataFrame(index=mdata.obs_names))
    dna.obsm["codes"] = np.random.default_rng(0).integers(0, 5, (mdata.n_obs, 60)).astype(np.uint8)
    gx.schema.name_axes(dna)
    whole = gx.io.assemble.assemble_mudata(mdata.obs, {**mdata.mod, "dna": dna})
    whole.obsp["neighbors"] = random_graph(mdata.n_obs, mdata.n_obs, 0.05, format="csr", random_state=0)
    whole.obsm["X_pca"] = np.random.default_rng(0).random((mdata.n_obs, 3))
    whole.uns["comparison"] = pd.DataFrame({"auroc": [0.5, 0.75]}, index=["a", "b"])
    return whole


@pytest.fixture(scope="module", params=ENDINGS)
def path(request, mdata, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / f"m{request.param}"
    gx.io.write_mudata(mdata, path)
    return path


def test_everything_is_what_reading_gives(path):
    lazy, eager = gx.io.read_mudata(path, on_disk=True), gx.io.read_mudata(path)
    assert list(lazy.mod) == list(eager.mod)
    pd.testing.assert_frame_equal(lazy.obs, eager.obs)
    assert sorted(lazy.uns) == sorted(eager.uns)
    pd.testing.assert_frame_equal(lazy.uns["comparison"], eager.uns["comparison"])
    assert sorted(lazy.obsm) == sorted(eager.obsm)
    np.testing.assert_array_equal(lazy.obsm["X_pca"], eager.obsm["X_pca"])
    np.testing.assert_array_equal(lazy.obsp["neighbors"].toarray(), eager.obsp["neighbors"].toarray())
    for name, adata in eager.mod.items():
        other = lazy[name]
        pd.testing.assert_frame_equal(other.obs, adata.obs)
        pd.testing.assert_frame_equal(other.var, adata.var)
        np.testing.assert_array_equal(other.X, adata.X)
        assert sorted(other.uns) == sorted(adata.uns)
        assert sorted(k for k in other.layers if k) == sorted(k for k in adata.layers if k)
        for key in (k for k in adata.layers if k):
            np.testing.assert_array_equal(other.layers[key], adata.layers[key])
        assert sorted(other.obsm) == sorted(adata.obsm)
        for key in adata.obsm:
            np.testing.assert_array_equal(np.asarray(other.obsm[key]), adata.obsm[key])
            assert on_disk(other.obsm[key]) == (key in ("bins", "codes"))
            assert not on_disk(adata.obsm[key])


def test_h5mu_is_a_memmap_that_cannot_be_changed(mdata, tmp_path):
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    bins = gx.io.read_mudata(tmp_path / "m.h5mu", on_disk=True)["chromatin"].obsm["bins"]
    assert isinstance(bins, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        bins[0] = 1


def test_compressed_arrays_stay_too(mdata, tmp_path):
    mdata.write_h5mu(tmp_path / "m.h5mu", compression="gzip")
    lazy = gx.io.read_mudata(tmp_path / "m.h5mu", on_disk=True)
    assert isinstance(lazy["chromatin"].obsm["bins"], h5py.Dataset)
    model = make_model("Linear", lazy)
    pd.testing.assert_frame_equal(model.predict(), make_model("Linear", mdata).predict(), check_exact=True)


@pytest.fixture(scope="module")
def in_memory(mdata):
    return {name: make_model(name, mdata) for name in ("DeepChrome", "RandomForest")}


@pytest.mark.parametrize("name", ["DeepChrome", "RandomForest"])
def test_models_give_the_same(name, path, in_memory):
    model = make_model(name, gx.io.read_mudata(path, on_disk=True))
    expected = in_memory[name]
    pd.testing.assert_frame_equal(model.predict(), expected.predict(), check_exact=True)
    pd.testing.assert_frame_equal(model.evaluate(), expected.evaluate(), check_exact=True)


def test_it_can_be_written_again_also_in_its_own_place(path, mdata, tmp_path):
    other = tmp_path / path.name
    (shutil.copytree if path.is_dir() else shutil.copy)(path, other)
    lazy = gx.io.read_mudata(other, on_disk=True)
    lazy.obs["mine"] = 1.0
    gx.io.write_mudata(lazy, other)
    back = gx.io.read_mudata(other)
    assert (back.obs["mine"] == 1).all()
    np.testing.assert_array_equal(back["chromatin"].obsm["bins"], mdata["chromatin"].obsm["bins"])


def test_a_damaged_file_is_said(tmp_path):
    (tmp_path / "x.h5mu").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"is not an .h5mu file"):
        gx.io.read_mudata(tmp_path / "x.h5mu", on_disk=True)
    with h5py.File(tmp_path / "y.h5mu", "w") as file:
        file["obs"] = 1
    with pytest.raises(InputError, match="cannot be read as a MuData"):
        gx.io.read_mudata(tmp_path / "y.h5mu", on_disk=True)


def test_commands_leave_bins_in_the_file(path, tmp_path, monkeypatch):
    seen = []
    read = gx.io.store.read_mudata
    monkeypatch.setattr(gx.io, "read_mudata", lambda *a, **k: seen.append(k) or read(*a, **k))
    model = str(tmp_path / "model")
    assert main(["train", "Linear", str(path), "-o", model]) == 0
    assert main(["evaluate", model, str(path), "-o", str(tmp_path / "t.tsv")]) == 0
    assert main(["predict", model, str(path), "-o", str(tmp_path / "p.tsv")]) == 0
    assert seen == [{"on_disk": True}] * 3


def test_genes_in_another_order_than_those_of_the_modalities_are_refused(mdata, tmp_path):
    path = tmp_path / "m.h5mu"
    gx.io.write_mudata(mdata, path)
    with h5py.File(path, "r+") as file:
        file["obs/_index"][:] = file["obs/_index"][:][::-1]
    for stays in (False, True):
        with pytest.raises(InputError, match=r"m\.h5mu .*order"):
            gx.io.read_mudata(path, on_disk=stays)
