"""The image, without Docker: what its Dockerfile does, done here in an empty environment."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
STAGES: Final = re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]


def lines(stage: str, word: str) -> list[str]:
    return re.findall(rf"^{word} (.*)$", stage, re.M)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage leaves: its files copied, its command run."""
    source, target = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("opt") / "krm"
    for line in lines(STAGES[0], "COPY"):
        *files, place = line.split()
        for name in files:
            goal = source / place / (Path(name).name if place.endswith("/") else "")
            goal.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-R", ROOT / name, goal], check=True)
    (command,) = lines(STAGES[0], "RUN")
    words = shlex.split(command.replace("/opt/krm", str(target)))
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("KRM_", "PYTHON", "VIRTUAL_"))}
    # The same locks and hashes; only faster.
    faster = {"PIP": f"{sys.executable} -m uv --quiet pip", "PYTHON": sys.executable, "UV_PYTHON": sys.executable}
    faster |= {"COMPILE": "krm"}
    subprocess.run(words, cwd=source, env={**ours, **faster}, check=True, timeout=400)
    return target


def run(built: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The image's program, as its last stage says, with a home that is not ours and nothing that may be written."""
    (entry,) = lines(STAGES[1], "ENTRYPOINT")
    python, *rest = yaml.safe_load(entry)
    assert python == "python3"
    env = {"PYTHONPATH": str(built), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "", "HOME": "/nonexistent"}
    # Without the packages of this environment.
    command = [os.path.realpath(sys.executable), "-S", *rest, *arguments]
    return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(500)
def test_what_is_installed_runs_alone(built: Path) -> None:
    assert run(built, "--version").stdout.startswith("krm 2")
    for command in ("stream", "verify", "aggregate", "serve"):
        done = run(built, command)
        assert (done.returncode, "KRM_REDIS_URL is not set" in done.stderr) == (2, True), done.stderr
    made = run(built, "manifests", "--profile", "ha").stdout
    assert "krm-redis-scripts" in made
    pycs = {path.parent.parent for path in (built / "krm").rglob("__pycache__/*.pyc")}
    assert built / "krm" in pycs


def test_the_last_stage_has_no_shell_and_no_root() -> None:
    assert len(STAGES) == 2
    assert lines(STAGES[1], "RUN") == []
    assert lines(STAGES[1], "USER") == ["65532:65532"]
    assert "distroless" in DOCKERFILE


def test_the_user_of_the_image_is_that_of_the_manifests() -> None:
    for document in yaml.safe_load_all((ROOT / "deploy/base/api.yaml").read_text()):
        if document["kind"] == "Deployment":
            assert document["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 65_532


def test_all_that_is_copied_is_sent_to_the_builder() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [name for line in lines(STAGES[0], "COPY") for name in line.split()[:-1]]
    assert [name for name in copied if not any(name == one or name.startswith(one + "/") for one in sent)] == []
