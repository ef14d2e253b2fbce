"""Files made to do harm, one by one: each is refused in one sentence, runs no code and reads no other file.

A case is a function that gets a folder of its own, plants what is hostile there and returns the reading of it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_models import make_mdata

import genexp_scverse as gx
from genexp_scverse import InputError


class Place(NamedTuple):
    folder: Path
    """Of this case alone."""
    marker: Path
    """What code that runs would leave."""
    whole: Path
    """Folder of what is as it should be: m.h5mu, m.zarr, models by their names; not to be changed."""

    def copy(self, name: str) -> Path:
        """A copy of one of the whole files, to be changed."""
        copy = shutil.copytree if (self.whole / name).is_dir() else shutil.copy
        return Path(copy(self.whole / name, self.folder / name))

    @property
    def pickled(self) -> bytes:
        return pickle.dumps(Touch(self.marker))


class Touch:
    """What leaves the marker when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


MODELS: dict[str, dict[str, Any]] = {
    "DeepChrome": {"n_filters": 4, "kernel_size": 3, "n_hidden": [4, 4]},
    "Ensemble": {"model": ["Linear", "RandomForest"], "n_members": 1},
    "Linear": {},
    "LinearSVM": {},
    "RandomForest": {"n_trees": 3},
}
QUIET = {"enable_progress_bar": False}
CASES: dict[str, tuple[Callable[[Place], Callable[[], Any]], str]] = {}


def refused(sentence: str):
    def register(make: Callable[[Place], Callable[[], Any]]):
        CASES[make.__name__] = make, sentence
        return make

    return register


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    x = np.random.default_rng(0).random((12, 2, 8)).astype(np.float32)
    mdata = gx.io.from_bins(
        x, genes=[f"g{i}" for i in range(12)], marks=["a", "b"], expression=x[:, 0].mean(1), unit="log"
    )
    for name in ("m.h5mu", "m.zarr"):
        gx.io.write_mudata(mdata, folder / name)
    mdata = make_mdata(n_genes=60, n_bins=10)
    for name, hyper in MODELS.items():
        model = gx.model.model_class(name)(mdata, **hyper)
        model.train(**({"max_epochs": 1, "accelerator": "cpu", **QUIET} if name == "DeepChrome" else {}))
        model.save(folder / name)
    return folder


# zarr

ARRAY = {
    "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "<i4", "order": "C", "fill_value": 0,
    "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
}  # fmt: skip


def with_array(place: Place, chunk: bytes = b"0000", **metadata: Any) -> Path:
    """A store with one array more, in uns."""
    path = place.copy("m.zarr")
    array = path / "uns" / "planted"
    array.mkdir()
    (array / "0").write_bytes(chunk)
    (array / ".zarray").write_text(json.dumps({**ARRAY, "filters": None, **metadata}))
    return path


def reading(path: Path, **options: Any) -> Callable[[], Any]:
    return lambda: gx.io.read_mudata(path, **options)


PICKLE_CODEC = r"asks for the codec '\w*[Pp]ickle\w*' \(pickled objects, which could run code\), which is not read"


@refused(PICKLE_CODEC)
def zarr_pickle_filter(place):
    return reading(with_array(place, place.pickled, filters=ARRAY["filters"]))


@refused(PICKLE_CODEC)
def zarr_pickle_filter_of_objects(place):
    return reading(with_array(place, place.pickled, dtype="|O", filters=ARRAY["filters"]))


@refused(PICKLE_CODEC)
def zarr_pickle_filter_read_on_disk(place):
    return reading(with_array(place, place.pickled, filters=ARRAY["filters"]), on_disk=True)


@refused(PICKLE_CODEC)
def zarr_pickle_compressor(place):
    return reading(with_array(place, place.pickled, compressor={"id": "pickle"}))


@refused(PICKLE_CODEC)
def zarr_pickle_behind_a_plain_filter(place):
    return reading(with_array(place, place.pickled, filters=[{"id": "delta", "dtype": "<i4"}, {"id": "pickle"}]))


@refused("cannot be read as a MuData")
def zarr_chunk_of_no_length(place):
    path = place.copy("m.zarr")
    meta = path / "mod" / "chromatin" / "X" / ".zarray"
    if meta.exists():
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "chunks": [0, 0]}))
    else:
        meta = meta.with_name("zarr.json")
        content = json.loads(meta.read_text())
        content["chunk_grid"]["configuration"]["chunk_shape"] = [0, 0]
        meta.write_text(json.dumps(content))
    return reading(path)


@refused("is a link or a device: a zarr store holds files and folders alone")
def zarr_pickle_by_a_link_to_metadata(place):
    path = with_array(place, place.pickled)
    meta = path / "uns" / "planted" / ".zarray"
    meta.rename(place.folder / "elsewhere")
    meta.symlink_to(place.folder / "elsewhere")
    (place.folder / "elsewhere").write_text(json.dumps(ARRAY))
    return reading(path)


@refused("is a link or a device: a zarr store holds files and folders alone")
def zarr_pickle_by_a_link_to_a_folder(place):
    path = with_array(place, place.pickled, filters=ARRAY["filters"])
    (path / "uns" / "planted").rename(place.folder / "elsewhere")
    (path / "uns" / "planted").symlink_to(place.folder / "elsewhere")
    return reading(path)


@refused("is a link or a device: a zarr store holds files and folders alone")
def zarr_chunk_that_is_a_link_out(place):
    path = with_array(place)
    (path / "uns" / "planted" / "0").unlink()
    (path / "uns" / "planted" / "0").symlink_to("/etc/passwd")
    return reading(path)


@refused("is a link or a device: a zarr store holds files and folders alone")
def zarr_chunk_that_is_a_pipe(place):
    path = with_array(place)
    (path / "uns" / "planted" / "0").unlink()
    os.mkfifo(path / "uns" / "planted" / "0")
    return reading(path)


@refused(PICKLE_CODEC)
def zarr_pickle_in_consolidated_metadata_alone(place):
    path = with_array(place, place.pickled)
    meta = {"zarr_consolidated_format": 1, "metadata": {".zgroup": {"zarr_format": 2}, "uns/planted/.zarray": ARRAY}}
    (path / ".zmetadata").write_text(json.dumps(meta))
    return reading(path)


@refused(PICKLE_CODEC)
def zarr_pickle_in_a_store_within(place):
    path = place.copy("m.zarr")
    inner = path / "uns" / "a" / "b"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (inner / "planted").mkdir()
    (inner / "planted" / "0").write_bytes(place.pickled)
    (inner / "planted" / ".zarray").write_text(json.dumps(ARRAY))
    return reading(path)


@refused(PICKLE_CODEC)
def zarr_pickle_in_metadata_of_other_case(place):
    path = with_array(place, place.pickled)
    (path / "uns" / "planted" / ".ZARRAY").write_text(json.dumps(ARRAY))
    return reading(path)


@refused(PICKLE_CODEC)
def zarr_3_pickle_within_shards(place):
    path = place.copy("m.zarr")
    (path / "uns" / "planted").mkdir()
    shards = {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}
    meta = {"zarr_format": 3, "node_type": "array", "shape": [1], "data_type": "int32", "codecs": [shards]}
    (path / "uns" / "planted" / "zarr.json").write_text(json.dumps(meta))
    return reading(path)


@refused("asks for the codec 'json2', which is not read")
def zarr_codec_that_nobody_needs(place):
    return reading(with_array(place, b"[1]", dtype="|O", filters=[{"id": "json2"}]))


@refused("declares 4,611,686,018,427,.* bytes of arrays and has .* less than any compression leaves")
def zarr_of_2_60_numbers(place):
    return reading(with_array(place, shape=[2**60], chunks=[2**20]))


@refused(r"\.zarray is no valid JSON")
def zarr_metadata_of_great_depth(place):
    path = with_array(place)
    (path / "uns" / "planted" / ".zarray").write_text("[" * 100_000)
    return reading(path)


@refused("is damaged .a chunk of uns/planted is larger than what it unpacks to")
def zarr_chunk_that_unpacks_to_megabytes(place):
    return reading(with_array(place, zlib.compress(bytes(2**25), 9), compressor={"id": "zlib", "level": 9}))


# HDF5


def with_dataset(place: Place, plant: Callable[[h5py.File], Any]) -> Path:
    path = place.copy("m.h5mu")
    with h5py.File(path, "r+") as file:
        plant(file)
    return path


@refused(r"has a dataset that is kept in another file, at /uns/planted, which is not read")
def hdf5_external_storage(place):
    storage = [("/etc/passwd", 0, 64)]
    return reading(with_dataset(place, lambda f: f.create_dataset("uns/planted", (64,), "u1", external=storage)))


@refused("has a dataset that is virtual, put together from other files, at /uns/planted, which is not read")
def hdf5_virtual_dataset(place):
    other = place.folder / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.arange(4)
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource(str(other), "x", (4,))
    return reading(with_dataset(place, lambda f: f.create_virtual_dataset("uns/planted", layout)))


@refused("has a link to another file at /uns/planted, which is not followed")
def hdf5_external_link(place):
    return reading(with_dataset(place, lambda f: f["uns"].__setitem__("planted", h5py.ExternalLink("x.h5", "/x"))))


@refused("has a soft link at /uns/planted, which is not followed")
def hdf5_soft_link(place):
    return reading(with_dataset(place, lambda f: f["uns"].__setitem__("planted", h5py.SoftLink("/obs"))))


@refused("is damaged .the group /uns/planted.* is in two places, or too deep")
def hdf5_groups_that_hold_each_other(place):
    return reading(with_dataset(place, lambda f: f["uns"].__setitem__("planted", f["/"])))


@refused("is damaged .the group /uns/planted.* is in two places, or too deep")
def hdf5_groups_that_double_at_every_level(place):
    def plant(file):
        group = file["uns"].create_group("planted")
        for _ in range(40):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner

    return reading(with_dataset(place, plant))


@refused("has references at /uns/planted, which are not read")
def hdf5_references(place):
    def plant(file):
        file["uns"].create_dataset("planted", (1,), h5py.ref_dtype)[0] = file["obs"].ref

    return reading(with_dataset(place, plant))


@refused("has opaque bytes at .*'pickled' of /uns.* which are not read")
def hdf5_pickle_in_an_attribute(place):
    def plant(file):
        file["uns"].attrs.create("pickled", np.void(place.pickled))

    return reading(with_dataset(place, plant))


@refused(r"has a dataset packed by the filter 32015 \(.*\), at /uns/planted, which needs a plugin and is not read")
def hdf5_filter_of_a_plugin(place):
    def plant(file):
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((4,))
        # an optional filter can be asked for where it is not there
        made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file["uns"].id, b"planted", h5py.h5t.NATIVE_INT32, space, made)

    return reading(with_dataset(place, plant))


@refused("declares 9,223,372,036,854,.* bytes of arrays and has .* less than any compression leaves")
def hdf5_2_60_numbers_that_are_not_there(place):
    return reading(with_dataset(place, lambda f: f.create_dataset("uns/planted", (2**60,), "f8", chunks=(1024,))))


@refused("declares .* bytes of arrays and has .* less than any compression leaves")
def hdf5_2_60_numbers_read_on_disk(place):
    def plant(file):
        file["mod/chromatin/obsm"].create_dataset("codes", (2**60,), "f8", chunks=(1024,))

    return reading(with_dataset(place, plant), on_disk=True)


@refused("is damaged .*/uns/planted is compressed twice")
def hdf5_compressed_twice(place):
    def plant(file):
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((2**20,))
        made.set_deflate(9)
        made.set_deflate(9)
        space = h5py.h5s.create_simple((2**20,))
        h5py.h5d.create(file["uns"].id, b"planted", h5py.h5t.NATIVE_INT8, space, made)
        file["uns/planted"][:] = 0

    return reading(with_dataset(place, plant))


@refused("is damaged .the texts at byte .* do not follow each other")
def hdf5_texts_without_end(place):
    """A text of index 0 and length 0 in the first collection, which libhdf5 reads for ever."""
    path = place.copy("m.h5mu")
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    content[first : first + 16] = bytes(16)
    path.write_bytes(content)
    return reading(path)


@refused("is damaged .the texts at byte .* do not follow each other")
def hdf5_text_whose_length_is_almost_2_64(place):
    path = place.copy("m.h5mu")
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    content[first + 8 : first + 16] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(content)
    return reading(path)


@refused("is damaged .a chunk of /uns/planted takes .* bytes packed and 64 unpacked")
def hdf5_chunk_that_unpacks_to_megabytes(place):
    """A gzip bomb: libhdf5 unpacks all of a chunk, however small it is said to be."""

    def plant(file):
        dataset = file.create_dataset("uns/planted", (64,), "u1", chunks=(64,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(2**25), 9))

    return reading(with_dataset(place, plant))


# models


def loading(folder: Path) -> Callable[[], Any]:
    return lambda: gx.model.load(folder)


def with_weights(place: Place, change: Callable[[dict[str, np.ndarray]], Any], write: Any = np.savez) -> Path:
    folder = place.copy("DeepChrome")
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    change(arrays)
    write(folder / "weights.npz", **arrays)
    return folder


def with_description(place: Place, name: str, change: Callable[[dict[str, Any]], Any]) -> Path:
    folder = place.copy(name)
    description = json.loads((folder / "model.json").read_text())
    change(description)
    (folder / "model.json").write_text(json.dumps(description))
    return folder


def with_estimator(place: Place, name: str, change: Callable[[dict, dict[str, bytes]], Any]) -> Path:
    """A model whose classifier was changed: its tree of nodes, and the files beside it."""
    folder = place.copy(name)
    path = folder / "classifier.skops"
    with zipfile.ZipFile(path) as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    tree = json.loads(files["schema.json"])
    change(tree, files)
    files["schema.json"] = json.dumps(tree).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for n, content in files.items():
            archive.writestr(n, content)
    return folder


def with_trees(place: Place, change: Callable[[np.ndarray], Any]) -> Path:
    """A forest whose nodes were changed."""

    def changed(tree, files):
        for name, content in files.items():
            if name.endswith(".npy") and b"left_child" in content:
                nodes = np.load(io.BytesIO(content))
                change(nodes)
                buffer = io.BytesIO()
                np.save(buffer, nodes)
                files[name] = buffer.getvalue()

    return with_estimator(place, "RandomForest", changed)


NOT_PLAIN = r"weights\.npz does not hold plain arrays \(.*\): it is damaged or not from this package, and is not read"


@refused(NOT_PLAIN.replace(".*", ".*conv.bias.npy: an array of objects"))
def model_pickle_among_the_weights(place):
    objects = np.array([Touch(place.marker)], dtype=object)
    return loading(with_weights(place, lambda arrays: arrays.update({"conv.bias": objects})))


@refused(NOT_PLAIN)
def model_pickle_as_weights(place):
    folder = place.copy("DeepChrome")
    (folder / "weights.npz").write_bytes(place.pickled)
    return loading(folder)


@refused("the arrays in .* do not fit the model that model.json describes")
def model_torch_file_as_weights(place):
    folder = place.copy("DeepChrome")
    torch.save({"conv.bias": Touch(place.marker)}, folder / "weights.npz")
    return loading(folder)


@refused(NOT_PLAIN.replace(".*", "it packs 'conv.weight.npy'.*"))
def model_weights_that_unpack_to_gigabytes(place):
    return loading(
        with_weights(place, lambda a: a.update({"conv.bias": np.zeros(2**24, np.float32)}), np.savez_compressed)
    )


@refused(r"the arrays in .* do not fit the model that model.json describes \('conv.bias'\)")
def model_weights_of_another_shape(place):
    return loading(with_weights(place, lambda a: a.update({"conv.bias": a["conv.bias"][:-1]})))


@refused(r"the arrays in .* do not fit the model that model.json describes \('conv.bias'\)")
def model_weights_of_another_type(place):
    return loading(with_weights(place, lambda a: a.update({"conv.bias": a["conv.bias"].astype("c8")})))


@refused(r"the arrays in .* do not fit the model that model.json describes \('../../planted'\)")
def model_weights_with_a_path(place):
    return loading(with_weights(place, lambda a: a.update({"../../planted": np.ones(1)})))


@refused(r"the arrays in .* do not fit the model that model.json describes")
def model_header_of_2_60_numbers(place):
    folder = place.copy("DeepChrome")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**60,)})
    with zipfile.ZipFile(folder / "weights.npz", "w") as archive:
        archive.writestr("conv.bias.npy", header.getvalue())
    return loading(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(value, whole, tmp_path):
    place = Place(tmp_path, tmp_path / "code ran", whole)
    folder = with_weights(place, lambda arrays: arrays["conv.bias"].__setitem__(0, value))
    with pytest.raises(InputError, match=r"holds values that are no finite numbers \('conv.bias'\)"):
        gx.model.load(folder)


@refused("weights.npz is no file of the model's folder but leads elsewhere")
def model_link_out_of_the_folder(place):
    folder = place.copy("DeepChrome")
    (folder / "weights.npz").rename(place.folder / "elsewhere")
    (folder / "weights.npz").symlink_to(place.folder / "elsewhere")
    return loading(folder)


@refused("model.json is no file of the model's folder but leads elsewhere")
def model_description_that_is_a_link_out(place):
    folder = place.copy("Linear")
    (folder / "model.json").rename(place.folder / "elsewhere")
    (folder / "model.json").symlink_to(place.folder / "elsewhere")
    return loading(folder)


@refused("members/0 leads out of .*Ensemble")
def model_member_that_is_a_link_out(place):
    folder = place.copy("Ensemble")
    shutil.rmtree(folder / "members" / "0")
    (folder / "members" / "0").symlink_to(place.whole / "Linear")
    return loading(folder)


@refused("model.json cannot be read")
def model_description_of_great_depth(place):
    folder = place.copy("Linear")
    (folder / "model.json").write_text('{"a":' * 100_000)
    return loading(folder)


@refused("there is no model 'os.system'")
def model_of_a_class_that_is_none(place):
    return loading(with_description(place, "Linear", lambda d: d.update(model="os.system")))


@refused(r"the arrays in .* do not fit the model that model.json describes")
def model_of_a_giant_network(place):
    return loading(with_description(place, "DeepChrome", lambda d: d["hyperparameters"].update(n_filters=10**9)))


@refused("DeepChrome that can be made|hyperparameters. hold .* should be a number between")
def model_of_a_network_beyond_all_numbers(place):
    return loading(with_description(place, "DeepChrome", lambda d: d["hyperparameters"].update(n_filters=10**30)))


WRONG_VALUES: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "'samples' in \"setup\" is 3 and should be a list": ("Linear", ("setup", "samples"), 3),
    "and should be a list whose every entry is printable text": ("Linear", ("setup", "samples"), ["A\n", "B"]),
    "'target' in \"setup\" is 'all' and should be one of label": ("Linear", ("setup", "target"), "all"),
    "'n_bins' in \"setup\" is -1 and should be a whole number": ("Linear", ("setup", "n_bins"), -1),
    "'n_bins' in \"setup\" is 1000000000000 and": ("DeepChrome", ("setup", "n_bins"), 10**12),
    "'n_bins' in \"setup\" is True and should": ("Linear", ("setup", "n_bins"), True),
    '"setup" contradicts itself: 3 marks of 0 bins': ("Linear", ("setup", "n_bins"), 0),
    "\"setup\" has the key 'planted', which this version does not know": ("Linear", ("setup", "planted"), 1),
    "'modalities' in \"setup\" is": ("Linear", ("setup", "modalities"), {"rna": "rna"}),
    "'level_std' in \"fitted\" is": ("Linear", ("fitted", "level_std"), {"A": 0, "B": 1}),
    "'level_mean' in \"fitted\" is .* a finite number": ("Linear", ("fitted", "level_mean"), {"A": 1e999, "B": 0.0}),
    "'training_genes' in \"fitted\" is": ("Linear", ("fitted", "training_genes"), [1, 2]),
    "\"fitted\" lacks 'thresholds'": ("Linear", ("fitted", "thresholds"), None),
    "'scaler' in \"fitted\" is": ("Linear", ("fitted", "scaler"), {"transform": "auto", "marks": ["a"]}),
    "stranded='yes' is not possible": ("Linear", ("hyperparameters", "stranded"), "yes"),
    "there is no argument 'planted'": ("Linear", ("hyperparameters", "planted"), 1),
    "n_filters=-1 is not possible": ("DeepChrome", ("hyperparameters", "n_filters"), -1),
    "should be of few numbers, names": ("Linear", ("hyperparameters", "c"), [[[[[[[[0]]]]]]]]),
    "is of another model than its model.json describes|n_members": ("Ensemble", ("fitted", "n_members"), 10**9),
    "model.json lacks 'platt' under \"fitted\"": ("Ensemble", ("fitted", "platt"), None),
    "its history has the column 'valid_loss'": ("DeepChrome", ("history", "valid_loss"), ["a"]),
    "there is no model 'os.system'": ("Ensemble", ("hyperparameters", "model"), "os.system"),
}


@pytest.mark.parametrize("sentence", WRONG_VALUES)
def test_a_description_with_a_wrong_value(sentence, whole, tmp_path):
    name, (part, key), value = WRONG_VALUES[sentence]
    place = Place(tmp_path, tmp_path / "code ran", whole)

    def change(description):
        if value is None:
            del description[part][key]
        else:
            description[part][key] = value

    with pytest.raises(InputError, match=sentence) as caught:
        gx.model.load(with_description(place, name, change))
    assert "\n" not in str(caught.value)


def test_a_model_that_predicts_no_finite_number_says_so(whole):
    model = gx.model.load(whole / "Linear", make_mdata(n_genes=60, n_bins=10))
    model.regressor[0].scale_[:] = 1e-310
    with pytest.raises(InputError, match=r"no finite number is predicted for .* of the training genes, or the files"):
        model.predict()


@refused("classifier.skops holds no Pipeline of this model .it is a sklearn.dummy.DummyClassifier")
def skops_dummy_as_linear(place):
    folder = place.copy("Linear")
    dummy = DummyClassifier(strategy="constant", constant=1).fit(np.zeros((4, 30)), [0, 1, 0, 1])
    skops.io.dump(dummy, folder / "classifier.skops")
    return loading(folder)


@refused("classifier.skops holds no LogisticRegression of this model|holds no Pipeline of this model")
def skops_dummy_within_a_pipeline(place):
    folder = place.copy("Linear")
    dummy = make_pipeline(StandardScaler(), DummyClassifier()).fit(np.zeros((4, 30)), [0, 1, 0, 1])
    skops.io.dump(dummy, folder / "classifier.skops")
    return loading(folder)


@refused("classifier.skops holds no Pipeline of this model .it is a posix.system")
def skops_foreign_class(place):
    def change(tree, files):
        tree["__class__"], tree["__module__"] = "system", "posix"

    return loading(with_estimator(place, "Linear", change))


@refused("classifier.skops does not hold plain arrays .it holds objects that a baseline does not have, 'FunctionNode'")
def skops_foreign_function(place):
    def change(tree, files):
        content = {"module_path": "os", "function": "system"}
        tree["content"]["content"]["memory"] = {
            "__loader__": "FunctionNode", "__class__": "system", "__module__": "os", "content": content, "__id__": 1
        }  # fmt: skip

    return loading(with_estimator(place, "Linear", change))


@refused("classifier.skops does not hold plain arrays")
def skops_that_is_a_pickle(place):
    folder = place.copy("Linear")
    (folder / "classifier.skops").write_bytes(place.pickled)
    return loading(folder)


@refused("classifier.skops does not hold plain arrays .*: an array of objects")
def skops_array_of_objects(place):
    def change(tree, files):
        buffer = io.BytesIO()
        np.save(buffer, np.array([Touch(place.marker)], dtype=object), allow_pickle=True)
        for name in [n for n in files if n.endswith(".npy")]:
            files[name] = buffer.getvalue()

    return loading(with_estimator(place, "Linear", change))


@refused("is not .* finite number")
def skops_coefficients_of_another_length(place):
    def change(tree, files):
        for name, content in files.items():
            if name.endswith(".npy") and (array := np.load(io.BytesIO(content))).ndim == 2:
                buffer = io.BytesIO()
                np.save(buffer, array[:, :-1])
                files[name] = buffer.getvalue()

    return loading(with_estimator(place, "Linear", change))


OUTSIDE = "has a tree whose nodes point outside of it"
TREES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "beyond the end": (lambda nodes: nodes["left_child"].__setitem__(0, 10**6), OUTSIDE),
    "before the start": (lambda nodes: nodes["right_child"].__setitem__(0, -5), OUTSIDE),
    "round in a circle": (lambda nodes: nodes["left_child"].__setitem__(0, 0), OUTSIDE),
    "leaf on one side": (lambda nodes: nodes["right_child"].__setitem__(0, -1), OUTSIDE),
    "feature too large": (lambda nodes: nodes["feature"].__setitem__(0, 10**6), "asks for a feature there is not"),
    "feature below 0": (lambda nodes: nodes["feature"].__setitem__(0, -(10**6)), "asks for a feature there is not"),
    "threshold": (lambda nodes: nodes["threshold"].__setitem__(0, np.nan), "a threshold is not"),
}


@pytest.mark.parametrize("kind", TREES)
def test_a_crafted_tree(kind, whole, tmp_path):
    change, sentence = TREES[kind]
    place = Place(tmp_path, tmp_path / "code ran", whole)
    with pytest.raises(InputError, match=sentence):
        gx.model.load(with_trees(place, change))


# names

CONTROLS = {"newline": "\n", "tab": "\t", "NUL": "\0", "escape": "\x1b[2J", "right to left": "\u202e", "half": "\ud800"}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def bins_of(gene: str = "g", sample: str = "s", mark: str = "m") -> Any:
    return gx.io.from_bins(np.ones((1, 1, 4)), genes=[gene], marks=[mark], sample=sample, expression=[1], unit="tpm")


def stored_with(folder: Path, what: str, name: str) -> Path:
    """A file whose names were set behind the back of what makes a MuData."""
    path = folder / "m.h5mu"
    gx.io.write_mudata(bins_of(gene="gene", sample="sample", mark="mark"), path)
    with h5py.File(path, "r+") as file:
        for place in ("obs/_index", "mod/rna/obs/_index", "mod/chromatin/obs/_index", "mod/rna/var/sample"):
            values = file[place][:]
            if values[0] == what.encode():
                file[place][:] = np.array([name.encode()], object)
    return path


DOORS: dict[str, tuple[Callable[[Path, str], Any], tuple[str, ...]]] = {
    "from_bins": (lambda folder, name: bins_of(gene=name), ("gene id",)),
    "from_bins, samples": (lambda folder, name: bins_of(sample=name), ("sample",)),
    "from_bins, marks": (lambda folder, name: bins_of(mark=name), ("mark",)),
    "expression": (
        lambda folder, name: gx.io.read_expression(pd.DataFrame({"s": [1.0]}, index=[name]), unit="tpm"),
        ("gene id",),
    ),
    "expression, samples": (
        lambda folder, name: gx.io.read_expression(pd.DataFrame({name: [1.0]}, index=["g"]), unit="tpm"),
        ("sample",),
    ),
    "AnnData": (
        lambda folder, name: gx.io.read_expression(
            anndata.AnnData(np.ones((1, 1)), pd.DataFrame(index=["s"]), pd.DataFrame(index=[name])), unit="tpm"
        ),
        ("gene id",),
    ),
    "sheet": (
        lambda folder, name: gx.io.read_sheet(pd.DataFrame({"sample": [name], "mark": "m", "path": [__file__]})),
        ("sample",),
    ),
    "sheet, marks": (
        lambda folder, name: gx.io.read_sheet(pd.DataFrame({"sample": "s", "mark": [name], "path": [__file__]})),
        ("mark",),
    ),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("control", CONTROLS)
def test_a_name_with_control_characters(door, control, tmp_path):
    enter, (what,) = DOORS[door]
    with pytest.raises(InputError, match=f"has the {what} .*with control characters") as caught:
        enter(tmp_path, f"a{CONTROLS[control]}b")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("control", ["\n", "\0", "\x1b", "\u202e"])
def test_a_gene_of_a_table_with_control_characters(control, tmp_path):
    for name, text in {
        "genes.csv": f'gene_id,chrom,tss,strand\n"a{control}b",chr1,5,+\nc,chr1,9,+\n',
        "genes.gtf": f'chr1\tx\tgene\t1\t9\t.\t+\t.\tgene_id "a{control}b"; gene_type "protein_coding";\n',
    }.items():
        path = written(tmp_path, name, text)
        if "gtf" not in name or control != "\n":
            with pytest.raises(InputError) as caught:
                gx.io.read_genes(path)
            assert "\n" not in str(caught.value)
    path = written(tmp_path, "rna.csv", f'gene_id,s\n"a{control}b",1\nc,2\n')
    with pytest.raises(InputError):
        gx.io.read_expression(path, unit="tpm")


@pytest.mark.parametrize(("what", "said"), [("gene", "gene id"), ("sample", "sample")])
def test_a_stored_name_with_control_characters(what, said, tmp_path):
    path = stored_with(tmp_path, what, "a\x1bb")
    with pytest.raises(InputError, match=f"has the {said} .*with control characters"):
        gx.io.read_mudata(path)


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_sentence(name, whole, tmp_path):
    make, sentence = CASES[name]
    place = Place(tmp_path, tmp_path / "code ran", whole)
    read = make(place)
    with pytest.raises(InputError) as caught:
        read()
    assert re.search(sentence, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)
    assert not place.marker.exists()


def test_no_codec_but_plain_ones_is_found_while_zarr_reads():
    """Whatever metadata reaches zarr by a way that was not looked at."""
    import numcodecs

    from genexp_scverse.io._untrusted import plain_codecs_only

    with plain_codecs_only():
        assert numcodecs.get_codec({"id": "zlib"}).codec_id == "zlib"
        for name in ("pickle", "json2", "msgpack2"):
            with pytest.raises(ValueError, match=name):
                numcodecs.get_codec({"id": name})
    assert numcodecs.get_codec({"id": "pickle"}).codec_id == "pickle"
    assert numcodecs.get_codec({"id": "json2"}).codec_id == "json2"


def test_what_is_plain_is_read(whole, tmp_path):
    """Compressed and chunked datasets, and the references of anndata before 0.7, are no harm."""
    path = tmp_path / "m.h5mu"
    shutil.copy(whole / "m.h5mu", path)
    packed: dict[str, dict[str, Any]] = {
        "gzip": {"compression": "gzip"},
        "lzf": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    }
    with h5py.File(path, "r+") as file:
        for name, options in packed.items():
            file["uns"].create_dataset(name, data=np.zeros(2**20), chunks=(2**16,), **options)
            file[f"uns/{name}"].attrs["categories"] = file["obs/_index"].ref
    read = gx.io.read_mudata(path)
    assert [np.asarray(read.uns[name]).sum() for name in packed] == [0, 0]
