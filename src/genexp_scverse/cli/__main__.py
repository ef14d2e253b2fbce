"""``python -m genexp_scverse.cli`` is ``genexp``."""

import sys

from genexp_scverse.cli import main

sys.exit(main())
