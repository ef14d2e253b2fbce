"""Seconds and peak memory of starting up: ``import genexp_scverse`` and ``genexp --help``, in fresh processes.

python benchmarks/startup.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python (nothing imported)": [sys.executable, "-c", "pass"],
    "import genexp_scverse": [sys.executable, "-c", "import genexp_scverse"],
    "genexp --help": [sys.executable, "-m", "genexp_scverse.cli", "--help"],
    "import scvi (for comparison)": [sys.executable, "-c", "import scvi"],
}


def main() -> None:
    """Run each command five times and print medians."""
    print("command\tseconds\tpeak_memory_mib")
    for name, command in COMMANDS.items():
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        # the largest child so far: commands stand in order of size
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{name}\t{statistics.median(seconds):.3f}\t{peak:.0f}")


if __name__ == "__main__":
    main()
