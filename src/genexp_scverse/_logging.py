"""The package's logger: messages reach stderr at level INFO unless the user's own settings say otherwise."""

from __future__ import annotations

import logging
import sys

from genexp_scverse._errors import spoken


class _StderrHandler(logging.StreamHandler):
    """Write to whatever ``sys.stderr`` is when the message comes (notebooks and tests replace it)."""

    def __init__(self):
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


class _SpokenFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return spoken(super().format(record))


logger = logging.getLogger("genexp_scverse")
if not logger.handlers:
    _handler = _StderrHandler()
    _handler.setFormatter(_SpokenFormatter("%(message)s"))
    logger.addHandler(_handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
