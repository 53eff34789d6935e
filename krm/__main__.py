"""``python -m krm`` is ``krm``."""

from __future__ import annotations

import sys

from krm import cli

if __name__ == "__main__":
    sys.exit(cli.main())
