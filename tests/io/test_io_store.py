from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix, issparse

import genexp_scverse as gx
from genexp_scverse import InputError

ENDINGS = [".h5mu", ".zarr"]
GENES = [f"g{i}" for i in range(7)]


def small(value=1.0):
    return gx.io.from_bins(np.full((3, 1, 4), value), genes=["a", "b", "c"], marks=["H3K4me3"])


def make(dtype="float32"):
    """A MuData with something in every slot that this package uses."""
    rng = np.random.default_rng(5)
    obs = pd.DataFrame(
        {
            "chrom": ["chr1"] * 4 + ["chr2"] * 3,
            "tss": np.arange(7) * 100,
            "strand": list("+-+-+-+"),
            "gene_name": ["TP53", None, "MYC", "", "NA", "GATA1", np.nan],
            "half_life": [1.5, np.nan, 0, 1, 2, 3, 4],
            "coding": [True, False] * 3 + [True],
        },
        index=GENES,
    )
    bins = rng.random((7, 4, 5)).astype(dtype)
    bins[0, 0, 0] = np.nan
    mdata = gx.io.from_bins(
        bins[:, :2],
        genes=GENES,
        marks=["H3K4me3", "H3K27me3"],
        expression=rng.random(7),
        unit="tpm",
        sample="K562",
        obs=obs,
        window={"upstream": 30, "downstream": 20, "bin_size": 10, "stranded": True},
    )
    mdata["chromatin"].obsm["bins"] = bins[:, :2]
    gx.schema.name_axes(mdata, "bins")
    mdata["chromatin"].obsm["X_deepchrome"] = rng.random((7, 3))
    mdata["chromatin"].varm["profile"] = rng.random((2, 5)).astype(np.float32)
    mdata["chromatin"].uns["binning"] = {"summary": "mean", "uncovered": "nan"}
    mdata["rna"].layers["label"] = np.array([[0], [1], [np.nan], [1], [0], [1], [0]], np.float32)
    mdata["rna"].layers["deepchrome"] = rng.random((7, 1)).astype(np.float32)
    dna = anndata.AnnData(np.zeros((7, 0), np.float32), obs=pd.DataFrame(index=GENES))
    dna.obsm["codes"] = rng.integers(0, 5, (7, 50)).astype(np.uint8)
    dna.uns["window"] = {"upstream": 30, "downstream": 20, "stranded": True}
    gx.schema.name_axes(dna)
    mdata.mod["dna"] = dna
    mdata.obs["split"] = pd.Categorical(["train"] * 5 + ["valid", np.nan], categories=["train", "valid", "test"])
    mdata.obsp["contacts"] = csr_matrix(np.triu(rng.random((7, 7)), 3))
    mdata.uns["assembly"] = "hg38"
    mdata.uns["chrom_sizes"] = pd.DataFrame(
        {"chrom": ["chr1", "chr2"], "size": [1000, 3_000_000_000]}, index=["0", "1"]
    )
    mdata.uns["intervals"] = {
        "peaks": pd.DataFrame({"chrom": ["chr1", "chr2"], "start": [1, 2], "end": [3, 4], "name": ["a", None]})
    }
    mdata.uns["deepchrome_patterns"] = {"values": rng.random((2, 2, 5)), "marks": np.array(["H3K4me3", "H3K27me3"])}
    return mdata


def plain(frame):
    """Values alone: gaps are None, categories are text, whatever type the version in use gives them."""
    frame = frame.astype(object)
    return {str(c): [None if pd.isna(v) else v for v in frame[c]] for c in frame}


def assert_same(one, other):
    assert sorted(one.mod) == sorted(other.mod)
    assert one.obs_names.tolist() == other.obs_names.tolist()
    assert plain(one.obs) == plain(other.obs)
    for key in one.obsp:
        assert issparse(other.obsp[key])
        np.testing.assert_array_equal(one.obsp[key].toarray(), other.obsp[key].toarray())
    for name, left in one.mod.items():
        right = other[name]
        assert left.var_names.tolist() == right.var_names.tolist()
        assert plain(left.var) == plain(right.var)
        np.testing.assert_array_equal(left.X, right.X)
        for slot in ("layers", "obsm", "varm"):
            ours, theirs = getattr(left, slot), getattr(right, slot)
            assert {k for k in ours if k is not None} == {k for k in theirs if k is not None}
            for key in ours:
                if key is not None:
                    assert np.asarray(ours[key]).dtype == np.asarray(theirs[key]).dtype
                    np.testing.assert_array_equal(ours[key], theirs[key])
        assert_same_uns(left.uns, right.uns)
    assert_same_uns(one.uns, other.uns)


def assert_same_uns(one, other):
    assert set(one) == set(other)
    for key, value in one.items():
        if isinstance(value, pd.DataFrame):
            assert plain(value) == plain(other[key]), key
        elif isinstance(value, dict):
            assert_same_uns(value, other[key])
        else:
            np.testing.assert_array_equal(value, other[key])


@pytest.mark.parametrize(("ending", "dtype"), [(".h5mu", "float32"), (".h5mu", "float16"), (".zarr", "float16")])
def test_round_trip_keeps_everything(tmp_path, ending, dtype):
    mdata = make(dtype)
    kept = mdata.obs.copy()
    gx.io.write_mudata(mdata, tmp_path / f"all{ending}")
    assert plain(mdata.obs) == plain(kept)
    back = gx.io.read_mudata(tmp_path / f"all{ending}")
    assert_same(mdata, back)
    assert back["chromatin"].obsm["bins"].dtype == dtype
    assert back["dna"].obsm["codes"].dtype == np.uint8
    assert back.obs["split"].cat.categories.tolist() == ["train", "valid", "test"]
    assert dict(back["chromatin"].uns["window"]) == {"upstream": 30, "downstream": 20, "bin_size": 10, "stranded": True}
    gx.io.write_mudata(back, tmp_path / f"again{ending}")
    assert_same(back, gx.io.read_mudata(tmp_path / f"again{ending}"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_text_with_gaps_that_a_user_put_there(tmp_path, ending):
    mdata = make()
    mdata.obs["note"] = ["a", None, np.nan, "b", "c", "d", "e"]
    mdata["rna"].var["tissue"] = [None]
    mdata["chromatin"].var["lab"] = ["Broad", None]
    before = mdata.obs["note"].dtype, mdata["chromatin"].var["lab"].dtype
    gx.io.write_mudata(mdata, tmp_path / f"m{ending}")
    assert before == (mdata.obs["note"].dtype, mdata["chromatin"].var["lab"].dtype)
    back = gx.io.read_mudata(tmp_path / f"m{ending}")
    assert plain(back.obs)["note"] == ["a", None, None, "b", "c", "d", "e"]
    assert plain(back["chromatin"].var)["lab"] == ["Broad", None]


@pytest.mark.parametrize("ending", ENDINGS)
def test_registration_of_scvi_is_left_out_and_stays_in_memory(tmp_path, ending):
    mdata = small()
    mdata.uns["_scvi_uuid"] = "7"
    gx.io.write_mudata(mdata, tmp_path / f"m{ending}")
    assert mdata.uns["_scvi_uuid"] == "7"
    assert "_scvi_uuid" not in gx.io.read_mudata(tmp_path / f"m{ending}").uns


@pytest.mark.parametrize("ending", ENDINGS)
def test_replacing_leaves_nothing_of_the_old_one(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    old = small(2.0)
    old.uns["more"] = {"marks": np.array(["H3K4me3"])}
    old["chromatin"].obsm["X_deepchrome"] = np.ones((3, 2))
    gx.io.write_mudata(old, path)
    gx.io.write_mudata(small(), path)
    assert_same(small(), gx.io.read_mudata(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same MuData in both formats, written once."""
    folder = tmp_path_factory.mktemp("stored")
    for ending in ENDINGS:
        gx.io.write_mudata(make(), folder / f"m{ending}")
    return folder


@pytest.fixture
def zarr_store(stored, tmp_path):
    return shutil.copytree(stored / "m.zarr", tmp_path / "m.zarr")


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("ending", "error"),
    [*((e, error) for e in ENDINGS for error in (FULL, KeyboardInterrupt())), (".h5mu", MemoryError())],
)
def test_an_interrupted_write_changes_nothing(tmp_path, ending, error, monkeypatch):
    path = tmp_path / f"m{ending}"
    gx.io.write_mudata(small(), path)
    before = contents(tmp_path)
    name = "write_h5mu" if ending == ".h5mu" else "write_zarr"
    whole = getattr(mudata.MuData, name)

    def cut(self, target, *args, **kwargs):
        whole(self, target, *args, **kwargs)
        raise error

    monkeypatch.setattr(mudata.MuData, name, cut)
    other = small(2.0)
    other.uns["_scvi_uuid"] = "7"
    if isinstance(error, OSError):
        with pytest.raises(
            InputError, match=r"could not be written .*No space left on device.*: nothing was changed there"
        ):
            gx.io.write_mudata(other, path)
    else:
        with pytest.raises(type(error)):
            gx.io.write_mudata(other, path)
    assert other.uns["_scvi_uuid"] == "7"
    assert contents(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_cannot_be_put_in_place_leaves_the_old_one(tmp_path, ending, monkeypatch):
    path = tmp_path / f"m{ending}"
    gx.io.write_mudata(small(), path)
    before = contents(tmp_path)

    def replace(self, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(InputError, match="nothing was changed there"):
        gx.io.write_mudata(small(2.0), path)
    assert contents(tmp_path) == before


def test_a_disk_that_is_full(tmp_path):
    """A limit on the size of files is a real error of the system in the middle of writing."""
    code = (
        "import resource, signal, sys, numpy as np, genexp_scverse as gx\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "m = gx.io.from_bins(np.random.rand(200, 2, 500), genes=[f'g{i}' for i in range(200)], marks=['a', 'b'])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        gx.io.write_mudata(m, path)\n"
        "    except gx.InputError as error:\n"
        "        print(error)\n"
    )
    paths = [str(tmp_path / f"m{ending}") for ending in ENDINGS]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths), done.stderr
    for path, line in zip(paths, lines, strict=True):
        assert f"{path} could not be written" in line
    assert list(tmp_path.iterdir()) == []


def test_names_that_cannot_be_written(tmp_path):
    mdata = make()
    with pytest.raises(InputError, match=r"m\.h5ad has the ending '\.h5ad': the name must end in \.h5mu or \.zarr"):
        gx.io.write_mudata(mdata, tmp_path / "m.h5ad")
    (tmp_path / "folder.h5mu").mkdir()
    with pytest.raises(InputError, match=r"folder\.h5mu is a folder: choose another name"):
        gx.io.write_mudata(mdata, tmp_path / "folder.h5mu")
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"mine\.zarr exists and is no zarr store, so it is not replaced"):
        gx.io.write_mudata(mdata, tmp_path / "mine.zarr")
    assert (tmp_path / "mine.zarr" / "thesis.txt").read_text() == "precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file cannot be written to: choose another place for m\.h5mu"):
        gx.io.write_mudata(mdata, tmp_path / "file" / "m.h5mu")


def test_folders_are_made(tmp_path):
    gx.io.write_mudata(make(), tmp_path / "a" / "b" / "m.h5mu")
    assert gx.io.read_mudata(tmp_path / "a" / "b" / "m.h5mu").n_obs == 7


def test_what_is_no_mudata(tmp_path):
    with pytest.raises(InputError, match=r"none\.h5mu does not exist: make it with"):
        gx.io.read_mudata(tmp_path / "none.h5mu")
    with pytest.raises(InputError, match=r"is a folder and no zarr store: give the \.h5mu file"):
        gx.io.read_mudata(tmp_path)
    (tmp_path / "text.h5mu").write_text("gene_id\tK562\n")
    with pytest.raises(InputError, match=r"text\.h5mu is not an \.h5mu file \(no HDF5 signature\)"):
        gx.io.read_mudata(tmp_path / "text.h5mu")
    (tmp_path / "empty.h5mu").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.h5mu is not an \.h5mu file"):
        gx.io.read_mudata(tmp_path / "empty.h5mu")
    with h5py.File(tmp_path / "other.h5mu", "w") as other:
        other["x"] = np.ones(3)
    with pytest.raises(InputError, match=r"other\.h5mu (cannot be read as a MuData|holds no modality)"):
        gx.io.read_mudata(tmp_path / "other.h5mu")
    anndata.AnnData(np.ones((3, 2), np.float32)).write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=r"cells\.h5ad (cannot be read as a MuData|holds no modality)"):
        gx.io.read_mudata(tmp_path / "cells.h5ad")


def test_a_mudata_of_another_kind(tmp_path):
    cells = anndata.AnnData(np.ones((3, 2), np.float32), obs=pd.DataFrame(index=["c1", "c2", "c3"]))
    mudata.MuData({"rna": cells}).write_h5mu(tmp_path / "cells.h5mu")
    with pytest.raises(InputError, match=r"cells\.h5mu is not a gene-centric MuData: .*lacks the column 'sample'"):
        gx.io.read_mudata(tmp_path / "cells.h5mu")


@pytest.mark.parametrize("share", [0.2, 0.6, 0.98])
def test_a_truncated_file_is_one_sentence(stored, tmp_path, share):
    path = tmp_path / "m.h5mu"
    whole = (stored / "m.h5mu").read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"m\.h5mu cannot be read as a MuData .*damaged, cut short") as caught:
        gx.io.read_mudata(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_zarr_store_is_one_sentence(zarr_store):
    path = zarr_store
    shutil.rmtree(path / "mod" / "rna" / "X")
    for name in (".zmetadata", "zarr.json"):
        meta = path / name
        if meta.is_file():
            content = json.loads(meta.read_text())
            content.pop("consolidated_metadata", None)
            meta.unlink() if name == ".zmetadata" else meta.write_text(json.dumps(content))
    try:
        back = gx.io.read_mudata(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert back["rna"].X is None
    group = next(p for p in (path / "zarr.json", path / ".zgroup") if p.is_file())
    group.write_text("{not json")
    with pytest.raises(InputError, match=r"(is no valid JSON|JSONDecodeError).*damaged"):
        gx.io.read_mudata(path)


PICKLES = [
    {"filters": [{"id": "pickle", "protocol": 5}]},
    {"compressor": {"id": "pickle"}},
    {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
    {"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "Pickle"}]}}]},
]


@pytest.mark.parametrize("planted", PICKLES)
@pytest.mark.parametrize("escaped", [True, False])
def test_a_store_that_asks_for_pickles_is_refused(tmp_path, planted, escaped):
    path = tmp_path / "m.zarr"
    (path / "obs").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    for name, content in ((".zmetadata", {"metadata": {"obs/.zarray": planted}}), ("obs/.zarray", planted)):
        text = json.dumps(content)
        (path / name).write_text(text.replace("pickle", "\\u0070ickle") if escaped else text)
        with pytest.raises(InputError, match=r"the codec .*\(pickled objects, which could run code\), which is not"):
            gx.io.read_mudata(path)
        (path / name).unlink()


def test_a_pickle_codec_of_zarr_2_would_run_and_does_not(zarr_store, tmp_path):
    """A real array with the filter of numcodecs, whose chunk makes a file when it is unpickled."""
    path = zarr_store
    planted = path / "uns" / "planted"
    planted.mkdir(parents=True)
    trace = tmp_path / "trace"

    class Run:
        def __reduce__(self):
            return Path.touch, (trace,)

    (planted / "0").write_bytes(pickle.dumps(Run()))
    array = {
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C", "fill_value": 0,
        "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    (planted / ".zarray").write_text(json.dumps(array))
    with pytest.raises(InputError, match="asks for the codec 'pickle'"):
        gx.io.read_mudata(path)
    assert not trace.exists()


def test_a_name_that_says_pickle_is_no_pickle(tmp_path):
    mdata = small()
    mdata.obs["pickle"] = 1
    mdata.uns["name"] = "pickle"
    gx.io.write_mudata(mdata, tmp_path / "m.zarr")
    assert gx.io.read_mudata(tmp_path / "m.zarr").uns["name"] == "pickle"


@pytest.mark.parametrize("ending", ENDINGS)
def test_text_of_the_string_type_is_written_as_plain_text(tmp_path, ending):
    """A file of pandas 3 read under pandas 2 has such columns and such an index."""
    mdata = make()
    mdata.obs["note"] = pd.array(["a", None, "b", "c", "d", "e", "f"], dtype="string")
    mdata["chromatin"].var["lab"] = pd.array(["Broad", "UW"], dtype="string")
    mdata["rna"].obs["kind"] = pd.array(list("abcdefg"), dtype="string")
    mdata.obs.index = mdata.obs.index.astype("string")
    mdata["chromatin"].var.index = mdata["chromatin"].var.index.astype("string")
    mdata.uns["table"] = pd.DataFrame({"text": pd.array(["x", None], dtype="string")}, index=["0", "1"])
    mdata.uns["deep"] = {"table": mdata.uns["table"].copy()}
    gx.io.write_mudata(mdata, tmp_path / f"m{ending}")
    assert str(mdata.obs["note"].dtype) == str(mdata.uns["deep"]["table"]["text"].dtype) == "string"
    back = gx.io.read_mudata(tmp_path / f"m{ending}")
    assert_same(mdata, back)
    if ending == ".h5mu":
        with h5py.File(tmp_path / "m.h5mu") as file:
            for name in ("obs/_index", "mod/chromatin/var/_index", "mod/rna/obs/_index"):
                assert file[name].attrs["encoding-type"] == "string-array"
            for name in ("obs/note", "uns/table/text", "uns/deep/table/text"):
                assert file[name].attrs["encoding-type"] == "categorical"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_slash_in_a_key_is_refused(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    gx.io.write_mudata(small(), path)
    before = contents(tmp_path)
    places = {
        "layers": lambda m: m["rna"].layers.__setitem__("a/b", m["rna"].X),
        "obsm": lambda m: m["chromatin"].obsm.__setitem__("a/b", np.ones((7, 2))),
        "varm": lambda m: m["chromatin"].varm.__setitem__("a/b", np.ones((2, 2))),
        "var": lambda m: m["chromatin"].var.__setitem__("a/b", 1),
        "obs": lambda m: m.obs.__setitem__("a/b", 1),
        "uns": lambda m: m.uns.__setitem__("a/b", 1),
        r"uns\['deep'\]": lambda m: m.uns.__setitem__("deep", {"a/b": 1}),
    }
    for place, plant in places.items():
        mdata = make()
        plant(mdata)
        with pytest.raises(InputError, match=rf"the key 'a/b' of (modality '\w+': )?{place} holds a slash.*rename it"):
            gx.io.write_mudata(mdata, path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_object_that_no_file_keeps_is_named(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    gx.io.write_mudata(small(), path)
    before = contents(tmp_path)
    for value, kind in ((Path("x"), r"\w*Path"), ({1, 2}, "set"), (object(), "object")):
        mdata = small()
        mdata.uns["mine"] = value
        with pytest.raises(InputError, match=rf"could not be written \(uns\['mine'\] holds the type {kind}, "):
            gx.io.write_mudata(mdata, path)
    mdata = small()
    mdata["chromatin"].obs["lists"] = [[1], [2, 3], []]
    with pytest.raises(InputError, match=r"modality 'chromatin': obs\['lists'\] holds the type list, "):
        gx.io.write_mudata(mdata, path)
    mdata = small()
    mdata.uns["deep"] = {"pair": ("a", 1, None)}
    with pytest.raises(InputError, match=r"\(uns\['deep'\]\['pair'\] holds the type tuple, "):
        gx.io.write_mudata(mdata, path)
    assert contents(tmp_path) == before


def test_what_was_read_from_one_format_is_written_to_the_other(tmp_path):
    mdata = gx.io.from_bins(np.ones((3, 2, 4)), genes=["a", "b", "c"], marks=["x", "y"])
    for first, second in (("h5mu", "zarr"), ("zarr", "h5mu")):
        gx.io.write_mudata(mdata, tmp_path / f"first.{first}")
        gx.io.write_mudata(gx.io.read_mudata(tmp_path / f"first.{first}"), tmp_path / f"second.{second}")
        again = gx.io.read_mudata(tmp_path / f"second.{second}")
        np.testing.assert_array_equal(again["chromatin"].obsm["bins"], np.ones((3, 2, 4)))
