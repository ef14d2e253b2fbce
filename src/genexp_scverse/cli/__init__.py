"""The command ``genexp``: a thin layer over the Python API."""

from genexp_scverse.cli._main import main

__all__ = ["main"]
