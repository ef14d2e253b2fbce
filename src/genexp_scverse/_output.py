"""The one way in which an output is put in its place: whole or not at all, whatever happens on the way.

A writer gets a working folder beside the output. What it made there is synced to the disk and then exchanged with what
had the name before, in one step of the file system. The working folder is locked by its process and removed at the
end; that of a process that died is removed by the next one that writes in the same folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from genexp_scverse._errors import InputError

try:
    import fcntl
except ImportError:  # Windows: folders of dead processes stay
    fcntl = None  # type: ignore[assignment]

PREFIX = ".genexp-"
_LOCK, _PLACING, _BEFORE = "lock", "placing", "before"
_ZARR = (".zgroup", ".zarray", "zarr.json")
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
_AT_CWD, _EXCHANGE = -100, 2


@contextlib.contextmanager
def written(path: str | Path, *, own: Callable[[Path], bool] | None = None, needs: str = "") -> Iterator[Path]:
    """Give a name to write to, and put the file or folder that was made there in the place of `path`.

    A symbolic link is followed; folders above that are missing are made. When anything goes wrong, `path` is as it was.
    A pipe or device is written into as it is.

    Parameters
    ----------
    path
        File or folder that is to be made or replaced.
    own
        For a folder: tells which of the entries that are there belong to the output and go with it; the others are
        kept, unless the new one has their name. None when all go.
    needs
        Room that the output takes, in words, for the message of a full disk.

    Yields
    ------
    Where to write: the same name in another folder.

    Raises
    ------
    InputError
        When the place cannot be written to, the disk is full, or a limit of size is reached.

    Examples
    --------
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with written(path) as made:
    ...     _ = made.write_text("whole")
    >>> path.read_text()
    'whole'
    """
    path = Path(path)
    if is_special(path):
        with said(path, needs):
            yield path
        return
    target = Path(os.path.realpath(path))
    with said(path, needs), workplace(target) as work:
        made = work / target.name
        yield made
        place(made, target, own=own)


@contextlib.contextmanager
def workplace(target: Path) -> Iterator[Path]:
    """Make a locked working folder beside `target`, in it where it cannot step aside, and remove it in the end."""
    new = [folder for folder in target.parents if not folder.exists()]
    failed = True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        parent = target if _only_from_within(target) else target.parent
        settle(parent)
        folder, handle = _locked_folder(parent)
        try:
            yield folder
            failed = False
        finally:
            os.close(handle)
            # where the old one stepped aside and could not come back, it is not deleted
            if not (folder / _PLACING).exists():
                _remove(folder, patient=failed)
    finally:
        if failed:
            # folders that were made for it go with it
            with contextlib.suppress(OSError):
                for empty in new:
                    empty.rmdir()


def place(made: Path, target: Path, *, own: Callable[[Path], bool] | None = None) -> None:
    """Put what was made in a working folder in the place of `target`, in one step where the file system has one."""
    there = target.exists()
    if made.is_dir() and there and own is not None:
        _carry_over(target, made, own)
    sync(made)
    if there:
        shutil.copymode(target, made)
    if made.parent.parent == target:
        _place_within(made, target)
    elif made.is_dir():
        _place_folder(made, target)
    else:
        made.replace(target)
    _sync_folder(target.parent)


def settle(folder: Path) -> None:
    """Remove the working folders of dead processes; what one of them was about to put in its place gets there."""
    with contextlib.suppress(OSError):
        for left in sorted(folder.glob(f"{PREFIX}{_host()}-*")):
            _settle(left)


def recover(path: str | Path) -> None:
    """Finish what a process that died had begun to put at `path`; to be called before reading it.

    Only needed where a file system cannot exchange two folders in one step; elsewhere nothing is ever to be done.
    """
    target = Path(os.path.realpath(path))
    for folder in () if target.is_file() else (target, target.parent):
        with contextlib.suppress(OSError):
            for left in folder.glob(f"{PREFIX}{_host()}-*/{_PLACING}"):
                _settle(left.parent)


def sync(path: Path) -> None:
    """Wait until a file, or all of a folder, has reached the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            if not entry.is_symlink():
                sync(entry)
        _sync_folder(path)
        return
    if path.is_file():
        handle = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Open a file, made when missing, that no other process holds; wait for one that does."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                with contextlib.suppress(InterruptedError):
                    _flock(handle, wait=True)
            # the one who held it may have given it another name
            if _is_at(handle, path):
                yield handle
                return
        finally:
            os.close(handle)


def disk_fault(error: BaseException) -> str | None:
    """Tell what the operating system said, of an error that may hide it, such as those of h5py; None when nothing."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        number = at.errno if isinstance(at, OSError) else None
        if number is None and (found := re.search(r"errno = (\d+)", str(at))):
            number = int(found[1])
        if number is not None:
            return os.strerror(number)
        at = at.__cause__ or at.__context__
    oserror = next((e for e in seen if isinstance(e, OSError)), None)
    return None if oserror is None else " ".join(str(oserror).split())[:200]


def is_special(path: str | Path) -> bool:
    """Tell a pipe or device, which is written into, from a file, which is replaced."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


def check_place(path: str | Path) -> None:
    """Raise when nothing can be written at `path`; to be asked before long work.

    Raises
    ------
    InputError
        When the folder that is to hold it is none or cannot be written to.

    Examples
    --------
    >>> check_place(Path(tempfile.mkdtemp()) / "new" / "a.tsv")
    """
    path = Path(path)
    there = next(p for p in Path(os.path.realpath(path)).parents if p.exists())
    inside = path.is_dir() and os.access(path, os.W_OK)
    if not there.is_dir() or not (os.access(there, os.W_OK) or inside):
        msg = f"{there} cannot be written to: choose another place for {path.name}"
        raise InputError(msg)


def check_folder(path: str | Path) -> None:
    """Raise when `path` cannot be a folder to write to.

    Raises
    ------
    InputError
        When it is a file, or cannot be made.

    Examples
    --------
    >>> check_folder(tempfile.mkdtemp())
    """
    if Path(path).exists() and not Path(path).is_dir():
        msg = f"{path} is a file: give a directory"
        raise InputError(msg)
    check_place(path)


def check_apart(output: str | Path | None, inputs: Iterable[str | Path | None]) -> None:
    """Raise when writing to `output` would change what is read: it is an input, lies in one, or holds one.

    Raises
    ------
    InputError
        When it would.

    Examples
    --------
    >>> check_apart("out.tsv", ["genes.gtf", None])
    """
    if output is None or is_special(output):
        return
    real = Path(os.path.realpath(output))
    for path in inputs:
        if path is None or not Path(path).exists():
            continue
        read = Path(os.path.realpath(path))
        if real.exists() and real.samefile(path):
            what = "folder" if real.is_dir() else "file"
            msg = f"{output} is the same {what} as {path}, which is read: choose another name to write to"
            raise InputError(msg)
        if read in real.parents:
            msg = f"{output} lies inside {path}, which is read: choose another place to write to"
            raise InputError(msg)
        if real in read.parents and real.exists():
            msg = f"{output} holds {path}, which is read: choose another name to write to"
            raise InputError(msg)
    store = next((p for p in real.parents if any((p / name).is_file() for name in _ZARR)), None)
    if store is not None:
        msg = f"{output} lies inside the zarr store {store}: choose another place to write to"
        raise InputError(msg)


@contextlib.contextmanager
def said(path: Path, needs: str = "") -> Iterator[None]:
    """Turn what the operating system says while `path` is written into one sentence."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        fault = disk_fault(error)
        if fault is None or isinstance(error, BrokenPipeError):
            raise
        msg = f"{path} could not be written ({fault}{needs and f'; {needs}'}): nothing was changed there"
        raise InputError(msg) from error


def _host() -> str:
    return re.sub(r"\W", "_", socket.gethostname())[:40] or "host"


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """Make a folder whose lock ends with this process; the name says to whom it belongs."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_host()}-{os.getpid()}-", dir=parent))
        handle = None
        try:
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            # one that cleans up may have taken it between the two lines above for a dead one
            if _flock(handle, wait=False) is not False and _is_at(handle, folder / _LOCK):
                return folder, handle
        except FileNotFoundError:
            pass
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if handle is not None:
            os.close(handle)


def _remove(folder: Path, *, patient: bool) -> None:
    gone = 0
    for _ in range(100):
        gone = 0 if folder.exists() else gone + 1
        if gone > 3 or (gone and not patient):
            return
        shutil.rmtree(folder, ignore_errors=True)
        # threads of zarr go on for a moment after an error, and make their folders anew
        if patient:
            time.sleep(0.02)


def _flock(handle: int, *, wait: bool) -> bool | None:
    """Lock for this process; False when another holds it, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(handle: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _only_from_within(target: Path) -> bool:
    """Tell whether a folder cannot step aside: one that is worked in, a mount, one whose parent is closed."""
    if not target.is_dir():
        return False
    here = Path.cwd()
    return here == target or target in here.parents or target.is_mount() or not os.access(target.parent, os.W_OK)


def _place_folder(made: Path, target: Path) -> None:
    while True:
        try:
            if not target.exists():
                made.rename(target)
                return
            if _exchange(made, target):
                return
        except OSError as error:
            # another process has made it, or taken it away, in between
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST) or not made.exists():
                raise
            continue
        _step_aside(made, target)
        return


def _exchange(made: Path, target: Path) -> bool:
    """Give each of two folders the name of the other in one step; False where the system has no such step."""
    libc: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    one, other = os.fsencode(made), os.fsencode(target)
    if hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_CWD, one, _AT_CWD, other, _EXCHANGE)
    elif hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(one, other, _EXCHANGE)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _NO_EXCHANGE:
        raise OSError(number, os.strerror(number), str(target))
    return not failed


def _step_aside(made: Path, target: Path) -> None:
    """Replace in two steps; `settle` and `recover` do the second where a process dies between them."""
    before = made.parent / _BEFORE
    marker = _mark(made, within=False)
    target.rename(before)
    try:
        made.rename(target)
    except BaseException:
        before.rename(target)
        marker.unlink()
        raise
    marker.unlink()


def _place_within(made: Path, target: Path) -> None:
    """Replace entry by entry, and go on to the end after a death in between."""
    new = {entry.name for entry in made.iterdir()}
    stale = [e.name for e in target.iterdir() if e.name not in new and not e.name.startswith(PREFIX)]
    marker = _mark(made, within=True, stale=stale)
    _move_entries(made, target, stale)
    marker.unlink()


def _move_entries(made: Path, target: Path, stale: list[str]) -> None:
    for entry in sorted(made.iterdir()):
        old = target / entry.name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        entry.replace(old)
    for name in stale:
        old = target / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    _sync_folder(target)


def _mark(made: Path, **how: Any) -> Path:
    marker = made.parent / _PLACING
    marker.write_text(json.dumps({"name": made.name, **how}), encoding="utf-8")
    sync(marker)
    _sync_folder(made.parent)
    return marker


def _settle(left: Path) -> None:
    """Remove a working folder if its process is dead for certain, after finishing what it was about to place."""
    handle = os.open(left / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if _flock(handle, wait=False) is not True:
            return
        with contextlib.suppress(FileNotFoundError, ValueError):
            how = json.loads((left / _PLACING).read_text(encoding="utf-8"))
            made, target = left / how["name"], left.parent / how["name"]
            if how["within"]:
                _move_entries(made, left.parent, how["stale"])
            elif made.exists() and not target.exists():
                made.rename(target)
        shutil.rmtree(left, ignore_errors=True)
    finally:
        os.close(handle)


def _carry_over(old: Path, new: Path, own: Callable[[Path], bool]) -> None:
    """Give what others have put into a folder a place in the new one; the same files where the disk allows it."""
    for other in old.iterdir():
        to = new / other.name
        if own(other) or other.name.startswith(PREFIX):
            continue
        if other.is_dir() and not other.is_symlink():
            if to.is_dir():
                _carry_over(other, to, own)
            elif not to.exists():
                shutil.copytree(other, to, symlinks=True, copy_function=_link)
        elif not to.exists():
            _link(other, to)


def _link(source: str | Path, to: str | Path) -> None:
    try:
        os.link(source, to, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, to, follow_symlinks=False)


def _sync_folder(folder: Path) -> None:
    # not every system opens folders, and not every file system syncs them
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
