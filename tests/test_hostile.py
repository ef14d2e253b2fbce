"""Files made to do harm, one by one: each is refused in one sentence, runs no code and reads no other file.

A case is a function that gets a folder of its own, plants what is hostile there and returns the reading of it.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError


class Place(NamedTuple):
    folder: Path
    """Of this case alone."""
    marker: Path
    """What code that runs would leave."""
    whole: Path
    """Folder of files that are as they should be: m.h5mu, m.zarr; not to be changed."""

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
