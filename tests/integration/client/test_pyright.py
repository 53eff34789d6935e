"""What pyright says to a user of the client. It comes from PyPI, into ``.cache``, and runs on Playwright's Node."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import playwright
import pytest

from tests.unit.client.test_types import MOVED, USER, WRONG

ROOT: Final = Path(__file__).resolve().parents[3]
RELEASE: Final = "1.1.414"
NODE: Final = Path(playwright.__file__).parent / "driver/node"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def pyright() -> Path:
    """Its program."""
    home = ROOT / ".cache" / f"pyright-{RELEASE}"
    home.parent.mkdir(exist_ok=True)
    program = home / "pyright/dist/index.js"
    with Path(f"{home}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            wanted = (f"pyright=={RELEASE}", "--no-deps", "--target", str(home))
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True, timeout=240)
    return program


def _said(pyright: Path, folder: Path, *, mode: str, **programs: str) -> dict[str, list[str]]:
    """The rule of each complaint, by program."""
    for name, code in programs.items():
        (folder / f"{name}.py").write_text(code)
    config = {
        "typeCheckingMode": mode,
        "include": [f"{name}.py" for name in programs],
        "extraPaths": [str(ROOT)],
        "venvPath": str(Path(sys.prefix).parent),
        "venv": Path(sys.prefix).name,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [NODE, pyright, "--project", folder, "--outputjson"], capture_output=True, text=True, check=False, timeout=200
    )
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] == len(programs), done.stdout + done.stderr
    found: dict[str, list[str]] = {name: [] for name in programs}
    for one in answer["generalDiagnostics"]:
        found[Path(one["file"]).stem].append(f"{one.get('rule')}: {one['message']}")
    return found


def test_programs_of_a_user_are_clean_and_wrong_names_are_seen(pyright: Path, tmp_path: Path) -> None:
    found = _said(pyright, tmp_path, mode="standard", client=USER, moved=MOVED, wrong=WRONG)
    assert found["client"] == []
    assert found["moved"] == []
    assert len(found["wrong"]) == 3
