"""Whatever a variable holds, it is understood or refused: one clean line that names it, status 2, nothing connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from krm import cli
from krm.errors import ConfigError
from krm.kube import kubeconfig
from krm.settings import Settings, variables

JUNK = {
    "nonsense": "nonsense",
    "negative": "-1",
    "large": "1e308",
    "not a number": "NaN",
    "200 digits": "9" * 200,
    "digits of another script": "\u0665",
    "underscore": "1_000",
    "newline": "1\n2",
    "tab": "a\tb",
    "escape": "\x1b[2J",
    "override": "\u202eabc",
    "not UTF-8": "\udcff",
    "100 kB": "x" * 100_000,
    "blank": " ",
    "unit": "5 parsecs",
    "path": "../..",
    "commas": "a,,b",
    "brackets": "[" * 1_000,
}


def refusal(variable: str, value: str) -> str:
    """What is said against a value, nothing where it is possible."""
    try:
        Settings.load({}, {variable: value})
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("variable", sorted(variables()))
def test_junk_in_a_variable_is_refused_in_one_short_line_that_names_it(variable: str) -> None:
    said = [each for each in (refusal(variable, junk) for junk in JUNK.values()) if each]
    assert [each for each in said if variable not in each or "\n" in each or len(each) > 800] == []


@pytest.mark.parametrize("junk", ["newline", "escape", "override", "not UTF-8", "100 kB"])
def test_a_command_ends_with_status_2_and_one_printable_line(
    junk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a Redis the command ends before anything is connected, also where the junk is a possible value."""
    for variable in sorted(set(variables()) - {"KRM_REDIS_URL"}):
        with monkeypatch.context() as patch:
            patch.setenv(variable, JUNK[junk])
            assert cli.main(["serve"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("krm: ")
        assert line.isprintable()
        assert len(line) < 900


OUT_OF_RANGE = {
    "interval of nothing": ("KRM_VERIFY_INTERVAL", "0s", "from 1s to 24h"),
    "interval without a unit": ("KRM_VERIFY_INTERVAL", "30", "a duration such as"),
    "interval of ages": ("KRM_VERIFY_INTERVAL", "25h", "from 1s to 24h"),
    "page of nothing": ("KRM_LIST_PAGE_SIZE", "0", "from 1 to 10000"),
    "page that is too large": ("KRM_LIST_PAGE_SIZE", "10001", "from 1 to 10000"),
    "retention of nothing": ("KRM_CHANGES_RETENTION", "1s", "from 10s to 24h"),
    "events of nothing": ("KRM_EVENTS_MAX", "0", "from 1000 to"),
    "one kind twice": ("KRM_RESOURCES", "pods,nodes,po", "named twice"),
    "no kind": ("KRM_RESOURCES", "", "plurals separated by commas"),
    "unknown kind": ("KRM_RESOURCES", "poods", "pods"),
    "no namespace": ("KRM_NAMESPACES", "", "leave it unset for all"),
    "a namespace that is none": ("KRM_NAMESPACES", "a,,b", "leave it unset for all"),
    "port beyond": ("KRM_PORT", "65536", "from 0 to 65535"),
    "body without a bound": ("KRM_MAX_BODY", "1Ti", "from 1Ki to 64Mi"),
}


@pytest.mark.parametrize(("variable", "value", "allowed"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_value_out_of_range_is_told_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Settings.load({}, {variable: value})
    assert str(refused.value).startswith(variable)
    assert repr(value)[:20] in str(refused.value)
    assert allowed in str(refused.value)


def test_secrets_are_trimmed_and_never_shown() -> None:
    loaded = Settings.load({}, {"KRM_REDIS_URL": " redis://:hush@h/0\n", "KRM_INFLUX_TOKEN": "hush\r\n"})
    assert loaded.redis_url is not None
    assert loaded.influx_token is not None
    assert (loaded.redis_url.reveal(), loaded.influx_token.reveal()) == ("redis://:hush@h/0", "hush")
    assert "hush" not in repr(loaded)
    with pytest.raises(ConfigError) as refused:
        Settings.load({}, {"KRM_REDIS_URL": "http://:hush@h"})
    assert "hush" not in str(refused.value)


def test_a_kubeconfig_of_anchors_within_anchors_costs_no_memory(tmp_path: Path) -> None:
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    file = tmp_path / "kubeconfig"
    file.write_text("\n".join(bomb) + "\ncurrent-context: *a39\n")
    with pytest.raises(ConfigError, match="current-context is not a text") as refused:
        kubeconfig.read((file,), None)
    assert str(file) in str(refused.value)


def test_a_kubeconfig_of_brackets_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("[" * 5_000)
    with pytest.raises(ConfigError, match="is not YAML") as refused:
        kubeconfig.read((file,), None)
    assert "\n" not in str(refused.value)
