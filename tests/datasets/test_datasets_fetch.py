"""Every download here is real, from an http.server on the loopback address."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
from local_site import serving

from genexp_scverse import InputError
from genexp_scverse.datasets import _download, deepchrome, encode_bigwig, fetch, roadmap_expression

BODY = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()
API = "/api/records/2652278"
ARCHIVE = "/records/2652278/files/data.tar.gz"


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(_download, "WAIT", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as state:
        yield state


def names(folder) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_file_is_downloaded_verified_and_then_kept(site, tmp_path):
    site.files["/a/b.bin"] = BODY
    path = fetch(f"{site.url}/a/b.bin?download=1", known_hash=MD5, directory=tmp_path)
    assert path == tmp_path.resolve() / "b.bin"
    assert path.read_bytes() == BODY
    assert names(tmp_path) == {"b.bin"}
    fetch(f"{site.url}/a/b.bin", known_hash=MD5, directory=tmp_path)
    assert len(site.asked) == 1
    # A file that does not fit its hash any more is fetched again.
    path.write_bytes(b"spoilt")
    fetch(f"{site.url}/a/b.bin", known_hash=hashlib.sha256(BODY).hexdigest(), directory=tmp_path)
    assert path.read_bytes() == BODY


def test_the_cache_folder_comes_from_the_environment(site, tmp_path, monkeypatch):
    monkeypatch.setenv("GENEXP_DATA_DIR", str(tmp_path / "cache"))
    site.files["/x.bin"] = BODY
    assert fetch(f"{site.url}/x.bin", file_name="y.bin") == (tmp_path / "cache" / "y.bin").resolve()


def test_a_wrong_hash_names_both_and_deletes_the_file(site, tmp_path):
    site.files["/x.bin"] = BODY[:-1] + b"?"
    got = hashlib.md5(site.files["/x.bin"]).hexdigest()
    with pytest.raises(InputError, match=f"expected {MD5}, got {got}"):
        fetch(f"{site.url}/x.bin", known_hash=MD5, directory=tmp_path)
    assert names(tmp_path) == set()


def test_a_cut_connection_is_resumed_by_the_next_call(site, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "ATTEMPTS", 1)
    site.files["/x.bin"] = BODY
    site.cut_after, site.cuts = 131_072, 1
    with pytest.raises(InputError, match=r"cut .* bytes are kept in .*x\.bin\.part: run again to resume"):
        fetch(f"{site.url}/x.bin", known_hash=MD5, directory=tmp_path)
    kept = (tmp_path / "x.bin.part").stat().st_size
    assert 0 < kept <= 131_072
    assert (tmp_path / "x.bin.part").read_bytes() == BODY[:kept]
    path = fetch(f"{site.url}/x.bin", known_hash=MD5, directory=tmp_path)
    assert path.read_bytes() == BODY
    assert site.asked == [("/x.bin", None), ("/x.bin", f"bytes={kept}-")]
    assert site.sent == [131_072, len(BODY) - kept]
    assert names(tmp_path) == {"x.bin"}


def test_cuts_are_resumed_within_a_call(site, tmp_path, caplog):
    site.files["/x.bin"] = BODY
    site.cut_after, site.cuts = 131_072, 2
    assert fetch(f"{site.url}/x.bin", directory=tmp_path).read_bytes() == BODY
    assert len(site.asked) == 3
    assert all(wanted for _, wanted in site.asked[1:])
    assert "Trying again" in caplog.text
    assert "Continuing x.bin.part at byte" in caplog.text


def test_a_server_without_ranges_sends_all_again(site, tmp_path, caplog):
    site.files["/x.bin"] = BODY
    site.ranges = False
    site.cut_after, site.cuts = 131_072, 1
    assert fetch(f"{site.url}/x.bin", known_hash=MD5, directory=tmp_path).read_bytes() == BODY
    assert site.asked[1][1] is not None
    assert site.sent == [131_072, len(BODY)]
    assert "from the start" in caplog.text


def test_a_part_of_another_version_or_address_is_not_continued(site, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "ATTEMPTS", 1)
    site.files = {"/x.bin": BODY, "/y.bin": BODY[::-1]}
    site.cut_after = 131_072
    for again in ("/x.bin", "/y.bin"):
        site.cuts = 1
        with pytest.raises(InputError, match="run again to resume"):
            fetch(f"{site.url}/x.bin", file_name="z.bin", directory=tmp_path)
        site.files["/x.bin"], site.etag = site.files["/x.bin"][::-1], f'"{again}"'
        path = fetch(site.url + again, file_name="z.bin", directory=tmp_path)
        assert path.read_bytes() == site.files[again]
        path.unlink()


def test_a_whole_part_is_used_without_sending_it_again(site, tmp_path):
    site.files["/x.bin"] = BODY
    (tmp_path / "x.bin.part").write_bytes(BODY)
    (tmp_path / "x.bin.part.source").write_text(f'{site.url}/x.bin\n"one"')
    assert fetch(f"{site.url}/x.bin", known_hash=MD5, directory=tmp_path).read_bytes() == BODY
    assert site.sent == []
    # One that is longer than the file is of something else.
    (tmp_path / "x.bin").unlink()
    (tmp_path / "x.bin.part").write_bytes(BODY + b"more")
    (tmp_path / "x.bin.part.source").write_text(f'{site.url}/x.bin\n"one"')
    assert fetch(f"{site.url}/x.bin", known_hash=MD5, directory=tmp_path).read_bytes() == BODY
    assert site.sent == [len(BODY)]


def test_no_connection_and_no_host_are_said(site, tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    with pytest.raises(InputError, match=r"cannot be reached \(no connection\): check the network"):
        fetch(f"http://127.0.0.1:{closed}/x.bin", directory=tmp_path)
    with pytest.raises(InputError, match="is no address that can be fetched"):
        fetch(f"http://{'a' * 64}.invalid/x.bin", directory=tmp_path)

    def nobody(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # The lookup itself would leave this computer; what comes after its failure is real.
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(InputError, match=r"cannot be reached \(the host was not found\)"):
        fetch("http://mirror.invalid/x.bin", directory=tmp_path)
    assert names(tmp_path) == set()


def test_http_errors(site, tmp_path):
    with pytest.raises(InputError, match=r"does not exist on the server \(HTTP 404\)"):
        fetch(f"{site.url}/none.bin", directory=tmp_path)
    assert len(site.asked) == 1
    site.files["/x.bin"] = BODY
    site.statuses = [403]
    with pytest.raises(InputError, match="HTTP 403"):
        fetch(f"{site.url}/x.bin", directory=tmp_path)
    site.statuses = [503] * 10
    with pytest.raises(InputError, match=r"HTTP 503\): try again later"):
        fetch(f"{site.url}/x.bin", directory=tmp_path)
    assert len(site.statuses) == 10 - _download.ATTEMPTS
    site.statuses = [500, 429]
    assert fetch(f"{site.url}/x.bin", known_hash=MD5, directory=tmp_path).read_bytes() == BODY


def test_a_full_disk_is_said(site, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, a device that is always full")
    site.files["/x.bin"] = BODY
    (tmp_path / "x.bin.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"No space is left .*GENEXP_DATA_DIR"):
        fetch(f"{site.url}/x.bin", directory=tmp_path)
    assert not (tmp_path / "x.bin").exists()


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"url": "file:///etc/hosts"}, "begin with http"),
        ({"url": "https:///x"}, "begin with http"),
        ({"url": "http://127.0.0.1:1/"}, "no file name"),
        ({"url": "http://127.0.0.1:1/x", "file_name": "../x"}, "no file name"),
        ({"url": "http://127.0.0.1:1/%2e%2e"}, "no file name"),
        ({"url": "http://127.0.0.1:1/x", "known_hash": "md5:12"}, "is no hash"),
        ({"url": "http://127.0.0.1:1/x", "known_hash": "crc:" + "0" * 32}, "is no hash"),
    ],
)
def test_what_cannot_be_fetched_is_refused_first(kwargs, words, tmp_path):
    with pytest.raises(InputError, match=words):
        fetch(kwargs.pop("url"), directory=tmp_path / "new", **kwargs)
    assert not (tmp_path / "new").exists() or names(tmp_path / "new") == set()


def archive(names, prefix="", *, content=b"g1,1,0,0,0,0,0,1\n") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(prefix + name)
            data = content + name.encode()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def cell_files(*cells) -> list[str]:
    return [f"{c}/classification/{s}.csv" for c in cells for s in ("train", "valid", "test")]


def publish(site, body: bytes) -> None:
    site.files[ARCHIVE] = body
    checksum = "md5:" + hashlib.md5(body).hexdigest()
    record = {"files": [{"key": "readme", "checksum": "md5:0"}, {"key": "data.tar.gz", "checksum": checksum}]}
    site.files[API] = json.dumps(record).encode()


@pytest.mark.parametrize("prefix", ["", "./", "data/", "data/data/"])
def test_deepchrome_unpacks_the_cells_asked_for(site, tmp_path, prefix):
    publish(site, archive([*cell_files("E003", "E004", "E123"), "E003/regression/train.csv", "readme"], prefix))
    folder = deepchrome(cells=["E123"], directory=tmp_path, base_url=site.url)
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*.csv")}
    assert written == set(cell_files("E123"))
    assert (folder / "E123/classification/valid.csv").read_bytes().endswith(b"E123/classification/valid.csv")
    asked = len(site.asked)
    deepchrome(cells="E123", directory=tmp_path, base_url=site.url)
    assert len(site.asked) == asked
    with pytest.raises(InputError, match=r"'E999' are not in .*: choose from E003, E004, E123"):
        deepchrome(cells=["E003", "E999"], directory=tmp_path, base_url=site.url)
    assert len(site.asked) == asked
    deepchrome(directory=tmp_path, base_url=site.url)
    assert len(list(folder.rglob("*.csv"))) == 9
    assert sum(path == ARCHIVE for path, _ in site.asked) == 1


def test_deepchrome_unknown_cell_at_first_leaves_nothing(site, tmp_path):
    publish(site, archive(cell_files("E003", "E004")))
    with pytest.raises(InputError, match=r"'E999' are not in .*: choose from E003, E004"):
        deepchrome(cells=["E003", "E999"], directory=tmp_path, base_url=site.url)
    assert names(tmp_path / "deepchrome") == {"data.tar.gz"}


def test_deepchrome_says_when_the_hash_cannot_be_asked(site, tmp_path, caplog):
    publish(site, archive(cell_files("E003")))
    del site.files[API]
    folder = deepchrome(directory=tmp_path, base_url=site.url)
    assert (folder / "E003/classification/test.csv").is_file()
    assert "hash of data.tar.gz is not known" in caplog.text


def test_deepchrome_refuses_what_fits_no_hash(site, tmp_path):
    publish(site, archive(cell_files("E003")))
    site.files[ARCHIVE] += b"\0"
    with pytest.raises(InputError, match="published hash"):
        deepchrome(directory=tmp_path, base_url=site.url)
    assert names(tmp_path / "deepchrome") == set()


@pytest.mark.parametrize("evil", ["../E003/classification/train.csv", "../../evil.txt"])
def test_an_archive_that_leaves_its_folder_is_refused(site, tmp_path, evil):
    publish(site, archive([*cell_files("E004"), evil]))
    with pytest.raises(InputError, match="not safe to unpack"):
        deepchrome(cells="E004", directory=tmp_path / "cache", base_url=site.url)
    assert names(tmp_path / "cache" / "deepchrome") == {"data.tar.gz"}
    assert names(tmp_path) == {"cache"}


def test_a_damaged_archive_leaves_nothing_unpacked(site, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, 100_000, dtype=np.uint8).tobytes()
    publish(site, archive(cell_files("E003", "E004"), content=noise)[:400_000])
    with pytest.raises(InputError, match=r"is damaged .*: delete it"):
        deepchrome(directory=tmp_path, base_url=site.url)
    assert names(tmp_path / "deepchrome") == {"data.tar.gz"}


def test_an_incomplete_cell_is_named(site, tmp_path):
    publish(site, archive([*cell_files("E003"), "E004/classification/train.csv"]))
    with pytest.raises(InputError, match="lacks train, valid or test of cells 'E004'"):
        deepchrome(directory=tmp_path, base_url=site.url)
    folder = deepchrome(cells="E003", directory=tmp_path, base_url=site.url)
    assert (folder / "E003/classification/train.csv").is_file()


def test_roadmap_expression(site, tmp_path):
    site.files["/roadmap/data/byDataType/rna/expression/57epigenomes.RPKM.pc.gz"] = BODY
    path = roadmap_expression(directory=tmp_path, base_url=site.url + "/")
    assert path.name == "57epigenomes.RPKM.pc.gz"
    assert path.read_bytes() == BODY


def test_encode_bigwig(site, tmp_path, caplog):
    about = {"file_format": "bigWig", "assembly": "GRCh38", "output_type": "fold change over control"}
    meta, file = "/files/ENCFF001ABC/", "/files/ENCFF001ABC/@@download/ENCFF001ABC.bigWig"
    site.files = {meta: json.dumps({**about, "md5sum": MD5[4:]}).encode(), file: BODY}
    path = encode_bigwig("ENCFF001ABC", directory=tmp_path, base_url=site.url)
    assert path.name == "ENCFF001ABC.bigWig"
    assert path.read_bytes() == BODY
    assert "fold change over control, assembly GRCh38" in caplog.text
    # Without a connection the file that is there is used, and that is said.
    del site.files[meta]
    assert encode_bigwig("ENCFF001ABC", directory=tmp_path, base_url=site.url) == path
    assert "is used unchecked" in caplog.text
    with pytest.raises(InputError, match="HTTP 404"):
        encode_bigwig("ENCFF002ABC", directory=tmp_path, base_url=site.url)
    site.files[meta] = json.dumps({**about, "file_format": "bam"}).encode()
    with pytest.raises(InputError, match="of format 'bam'"):
        encode_bigwig("ENCFF001ABC", directory=tmp_path, base_url=site.url)
    site.files[meta] = b"<html>log in</html>"
    with pytest.raises(InputError, match="not answered with JSON"):
        encode_bigwig("ENCFF001ABC", directory=tmp_path / "other", base_url=site.url)
    site.files[meta] = json.dumps({**about, "md5sum": "0" * 32}).encode()
    with pytest.raises(InputError, match="expected md5:0000"):
        encode_bigwig("ENCFF001ABC", directory=tmp_path, base_url=site.url)


@pytest.mark.parametrize("accession", ["ENCSR001ABC", "ENCFF1ABC", "encff001abc", "ENCFF001ABC/..", ""])
def test_what_is_no_accession_is_refused(accession, tmp_path):
    with pytest.raises(InputError, match=r"no ENCODE file accession|accession='' is not possible"):
        encode_bigwig(accession, directory=tmp_path)
