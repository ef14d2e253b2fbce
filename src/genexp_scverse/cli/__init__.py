"""The command ``genexp``: a thin layer over the Python API."""
