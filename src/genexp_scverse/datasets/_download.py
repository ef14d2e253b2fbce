"""Download over HTTP so that a cut connection costs only what was not yet received."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger

if TYPE_CHECKING:
    import requests

ATTEMPTS = 4
WAIT = 1.0
"""Seconds before the second attempt; doubled before each one after it."""
TIMEOUT = (10, 60)
CHUNK = 1 << 16
PROGRESS = 1 << 20
"""An attempt that brought this many bytes does not count against the attempts."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ResumingDownloader:
    """A downloader that continues `part` where it ends, by an HTTP range request.

    What has been received stays in `part` when the connection is cut, and beside it in ``<part>.source`` the
    address and the version (ETag or date) it is a part of. A part of another address or version, or a server
    that does not know ranges, starts again from the first byte.

    Parameters
    ----------
    part
        File that collects the bytes; it outlives a failure.
    """

    def __init__(self, part: Path):
        self.part = part
        self.source = part.with_name(part.name + ".source")

    def download(self, url: str) -> None:
        """Download all of `url` to the part."""
        failures = 0
        while True:
            before = self._received()
            try:
                self._attempt(url)
                break
            except TransferError as err:
                if err.final:
                    raise InputError(str(err)) from err
                failures = 1 if self._received() >= before + PROGRESS else failures + 1
                if failures >= ATTEMPTS:
                    raise InputError(f"{err}{self._kept()}") from err
                wait = WAIT * 2 ** (failures - 1)
                logger.info("%s Trying again in %g s.", err, wait)
                time.sleep(wait)

    def forget(self) -> None:
        """Remove the part, and what it is a part of."""
        self.source.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)

    def _empty(self) -> None:
        # not deleted: it is the file that is locked
        if self.part.exists():
            os.truncate(self.part, 0)

    def _attempt(self, url: str) -> None:
        import requests

        try:
            headers = self._headers(url)
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                start = self._received() if "Range" in headers else 0
                if response.status_code == 416 and start:
                    self._past_the_end(url, response, start)
                    return
                check_status(url, response)
                start, total = self._place(url, response, start)
                self._write(url, response, start, total)
        except requests.RequestException as err:
            raise TransferError(describe(url, err)) from err
        except ValueError as err:
            # urllib3 lets some impossible hosts through to here.
            msg = f"{url} is no address that can be fetched ({err}): check it."
            raise TransferError(msg, final=True) from err
        except OSError as err:
            raise TransferError(_disk(self.part, err), final=True) from err

    def _headers(self, url: str) -> dict[str, str]:
        # Compression on the way would make lengths and ranges those of other bytes.
        headers = {"Accept-Encoding": "identity"}
        known, _, version = self.source.read_text().partition("\n") if self.source.exists() else ("", "", "")
        if known == url and self._received():
            headers["Range"] = f"bytes={self._received()}-"
            if version:
                headers["If-Range"] = version
        return headers

    def _past_the_end(self, url: str, response: requests.Response, start: int) -> None:
        """Tell a whole part, after which the server has nothing, from one that is of another file."""
        if response.headers.get("Content-Range", "").strip() == f"bytes */{start}":
            return
        self._empty()
        msg = f"{self.part} is longer than what {url} has now and was deleted."
        raise TransferError(msg)

    def _place(self, url: str, response: requests.Response, start: int) -> tuple[int, int | None]:
        """Where the bytes of `response` go, and how long the whole file is when the server says so."""
        if response.status_code == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
            if match is None or int(match[1]) > start:
                self._empty()
                msg = f"{url} was answered with a range that was not asked for."
                raise TransferError(msg)
            logger.info("Continuing %s at byte %d.", self.part.name, int(match[1]))
            return int(match[1]), None if match[2] == "*" else int(match[2])
        if start:
            logger.info("The server sends %s from the start; %d bytes are fetched again.", url, start)
        version = response.headers.get("ETag", "")
        if not version or version.startswith("W/"):
            version = response.headers.get("Last-Modified", "")
        self.source.write_text(f"{url}\n{version}")
        length = response.headers.get("Content-Length")
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"
        return 0, None if length is None or encoded else int(length)

    def _write(self, url: str, response: requests.Response, start: int, total: int | None) -> None:
        from tqdm import tqdm

        with self.part.open("r+b" if start else "wb") as out:
            if start:
                out.seek(start)
                out.truncate()
            label = self.part.name.removesuffix(".part")
            with tqdm(
                total=total,
                initial=start,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                desc=label,
                disable=None,
            ) as bar:
                for chunk in response.iter_content(CHUNK):
                    out.write(chunk)
                    bar.update(len(chunk))
        received = self._received()
        if total is not None and received != total:
            if received > total:
                self._empty()
            msg = f"{url} sent {received} of {total} bytes."
            raise TransferError(msg)

    def _received(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _kept(self) -> str:
        received = self._received()
        return f" {received} bytes are kept in {self.part}: run again to resume." if received else ""


def ask_json(url: str) -> dict:
    """Ask for a small JSON object; errors are those of a download."""
    import requests

    try:
        response = requests.get(url, headers={"Accept": "application/json"}, timeout=TIMEOUT)
        check_status(url, response)
        answer = response.json()
    except requests.JSONDecodeError as err:
        msg = f"{url} was not answered with JSON: check base_url, or the network's login page."
        raise InputError(msg) from err
    except requests.RequestException as err:
        raise InputError(describe(url, err)) from err
    except TransferError as err:
        raise InputError(str(err)) from err
    if not isinstance(answer, dict):
        msg = f"{url} was not answered with a JSON object: check base_url."
        raise InputError(msg)
    return answer


class TransferError(Exception):
    """A download that did not work out; `final` when another attempt cannot help."""

    def __init__(self, message: str, *, final: bool = False):
        super().__init__(message)
        self.final = final


def check_status(url: str, response: requests.Response) -> None:
    """Raise :class:`TransferError` where the server answers with an error; only 429 and 5xx may pass."""
    code = response.status_code
    if code in (404, 410):
        msg = f"{url} does not exist on the server (HTTP {code}): check the address or the name asked for."
        raise TransferError(msg, final=True)
    if code == 429 or code >= 500:
        msg = f"The server of {url} cannot answer at the moment (HTTP {code}): try again later."
        raise TransferError(msg)
    if code not in (200, 206):
        msg = f"The server refuses {url} (HTTP {code} {response.reason}): check the address and your access."
        raise TransferError(msg, final=True)


def describe(url: str, err: requests.RequestException) -> str:
    """Say in one sentence what cut the connection to `url`, or why there was none."""
    import requests

    text = str(err)
    if isinstance(err, requests.exceptions.ChunkedEncodingError) or "Read timed out" in text:
        return f"The connection was cut while {url} was being sent."
    if isinstance(err, requests.exceptions.SSLError):
        return f"No secure connection to {url}: check the clock, the certificates and the proxy of this machine."
    if isinstance(err, requests.ConnectionError | requests.Timeout):
        found = "the host was not found" if "resolve" in text or "getaddrinfo" in text else "no connection"
        return f"{url} cannot be reached ({found}): check the network, or download it elsewhere into the cache."
    return f"{url} cannot be downloaded ({text}): check the address."


def _disk(path: Path, err: OSError) -> str:
    if err.errno in FULL:
        return f"No space is left for {path}: free some, or set GENEXP_DATA_DIR to a larger disk, and run again."
    reason = err.strerror or os.strerror(err.errno or 0)
    return f"{path} cannot be written ({reason}): set GENEXP_DATA_DIR to a folder that can."
