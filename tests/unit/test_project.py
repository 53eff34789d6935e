"""Rules that hold for the whole project and that no type checker or linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Final

import pytest
import typer.main

from krm import settings
from krm.cli.app import app
from krm.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = sorted([*ROOT.glob("krm/**/*.py"), *ROOT.glob("krm_client/**/*.py")])

# Redis and the network are trust boundaries: what comes from there is data, never code.
UNSAFE_MODULES: Final = frozenset(
    {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
)
UNSAFE_CALLS: Final = frozenset({"eval", "exec", "read_pickle", "to_pickle"})
UNSAFE_YAML: Final = frozenset({"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"})

# Put together here, so that this file does not find itself.
MACHINE_PATHS: Final = re.compile(r"(?<![\w.*-])/(?:" + "|".join(("work", "farm", "root", "home/[a-z]\\w*")) + r")/\w")
REGISTRY_HOSTS: Final = re.compile("|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.(?:org|com)")))
NOT_TEXT: Final = frozenset({".png", ".ico", ".woff", ".woff2", ".gz", ".zst", ".arrow"})


def unsafe_uses(source: str) -> Iterator[str]:
    """What in a module's source decodes code or runs text."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name.partition(".")[0] in UNSAFE_MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] in UNSAFE_MODULES:
                    yield module
                if module == "yaml":
                    yield from (f"yaml.{alias.name}" for alias in names if alias.name in UNSAFE_YAML)
            case ast.Call(func=ast.Name(id=name)) if name in UNSAFE_CALLS:
                yield name
            case ast.Attribute(attr=name) if name in ("read_pickle", "to_pickle"):
                yield name
            case ast.Attribute(value=ast.Name(id="yaml"), attr=name) if name in UNSAFE_YAML:
                yield f"yaml.{name}"


def prints(source: str) -> list[int]:
    """The lines of a module's source that print."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def tracked() -> list[Path]:
    """The files that are handed on, as git knows them; without git, all that is not ignored by name."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in NOT_TEXT]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_decodes_code_or_runs_text(source: Path) -> None:
    assert list(unsafe_uses(source.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import joblib.numpy_pickle as n",
        "eval('1')",
        "exec(text)",
        "import yaml\nyaml.load(text)",
        "from yaml import unsafe_load",
        "pandas.read_pickle(path)",
        "frame.to_pickle(path)",
    ],
)
def test_unsafe_uses_are_seen(source: str) -> None:
    assert list(unsafe_uses(source))


def test_safe_uses_are_not_taken_for_unsafe_ones() -> None:
    assert list(unsafe_uses("import yaml, re\nyaml.safe_load(t)\nre.compile(t)\nmodel.evaluate(t)\njson.load(f)")) == []


def test_only_the_command_line_prints() -> None:
    # One spelled `print = ...` or `sys.stdout.write` would be seen in review; the call is what slips in.
    cli = ROOT / "krm" / "cli"
    found = {str(s.relative_to(ROOT)): prints(s.read_text()) for s in SOURCES if not s.is_relative_to(cli)}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert prints("if x:\n    print(x)") == [2]


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    found = []
    for path in tracked():
        text = path.read_text(errors="replace")
        for pattern in (MACHINE_PATHS, REGISTRY_HOSTS):
            found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in pattern.finditer(text)]
    assert found == []


def test_machine_paths_and_registries_are_seen() -> None:
    assert MACHINE_PATHS.search("cd /" + "work/main")
    assert MACHINE_PATHS.search('"/' + 'home/ann/x"')
    assert not MACHINE_PATHS.search("tests/framework/x and https://example.com/homework/x and /working/x")
    assert REGISTRY_HOSTS.search("https://" + "pypi" + ".org/simple")


def documented() -> dict[str, tuple[str, str]]:
    """Variable -> (default, allowed) out of the tables of docs/settings.md."""
    rows = re.findall(r"^\| `(KRM_\w+)` \| ([^|]*) \| ?([^|]*) ?\| \S", (ROOT / "docs/settings.md").read_text(), re.M)
    assert len({name for name, _, _ in rows}) == len(rows), "a variable is documented twice"
    return {name: (default.strip().strip("`"), allowed.strip()) for name, default, allowed in rows}


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(documented()) == set(settings.variables()) | set(settings.CLIENT_VARIABLES)


SERVER_OPTIONS: Final = {f.metadata["variable"]: f for f in fields(Settings) if f.metadata}


@pytest.mark.parametrize("variable", sorted(SERVER_OPTIONS))
def test_documented_default_is_the_default(variable: str) -> None:
    option = SERVER_OPTIONS[variable]
    assert option.default is not MISSING
    shown = documented()[variable][0]
    read = None if shown == "-" else option.metadata["read"](shown)
    assert read == (option.default or None if shown == "-" else option.default)


@pytest.mark.parametrize("variable", sorted(SERVER_OPTIONS))
def test_documented_range_is_the_one_that_a_wrong_value_is_told(variable: str) -> None:
    allowed = documented()[variable][1].replace("`", "")
    assert refusal(SERVER_OPTIONS[variable].metadata["read"], "\0 ?") == "" or allowed
    assert allowed in refusal(SERVER_OPTIONS[variable].metadata["read"], "\0 ?")


def refusal(read: Callable[[str], object], text: str) -> str:
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""


def inert() -> set[str]:
    """The variables that the documentation says to have no effect yet."""
    page = (ROOT / "docs/settings.md").read_text()
    _, _, after = page.partition("## Without effect yet")
    return set(re.findall(r"^\| `(KRM_\w+)`", after.partition("\n## ")[0], re.M))


def test_settings_that_nothing_reads_are_documented_as_such() -> None:
    used = {
        node.attr
        for source in SOURCES
        if source.name != "settings.py"
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute)
    }
    unused = {variable for variable, option in SERVER_OPTIONS.items() if option.name not in used}
    named = names_in_sources()
    unused |= {variable for variable in settings.CLIENT_VARIABLES if named[variable] <= {"krm/settings.py"}}
    assert inert() == unused


def names_in_sources() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for source in SOURCES:
        for name in re.findall(r"\bKRM_[A-Z]+(?:_[A-Z]+)*\b", source.read_text()):
            found.setdefault(name, set()).add(str(source.relative_to(ROOT)))
    return found


def test_the_code_names_no_setting_that_is_not_documented() -> None:
    unknown = {name: where for name, where in names_in_sources().items() if name not in documented()}
    # What launches other processes may hand them private variables; these stand in one place, here.
    assert unknown == {}


def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements() -> list[str]:
    project = pyproject()["project"]
    groups = pyproject()["dependency-groups"]
    assert isinstance(project, dict)
    assert isinstance(groups, dict)
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    own = project["name"]
    return [r for rs in lists for r in rs if isinstance(r, str) and not r.startswith(own)]


@pytest.mark.parametrize("requirement", sorted(set(requirements())))
def test_every_dependency_has_a_floor(requirement: str) -> None:
    assert ">=" in requirement


# Libraries that come with a declared one, as part of its own interface.
COMES_WITH: Final = {
    "dateutil": "kubernetes",
    "graphql": "gql",
    "httpx2": "gql",
    "multidict": "aiohttp",
    "numpy": "pandas",
    "pydantic": "kubernetes",
    "re2": "google-re2",
    "starlette": "fastapi",
    "strawberry": "strawberry-graphql",
    "urllib3": "kubernetes",
    "uvloop": "uvicorn",
    "websockets": "gql",
    "yaml": "pyyaml",
    "yarl": "aiohttp",
}


def imported(source: str) -> set[str]:
    """The top names of what a module's source imports from elsewhere."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.partition(".")[0])
    return found - sys.stdlib_module_names - {"krm", "krm_client"}


def test_every_imported_library_is_declared() -> None:
    declared = {re.split(r"[\[<>=~!; ]", requirement)[0] for requirement in requirements()}
    used = set().union(*(imported(source.read_text()) for source in SOURCES))
    needed = {COMES_WITH.get(name, name.replace("_", "-")) for name in used}
    assert needed - declared == set()


def locked(name: str) -> set[str]:
    return set(re.findall(r"^(\S+==\S+)", (ROOT / "requirements" / name).read_text(), re.M))


def test_the_demo_installs_what_the_tests_ran_with() -> None:
    assert locked("demo.txt")
    assert locked("demo.txt") < locked("dev.txt")


def test_the_image_installs_what_the_tests_ran_with() -> None:
    assert locked("server.txt")
    assert locked("server.txt") < locked("demo.txt")
    assert locked("build.txt") < locked("dev.txt")


@pytest.mark.parametrize("name", ["demo.txt", "dev.txt", "server.txt", "build.txt"])
def test_every_locked_version_has_hashes(name: str) -> None:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    bare = [a for a, b in zip(lines, [*lines[1:], ""], strict=True) if "==" in a and "--hash=sha256:" not in b]
    assert bare == []


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    for part in (
        "Apache License",
        "Version 2.0, January 2004",
        "END OF TERMS AND CONDITIONS",
        "APPENDIX: How to apply",
    ):
        assert part in text
    assert all(f"   {number}. " in text for number in range(1, 10))


def test_every_command_and_option_is_documented() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # typer's type is the base class
    missing = {name for name in commands if f"`krm {name}`" not in page}
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        missing |= {f"{name} {option}" for option in options if f"`{option}`" not in page and option != "--help"}
    assert missing == set()


def test_no_command_is_documented_that_does_not_exist() -> None:
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # as above
    for page in PAGES:
        named = set(re.findall(r"`(?:\.venv/bin/)?krm ([a-z]+)\b", page.read_text()))
        assert named <= commands, page


PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_documentation_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()
