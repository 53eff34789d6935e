"""Whether the page in the package is the one that ``ui/`` makes: a digest of the sources lies beside what was built.

``python -m tests.ui`` writes it; ``make ui`` does so after each build.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BUILT: Final = ROOT / "krm" / "api" / "static" / "ui"
DIGEST: Final = BUILT / "sources.sha256"
_SOURCES: Final = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src/**/*")


def digest() -> str:
    """SHA-256 over the names and contents of everything that the page is built from."""
    found = hashlib.sha256()
    for path in sorted({path for pattern in _SOURCES for path in (ROOT / "ui").glob(pattern) if path.is_file()}):
        found.update(f"{path.relative_to(ROOT)}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


if __name__ == "__main__":
    DIGEST.write_text(f"{digest()}\n")
