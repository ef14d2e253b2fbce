"""Run the tutorials from top to bottom in a temporary folder and store their outputs.

python docs/run_tutorials.py [NOTEBOOK ...]
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

WIDGET = "application/vnd.jupyter.widget-view+json"
TUTORIALS = Path(__file__).parents[1] / "tutorials"


def main() -> None:
    for path in [Path(a) for a in sys.argv[1:]] or sorted(TUTORIALS.glob("*.ipynb")):
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}
            ).execute()
            clean(notebook, folder)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s")


def clean(notebook, folder: str) -> None:
    """Leave nothing of the machine behind: no times, no ids of widgets, no folders."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if "outputs" in cell:
            # a progress bar is a widget, of which nothing but an empty box could be kept
            cell.outputs = joined([o for o in cell.outputs if WIDGET not in o.get("data", {})])
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = in_256_colours(output.data["image/png"])
            if output.output_type == "error" or str(folder) in str(output):
                sys.exit(f"an output that cannot be kept:\n{output}")


def joined(outputs: list) -> list:
    """Lines of the log that follow each other become one output."""
    together: list = []
    for output in outputs:
        last = together[-1] if together else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            together.append(output)
    return together


def in_256_colours(png: str) -> str:
    """Less than half the size, without a difference that shows."""
    packed = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


if __name__ == "__main__":
    main()
