"""Public data: downloaded once, resumed when cut, verified before use, kept in a cache folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse._output import locked, sync
from genexp_scverse.datasets._download import ResumingDownloader, ask_json

ENVIRONMENT = "GENEXP_DATA_DIR"
DEEPCHROME_RECORD, DEEPCHROME_FILE = "2652278", "data.tar.gz"
DIGESTS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


def fetch(
    url: str,
    *,
    known_hash: str | None = None,
    file_name: str | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> Path:
    """Download a file once and return its path; a file that is there and fits its hash is used as it is.

    What has been received when the connection is cut stays in ``<file_name>.part``; the same call continues
    there. The file gets its name only when its length and its hash are right. Some errors are tried again a
    few times, after waits that double. A progress bar is shown on a terminal.

    Parameters
    ----------
    url
        Address of the file, ``http://`` or ``https://``.
    known_hash
        ``md5:...``, ``sha1:...``, ``sha256:...`` or ``sha512:...`` with the digest in hexadecimal, as
        published. Without it only the length is checked, and a file that is there is trusted.
    file_name
        Name in the cache; by default the last part of the address.
    directory
        Cache folder; by default the environment variable GENEXP_DATA_DIR, or else the cache folder of the
        operating system for ``genexp_scverse``.

    Returns
    -------
    Path of the file.

    Raises
    ------
    InputError
        For an address or hash that cannot be, a file that does not fit its hash (it is deleted), a host that
        is not reached, a connection that is cut, an HTTP error, or a full disk.

    Examples
    --------
    >>> from genexp_scverse.datasets import fetch
    >>> fetch("ftp://example.org/genes.tsv")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    genexp_scverse._errors.InputError: ftp://example.org/genes.tsv is no address that can be fetched: ...
    >>> fetch("https://example.org/genes.tsv", directory="data")  # doctest: +SKIP
    PosixPath('data/genes.tsv')
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        msg = f"{url} is no address that can be fetched: it has to begin with http:// or https:// and a host."
        raise InputError(msg)
    name = unquote(parts.path.rpartition("/")[2]) if file_name is None else file_name
    if not name or name in (".", "..") or Path(name).name != name or "\\" in name:
        msg = f"{name!r} is no file name: give file_name= without folders for {url}."
        raise InputError(msg)
    known_hash = _check_hash(known_hash)
    folder = _folder(directory)
    path, part = folder / name, folder / f"{name}.part"
    downloader = ResumingDownloader(part)
    if _is_whole(path, known_hash) and not (part.exists() or downloader.source.exists()):
        return path
    try:
        # another process that fetches the same is waited for
        with locked(part):
            if not _is_whole(path, known_hash):
                logger.info("Downloading %s to %s.", url, path)
                _download(url, downloader, path, known_hash)
            downloader.forget()
    except OSError as err:
        msg = f"{path} cannot be written ({err.strerror or err}): give another folder as directory=."
        raise InputError(msg) from err
    return path


def _download(url: str, downloader: ResumingDownloader, path: Path, known_hash: str | None) -> None:
    import pooch

    part = downloader.part
    try:
        downloader.download(url)
    except BaseException:
        # what nothing was received of is no part
        if part.exists() and not part.stat().st_size:
            downloader.forget()
        raise
    if known_hash is not None:
        algorithm, digest = known_hash.split(":")
        got = pooch.file_hash(str(part), alg=algorithm)
        if got.lower() != digest.lower():
            downloader.forget()
            msg = (
                f"What {url} sent does not have the published hash (expected {known_hash}, got {got}) and was "
                "deleted: run again, or ask the source what has changed."
            )
            raise InputError(msg)
    sync(part)
    part.replace(path)


def _is_whole(path: Path, known_hash: str | None) -> bool:
    """Tell whether a file is there and fits its hash; one that does not is fetched again."""
    import pooch

    if not path.is_file():
        return False
    if known_hash is None:
        return True
    algorithm, digest = known_hash.split(":")
    return pooch.file_hash(str(path), alg=algorithm).lower() == digest.lower()


def deepchrome(
    *,
    cells: str | Sequence[str] | None = None,
    directory: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
) -> Path:
    """Fetch the DeepChrome benchmark: five marks in 100 bins for 19,802 genes in 56 cell types.

    The archive of Zenodo record 2652278 is downloaded once, checked by the MD5 that Zenodo publishes, and the
    files of the cells asked for are unpacked from it; all of them take about 3 GB. The archive is kept, so
    that other cells can be unpacked later. Singh et al. 2016, Bioinformatics 32:i639.

    Parameters
    ----------
    cells
        Roadmap numbers, for example ``["E003", "E123"]``; all when None.
    directory
        Cache folder, as in :func:`fetch`.
    base_url
        A mirror to use in place of ``https://zenodo.org``.

    Returns
    -------
    The folder with ``<cell>/classification/train.csv``, ``valid.csv`` and ``test.csv``, which
    :func:`genexp_scverse.io.read_deepchrome` reads.

    Raises
    ------
    InputError
        As :func:`fetch`; for a cell that is not in the archive, naming those that are; for an archive that is
        damaged or would write outside its folder.

    Examples
    --------
    >>> from genexp_scverse.datasets import deepchrome
    >>> deepchrome(cells="../E003")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    genexp_scverse._errors.InputError: '../E003' is no cell: give numbers such as 'E003'.
    >>> deepchrome(cells=["E003"]) / "E003" / "classification" / "train.csv"  # doctest: +SKIP
    PosixPath('.../genexp_scverse/deepchrome/E003/classification/train.csv')
    """
    from genexp_scverse.datasets._unpack import check_known, is_complete, known_cells, unpack

    wanted = None if cells is None else list(dict.fromkeys([cells] if isinstance(cells, str) else cells))
    for cell in [""] if wanted == [] else wanted or []:
        if not re.fullmatch(r"\w[\w.-]*", cell):
            msg = f"{cell!r} is no cell: give numbers such as 'E003'."
            raise InputError(msg)
    folder = _folder(directory) / "deepchrome"
    listed = known_cells(folder)
    if listed is not None:
        check_known(wanted or (), listed)
    missing = wanted if wanted is not None else listed
    if missing is not None and all(is_complete(folder, cell) for cell in missing):
        return folder
    base = (base_url or "https://zenodo.org").rstrip("/")
    _make(folder)
    archive = fetch(
        f"{base}/records/{DEEPCHROME_RECORD}/files/{DEEPCHROME_FILE}?download=1",
        known_hash=_zenodo_hash(f"{base}/api/records/{DEEPCHROME_RECORD}", DEEPCHROME_FILE),
        file_name=DEEPCHROME_FILE,
        directory=folder,
    )
    logger.info("Unpacking %s, which is read from end to end.", archive)
    unpack(archive, folder, wanted)
    return folder


def roadmap_expression(*, directory: str | os.PathLike[str] | None = None, base_url: str | None = None) -> Path:
    """Fetch the expression of protein-coding genes in 57 Roadmap epigenomes (RPKM, hg19).

    The server publishes no hash: only the length is checked.

    Parameters
    ----------
    directory
        Cache folder, as in :func:`fetch`.
    base_url
        A mirror to use in place of ``https://egg2.wustl.edu``.

    Returns
    -------
    Path of ``57epigenomes.RPKM.pc.gz``: a gzipped table, gene_id and a column per epigenome (E000, ...).

    Raises
    ------
    InputError
        As :func:`fetch`.

    Examples
    --------
    >>> from genexp_scverse.datasets import roadmap_expression
    >>> roadmap_expression(base_url="file:///data")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    genexp_scverse._errors.InputError: file:///data/roadmap/data/byDataType/rna/expression/57epigenomes...
    >>> roadmap_expression().name  # doctest: +SKIP
    '57epigenomes.RPKM.pc.gz'
    """
    base = (base_url or "https://egg2.wustl.edu").rstrip("/")
    url = f"{base}/roadmap/data/byDataType/rna/expression/57epigenomes.RPKM.pc.gz"
    return fetch(url, directory=directory)


def encode_bigwig(
    accession: str, *, directory: str | os.PathLike[str] | None = None, base_url: str | None = None
) -> Path:
    """Fetch a bigWig file from ENCODE by its accession, checked by the MD5 that ENCODE publishes.

    What the file is (assembly, output type) is reported in the log. Without a connection a file that was
    fetched before is used unchecked, and the log says so.

    Parameters
    ----------
    accession
        Accession of the file, such as ``ENCFF601VTB``; not that of an experiment (``ENCSR...``).
    directory
        Cache folder, as in :func:`fetch`.
    base_url
        A mirror to use in place of ``https://www.encodeproject.org``.

    Returns
    -------
    Path of ``<accession>.bigWig``.

    Raises
    ------
    InputError
        As :func:`fetch`; for what is no accession of a file, and for a file that is no bigWig.

    Examples
    --------
    >>> from genexp_scverse.datasets import encode_bigwig
    >>> encode_bigwig("ENCSR000AKU")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    genexp_scverse._errors.InputError: 'ENCSR000AKU' is no ENCODE file accession: give one such as ...
    >>> encode_bigwig("ENCFF601VTB").name  # doctest: +SKIP
    'ENCFF601VTB.bigWig'
    """
    if not re.fullmatch(r"ENCFF\d{3}[A-Z]{3}", accession):
        msg = (
            f"{accession!r} is no ENCODE file accession: give one such as 'ENCFF601VTB' "
            "(of the file, not of the experiment)."
        )
        raise InputError(msg)
    base = (base_url or "https://www.encodeproject.org").rstrip("/")
    path = _folder(directory) / f"{accession}.bigWig"
    try:
        about = ask_json(f"{base}/files/{accession}/?format=json")
    except InputError as err:
        if not path.is_file():
            raise
        logger.warning("%s is used unchecked: %s", path, err)
        return path
    if about.get("file_format") != "bigWig":
        msg = f"{accession} is a file of format {about.get('file_format')!r}: name one of format 'bigWig'."
        raise InputError(msg)
    logger.info(
        "%s: %s, assembly %s.",
        accession,
        about.get("output_type", "bigWig"),
        about.get("assembly", "unknown"),
    )
    known_hash = f"md5:{about['md5sum']}" if about.get("md5sum") else None
    if known_hash is None:
        logger.warning("ENCODE publishes no MD5 of %s: only its length is checked.", accession)
    url = f"{base}/files/{accession}/@@download/{accession}.bigWig"
    return fetch(url, known_hash=known_hash, file_name=path.name, directory=path.parent)


def _folder(directory: str | os.PathLike[str] | None) -> Path:
    import pooch

    if directory is None:
        directory = os.environ.get(ENVIRONMENT) or pooch.os_cache("genexp_scverse")
    return _make(Path(directory).expanduser().resolve())


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        msg = f"The folder {folder} cannot be made ({err.strerror}): give another in {ENVIRONMENT}."
        raise InputError(msg) from err
    return folder


def _check_hash(known_hash: str | None) -> str | None:
    if known_hash is None:
        return None
    algorithm, _, digest = known_hash.rpartition(":")
    algorithm = algorithm or "sha256"
    if DIGESTS.get(algorithm) != len(digest) or not re.fullmatch(r"[0-9a-fA-F]+", digest):
        msg = f"known_hash={known_hash!r} is no hash: give md5: or sha256: and its hexadecimal digits."
        raise InputError(msg)
    return f"{algorithm}:{digest}"


def _zenodo_hash(url: str, name: str) -> str | None:
    """MD5 of file `name` as the record says; None, said in the log, when the record cannot be asked."""
    try:
        record = ask_json(url)
    except InputError as err:
        logger.warning("The hash of %s is not known and only its length is checked: %s", name, err)
        return None
    for file in record.get("files", []):
        if file.get("key") == name and file.get("checksum"):
            return _check_hash(file["checksum"])
    logger.warning("%s publishes no hash of %s: only its length is checked.", url, name)
    return None
