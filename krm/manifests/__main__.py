"""``python -m krm.manifests FOLDER`` writes the Kustomize folders below FOLDER: ``make manifests``."""

from __future__ import annotations

import sys
from pathlib import Path

from krm.manifests import grafana, render

if __name__ == "__main__":
    render.write(Path(sys.argv[1]))
    grafana.write(Path(sys.argv[1]))
