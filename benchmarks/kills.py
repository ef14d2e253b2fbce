"""Kill commands at random times, fill their disk, send signals, and look what is left of old and new outputs.

Every kill comes at a random time of the run, or, every other time, at the moment at which the working folder of the
new output is there: that is, while it is written, synced and exchanged. After each the output is read: it is the old
one, whole, or the new one, whole; anything else is lost (nothing is there) or broken. Then the command is run to its
end, and what it leaves beside its outputs is counted.

    python benchmarks/kills.py [--kills 20] [--signals KILL TERM] [--only train demo ...] [--seed 0] [-o DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
GENEXP = [sys.executable, "-m", "genexp_scverse.cli"]
WORKING = ".genexp-*"
MARK = 1_000_000_000


class Job(NamedTuple):
    """A command, what it writes, and how to tell that this is whole."""

    argv: list[str]
    outputs: list[str]
    digest: Callable[[Path], str]
    writes: int = 1


def main() -> None:
    """Run all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--signals", nargs="+", default=["KILL", "TERM"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", help="folder to work in (default: a temporary one)")
    args = parser.parse_args()
    work = Path(args.output or tempfile.mkdtemp(prefix="kills-")).resolve()
    work.mkdir(exist_ok=True)
    site = serve(work / "site")
    jobs = prepared(work, site)
    chosen = {k: v for k, v in jobs.items() if not args.only or k in args.only}
    row("command", "signal", "kills", "old kept", "new whole", "lost", "broken", "leftovers")
    bad = 0
    for name, job in chosen.items():
        for signum in args.signals:
            bad += killed(work, name, job, signal.Signals[f"SIG{signum}"], args.kills, random.Random(args.seed))
    for table in () if args.only else (faults, two_at_once):
        bad += table(work, jobs)
    sys.exit(bad > 0)


def row(*cells: object) -> None:
    """Print one row."""
    print("".join(f"{c!s:<{20 if i == 0 else 12}}" for i, c in enumerate(cells)), flush=True)


def serve(folder: Path) -> str:
    """Serve one file slowly on the loopback address."""
    folder.mkdir(exist_ok=True)
    body = random.Random(0).randbytes(2_000_000)
    (folder / "data.bin").write_bytes(body)

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            try:
                for first in range(start, len(body), 100_000):
                    self.wfile.write(body[first : first + 100_000])
                    time.sleep(0.03)
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/data.bin"


def prepared(work: Path, url: str) -> dict[str, Job]:
    """Make small inputs, and say what is to be killed; commands run in a folder of their own."""
    import numpy as np
    import pandas as pd

    import genexp_scverse as gx

    files = gx.datasets.simulate(work / "in", n_genes=120, n_chroms=4, marks=["H3K4me3", "H3K27ac"])
    build = ["build", str(files.sheet), "--genes", str(files.genes), "--expression", str(files.expression)]
    build += ["--unit", "tpm", "--test-chroms", "chr1", "--valid-chroms", "chr2"]
    mudata = str(work / "in.h5mu")
    if not Path(mudata).exists():
        subprocess.run([*GENEXP, *build, "-o", mudata], check=True, env=ENVIRONMENT, capture_output=True)
    scored = work / "scored.h5mu"
    mdata = gx.io.read_mudata(mudata)
    bins = mdata["chromatin"].obsm["bins"]
    mdata["chromatin"].obsm["mask"] = np.array(bins[:, 0] / max(1.0, float(np.nanmax(bins[:, 0]))), np.float32)
    mdata["chromatin"].uns["mask"] = mdata["chromatin"].uns["window"]
    gx.schema.name_axes(mdata, "mask")
    gx.io.write_mudata(mdata, scored)
    epochs = ["--max-epochs", "5", "--accelerator", "cpu"]
    one = ["--sample", "A", "-o", "e.bed", "--bigwig", "e.bigWig"]
    fetch = f"import genexp_scverse as gx; gx.datasets.fetch({url!r}, directory='.')"

    def table(path: Path) -> str:
        # the time of a training is another each time
        read = pd.read_csv(path, sep="\t", comment="#").drop(columns="train_seconds", errors="ignore")
        return digest(read.to_csv().encode())

    def mudata_of(path: Path) -> str:
        read = gx.io.read_mudata(path)
        return digest(read["chromatin"].obsm["bins"].tobytes(), read["rna"].X.tobytes())

    def model_of(path: Path) -> str:
        return digest(gx.model.load(path, gx.io.read_mudata(mudata)).predict().to_numpy().tobytes())

    def bigwig(path: Path) -> str:
        import pyBigWig

        with pyBigWig.open(str(path)) as read:
            return digest(str([read.intervals(c) for c in read.chroms()]).encode())

    def elements(path: Path) -> str:
        return bigwig(path) if path.suffix == ".bigWig" else table(path)

    def demo(path: Path) -> str:
        if path.suffix == ".h5mu":
            return mudata_of(path)
        return model_of_demo(path) if (path / "model.json").exists() else simulated(path)

    def model_of_demo(path: Path) -> str:
        return digest(*(of_bytes(p).encode() for p in sorted(path.iterdir()) if p.suffix in (".npz", ".skops")))

    def simulated(path: Path) -> str:
        genes = gx.io.read_genes(path / "genes.gtf.gz")
        sheet = gx.io.read_sheet(path / "sheet.tsv")
        return digest(str(len(genes)).encode(), *(bigwig(Path(p)).encode() for p in sheet["path"]))

    return {
        "build .h5mu": Job([*GENEXP, *build, "-o", "m.h5mu"], ["m.h5mu"], mudata_of),
        "build .zarr": Job([*GENEXP, *build, "-o", "m.zarr"], ["m.zarr"], mudata_of),
        "train": Job([*GENEXP, "train", "DeepChrome", mudata, *epochs, "-o", "model"], ["model"], model_of, 6),
        "train --resume": Job(
            [*GENEXP, "train", "DeepChrome", mudata, *epochs, "-o", "model", "--resume"], ["model"], model_of, 6
        ),
        "elements": Job(
            [*GENEXP, "elements", "-", str(scored), "--key", "mask", *one], ["e.bed", "e.bigWig"], elements, 2,
        ),
        "compare": Job(
            [*GENEXP, "compare", mudata, "--model", "net=DeepChrome", *epochs, "--bootstrap", "50", "-o", "c.tsv"],
            ["c.tsv"], table,
        ),
        "demo": Job(
            [*GENEXP, "demo", "--small", "-o", "demo"],
            ["demo/data", "demo/demo.h5mu", "demo/models/deepchrome"], demo, 12,
        ),
        "download": Job([sys.executable, "-c", fetch], ["data.bin"], of_bytes),
    }  # fmt: skip


def digest(*parts: bytes) -> str:
    """Tell contents apart."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def of_bytes(path: Path) -> str:
    """Tell files apart."""
    return digest(path.read_bytes())


def state(folder: Path, job: Job) -> list[str]:
    """Digest of every output, ``lost`` or ``broken``."""
    found = []
    for name in job.outputs:
        if not (folder / name).exists():
            found.append("lost")
            continue
        try:
            found.append(job.digest(folder / name))
        except Exception as error:  # noqa: BLE001 - whatever a half-written file does to its reader
            print(f"    {name}: {type(error).__name__}: {error}")
            found.append("broken")
    return found


def killed(work: Path, name: str, job: Job, signum: int, kills: int, rng: random.Random) -> int:
    """Kill a command so many times; give the number of outputs that were lost or broken."""
    folder = work / f"run {name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    started = time.perf_counter()
    subprocess.run(job.argv, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    lasts = time.perf_counter() - started
    whole = state(folder, job)
    count = {"old": 0, "new": 0, "lost": 0, "broken": 0}
    for i in range(kills):
        if name == "download":
            (folder / job.outputs[0]).unlink(missing_ok=True)
        old = state(folder, job)
        for output in job.outputs:
            if (folder / output).exists():
                # old outputs are told from new ones by their time
                os.utime(folder / output, (MARK, MARK))
        process = subprocess.Popen(job.argv, cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        wait(folder, process, rng, lasts, job.writes if i % 2 else 0)
        process.send_signal(signum)
        process.wait()
        for output, was, now, new in zip(job.outputs, old, state(folder, job), whole, strict=True):
            if now == "lost":
                outcome = "old" if was == "lost" else "lost"
            elif int((folder / output).stat().st_mtime) == MARK:
                outcome = "old" if now == was else "broken"
            else:
                # what a signal leaves of a training is whole, and another
                best_so_far = signum == signal.SIGTERM and name.startswith(("train", "compare"))
                outcome = "new" if now == new or (best_so_far and now != "broken") else "broken"
            count[outcome] += 1
    subprocess.run(job.argv, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    same = state(folder, job) == whole
    names = {Path(o).parts[0] for o in job.outputs}
    left = (
        {p for p in folder.iterdir() if p.name not in names} | set(folder.rglob(WORKING)) | set(folder.rglob("*.part*"))
    )
    row(name, signal.Signals(signum).name, kills, *count.values(), len(left), "" if same else "DIFFERS")
    return count["lost"] + count["broken"] + len(left) + (not same)


def wait(folder: Path, process: subprocess.Popen, rng: random.Random, lasts: float, writes: int) -> None:
    """Wait for a random time of the run, or, where there are `writes`, for the moment of one of them."""
    if not writes:
        end = time.perf_counter() + rng.uniform(0.05, lasts)
        while time.perf_counter() < end and process.poll() is None:
            time.sleep(0.005)
        return
    skip = rng.randrange(writes)
    while process.poll() is None:
        if any(folder.glob(WORKING)) or any(folder.glob(f"*/{WORKING}")) or any(folder.glob("*.part")):
            if skip == 0:
                time.sleep(rng.choice((0, 0.0005, 0.002, 0.01, 0.03)))
                return
            skip -= 1
            while process.poll() is None and any(folder.glob(WORKING)):
                pass
        time.sleep(0.0005)


def faults(work: Path, jobs: dict[str, Job]) -> int:
    """Run commands on a full disk, a disk that cannot be written to, and under a limit on the size of files."""
    row("\ncommand", "fault", "exit", "leftovers", "said")
    bad = 0
    for name, job in jobs.items():
        for fault in ("full", "read-only", "file size"):
            folder = work / "faulty"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            limit = None
            try:
                if fault == "file size":
                    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # noqa: E731
                elif subprocess.run(
                    ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False
                ).returncode:
                    row(name, fault, "cannot be mounted here")
                    continue
                if fault == "full":
                    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
                        while True:
                            ballast.write(bytes(1000))
                if fault == "read-only":
                    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
                before = sorted(p.relative_to(folder) for p in folder.rglob("*"))
                done = subprocess.run(
                    job.argv, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, preexec_fn=limit, check=False
                )
                # a part of a download is kept to go on with, and a folder that a demo has marked to be used again
                kept = ("demo", ".genexp_demo", "data.bin.part", "data.bin.part.source")
                left = [p for p in folder.rglob("*") if p.relative_to(folder) not in before and p.name not in kept]
                said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
                code = 1 if name == "download" else 2
                wrong = done.returncode != code or (code == 2 and "Traceback" in done.stderr) or bool(left)
                row(name, fault, done.returncode, len(left), said[-110:], "WRONG" if wrong else "")
                bad += wrong
            finally:
                while os.path.ismount(folder):
                    subprocess.run(["umount", folder], check=True)
    return bad


def two_at_once(work: Path, jobs: dict[str, Job]) -> int:
    """Run every command twice at once on one output."""
    row("\ncommand", "pairs", "whole", "lost", "broken", "leftovers")
    bad = 0
    for name, job in jobs.items():
        if name == "train --resume":
            continue
        folder = work / "twice"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        count = {"whole": 0, "lost": 0, "broken": 0}
        for _ in range(3):
            both = [
                subprocess.Popen(job.argv, cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL) for _ in range(2)
            ]
            for each in both:
                each.wait()
            for now in state(folder, job):
                count[now if now in count else "whole"] += 1
            if any(each.returncode for each in both):
                print("    exit codes", [each.returncode for each in both])
                count["broken"] += 1
        left = list(folder.rglob(WORKING))
        row(name, 3, *count.values(), len(left))
        bad += count["lost"] + count["broken"] + len(left)
    return bad


if __name__ == "__main__":
    main()
