"""Differences between the supported versions of the stack, bridged in one place."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

import mudata

# mudata 0.3 says at every copy of a MuData what 0.4 will do; nothing here depends on it
warnings.filterwarnings("ignore", r"From 0\.4 \.update\(\)", FutureWarning)


def nothing_pulled() -> AbstractContextManager:
    """Keep mudata 0.3 from copying columns of the modalities into ``mdata.obs`` and ``mdata.var``.

    From 0.4 on mudata copies none of its own accord and has no such option.
    """
    options = getattr(mudata, "set_options", None)
    return nullcontext() if options is None else options(pull_on_update=False)
