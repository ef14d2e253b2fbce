"""The traps of the stack: genes in another order, arrays of unknown types, views, copies, hostile model files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from small_models import make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.base._tables import SignalTable
from genexp_scverse.pp.scaler import SignalScaler


@pytest.mark.parametrize("modality", ["rna", "chromatin"])
def test_modality_in_another_order_is_refused(modality):
    mdata = make_mdata(n_genes=60)
    shuffled = mdata[modality][mdata.obs_names[::-1]].copy()
    mdata.mod[modality] = shuffled
    with pytest.raises(InputError, match=f'"{modality}" holds its genes in another order'):
        gx.model.DeepChrome(mdata)


def test_modality_with_fewer_genes_is_refused():
    mdata = make_mdata(n_genes=60)
    mdata.mod["rna"] = mdata["rna"][:50].copy()
    with pytest.raises(InputError, match="holds 50 of the 60 genes"):
        gx.model.DeepChrome(mdata)


def test_array_type_that_is_not_known_is_refused():
    import zarr

    mdata = make_mdata(n_genes=60)
    bins = mdata["chromatin"].obsm["bins"]
    stored = zarr.create_array(store={}, shape=bins.shape, dtype="float32", chunks=bins.shape)
    stored[:] = bins
    # anndata itself refuses or accepts this depending on its version: put it where the model will read it
    mdata["chromatin"].obsm._data["bins"] = stored
    with pytest.raises(InputError, match=r'obsm\["bins"\] is a zarr.*cannot be read by rows safely'):
        gx.model.DeepChrome(mdata)


def test_a_view_is_refused():
    mdata = make_mdata(n_genes=60)
    with pytest.raises(InputError, match="is a view"):
        gx.model.DeepChrome(mdata[:40])


def test_a_copy_is_registered_for_itself(caplog):
    """scvi-tools refuses a copy, since it carries the id of the original; here it keeps the setup."""
    mdata = make_mdata(n_genes=60)
    gx.model.DeepChrome.setup_mudata(mdata, marks=["H3K4me3"])
    copy = mdata.copy()
    assert gx.model.DeepChrome(copy).setup_["marks"] == ["H3K4me3"]
    assert "is a copy of one that was set up" in caplog.text
    gx.model.DeepChrome.setup_mudata(copy, marks=["H3K36me3"])
    assert gx.model.DeepChrome(copy).setup_["marks"] == ["H3K36me3"]
    assert gx.model.DeepChrome(mdata).setup_["marks"] == ["H3K4me3"]


def test_an_anndata_is_refused():
    mdata = make_mdata(n_genes=60)
    with pytest.raises(InputError, match="expected a MuData"):
        gx.model.DeepChrome(mdata["chromatin"])
    with pytest.raises(InputError, match="reads a MuData"):
        gx.model.DeepChrome.setup_anndata(mdata["chromatin"])


def test_setup_names_what_is_wrong():
    mdata = make_mdata(n_genes=60)
    setup = gx.model.DeepChrome.setup_mudata
    for arguments, message in (
        ({"samples": ["C"]}, "there is no sample 'C' with tracks"),
        ({"marks": ["H3K79me2"]}, "there is no mark 'H3K79me2' in the MuData"),
        ({"target": "levels"}, "choose one of label, expression, both"),
        ({"modalities": {"chromatin": "histone"}}, 'no modality "histone"'),
        ({"modalities": {"atac": "chromatin"}}, "there is no role 'atac'"),
        ({"marks": ["H3K4me3", "H3K4me3"]}, "'H3K4me3' is named twice"),
        ({"samples": []}, "must name at least one"),
    ):
        with pytest.raises(InputError, match=message):
            setup(mdata, **arguments)
    del mdata.mod["chromatin"]
    with pytest.raises(InputError, match='no modality "chromatin"'):
        setup(mdata)


def test_samples_that_differ_in_marks_share_what_they_have(caplog):
    mdata = make_mdata(n_genes=60)
    chromatin = mdata["chromatin"]
    bins = np.asarray(chromatin.obsm["bins"])
    keep = [0, 1, 2, 3, 5]
    smaller = gx.io.assemble.assemble_chromatin(
        mdata.obs_names, chromatin.var.iloc[keep].reset_index(drop=True), bins[:, keep], chromatin.uns["window"]
    )
    mdata.mod["chromatin"] = smaller
    assert gx.model.DeepChrome(mdata).setup_["marks"] == ["H3K4me3", "H3K36me3"]
    assert "share 2 marks (H3K4me3, H3K36me3); 'H3K27me3' left out" in caplog.text


@pytest.mark.parametrize("kind", ["memmap", "dask", "float16"])
def test_arrays_on_disk_give_the_same_predictions(kind, tmp_path):
    mdata = make_mdata()
    mdata["chromatin"].obsm["bins"] = mdata["chromatin"].obsm["bins"].astype(np.float16).astype(np.float32)
    model = make_model("DeepChrome", mdata)
    expected = model.predict()
    bins = mdata["chromatin"].obsm["bins"]
    if kind == "memmap":
        np.save(tmp_path / "bins.npy", bins)
        other = np.load(tmp_path / "bins.npy", mmap_mode="r")
    elif kind == "dask":
        other = pytest.importorskip("dask.array").from_array(bins, chunks=(50, 6, 40))
    else:
        other = bins.astype(np.float16)
    mdata["chromatin"].obsm["bins"] = other
    again = make_model("DeepChrome", mdata)
    pd.testing.assert_frame_equal(again.predict(), expected, rtol=1e-5)


@pytest.mark.parametrize("on_disk", [False, True])
def test_streaming_gives_the_rows_that_memory_gives(on_disk, tmp_path):
    """Rows come back in the order asked for, whatever the source sorts, and every sample has its own tracks."""
    rng = np.random.default_rng(0)
    bins = rng.random((30, 4, 6)).astype(np.float32)
    if on_disk:
        import h5py

        file = h5py.File(tmp_path / "x.h5", "w")
        bins_source = file.create_dataset("bins", data=bins)
    else:
        bins_source = bins
    arguments = {
        "tracks": np.array([[2, 0], [1, 3]]),
        "marks": ["x", "y"],
        "scales": ["log"] * 4,
        "scaler": SignalScaler.from_dict({"transform": "none", "marks": ["x", "y"], "divisors": [2.0, 4.0]}),
        "flip": np.arange(30) % 2 == 1,
    }
    genes, samples = torch.tensor([7, 2, 7, 29, 0]), torch.tensor([0, 1, 1, 0, 1])
    expected = np.stack(
        [
            bins[g][[[2, 0], [1, 3]][s]] / np.array([[2.0], [4.0]])
            for g, s in zip(genes.tolist(), samples.tolist(), strict=True)
        ]
    )
    expected[[0, 2, 3]] = expected[[0, 2, 3]][:, :, ::-1]
    memory = SignalTable(bins, **arguments)
    memory.to("cpu")
    stream = SignalTable(bins_source, **arguments, resident_bytes=0)
    stream.to("cpu")
    assert memory.resident
    assert not stream.resident
    np.testing.assert_allclose(memory.gather(genes, samples), expected, rtol=1e-6)
    np.testing.assert_allclose(stream.gather(genes, samples), expected, rtol=1e-6)


def test_damaged_descriptions_are_said(tmp_path):
    mdata = make_mdata(n_genes=80)
    make_model("Linear", mdata).save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        gx.model.load(tmp_path / "m")
    path.write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match="format 99"):
        gx.model.load(tmp_path / "m")
    path.write_text(text.replace('"model": "Linear"', '"model": "os.system"'))
    with pytest.raises(InputError, match=r"no model 'os.system'"):
        gx.model.load(tmp_path / "m")
    path.write_text(text)
    with pytest.raises(InputError, match="holds a Linear, not a DeepChrome"):
        gx.model.DeepChrome.load(tmp_path / "m")
    with pytest.raises(InputError, match="not a saved model"):
        gx.model.load(tmp_path)


def test_weights_of_another_shape_are_said(tmp_path):
    mdata = make_mdata(n_genes=80)
    make_model("DeepChrome", mdata).save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(path.read_text().replace('"n_filters": 8', '"n_filters": 9'))
    with pytest.raises(InputError, match="do not fit the model"):
        gx.model.load(tmp_path / "m")
