"""The forms of output: tables that fit, YAML and JSON that mean the object, terminals that are not driven."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from krm import resources
from krm.cli import output
from krm.cli.choices import Form
from krm.cli.reading import forms, yamls
from krm.cli.reading.forms import Found

EVIL = "a\x1b]0;title\x07\x9b31mb\nc"


class Terminal(io.StringIO):
    """Standard output as a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, found: Found, form: Form, *, is_one: bool = False) -> str:
    """What a terminal gets to see."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    forms.show([found], form, has_headings=True, has_namespaces=True, is_one=is_one)
    monkeypatch.undo()
    return terminal.getvalue()


def found(*names: str, kind: str = "pods", **metadata: Any) -> Found:
    objects = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}} for name in names]
    return Found(resource=resources.find(kind), objects=objects, version="7")


def show(*every: Found, form: Form, is_one: bool = False, has_namespaces: bool = False) -> None:
    forms.show(every, form, has_headings=True, has_namespaces=has_namespaces, is_one=is_one)


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_where_they_end() -> None:
    assert output.table([["NAME", "A"], ["long-name", "1"]]) == "NAME        A\nlong-name   1\n"


def test_no_rows_are_no_table() -> None:
    assert output.table([]) == ""


def test_a_single_object_is_itself_and_several_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    show(found("a"), form=Form.JSON, is_one=True)
    assert json.loads(capsys.readouterr().out)["metadata"]["name"] == "a"
    show(found("a", "b"), form=Form.JSON)
    whole = json.loads(capsys.readouterr().out)
    assert (whole["kind"], whole["apiVersion"], whole["metadata"]) == ("List", "v1", {"resourceVersion": "7"})
    assert [item["metadata"]["name"] for item in whole["items"]] == ["a", "b"]


def test_names_carry_kind_and_group(capsys: pytest.CaptureFixture[str]) -> None:
    show(found("a"), found("b", kind="deployments"), found("c", kind="ing"), form=Form.NAME)
    assert capsys.readouterr().out.split() == ["pod/a", "deployment.apps/b", "ingress.networking.k8s.io/c"]


def test_csv_quotes_and_leaves_empty_what_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    show(found('a,"b', namespace="n"), form=Form.CSV)
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.startswith("NAMESPACE,NAME,READY,STATUS,RESTARTS,CREATED,IP")
    assert row == 'n,"a,""b",0/0,,0,,,,,'


@pytest.mark.parametrize("form", list(Form))
def test_no_control_character_of_an_object_reaches_a_terminal(monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    shown = on_terminal(monkeypatch, found(EVIL, namespace=EVIL), form)
    assert "title" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


@pytest.mark.parametrize(("form", "read"), [(Form.JSON, json.loads), (Form.YAML, yaml.safe_load)])
def test_what_a_terminal_shows_still_means_the_object(
    monkeypatch: pytest.MonkeyPatch, form: Form, read: Callable[[str], Any]
) -> None:
    assert read(on_terminal(monkeypatch, found(EVIL), form, is_one=True))["metadata"]["name"] == EVIL


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1e3",
            "0o17",
            "0x1f",
            "12:30:45",
            "yes",
            "No",
            "on",
            "y",
            "N",
            "~",
            "null",
            "=",
            "<<",
            "1_000",
            ".5",
            "+.inf",
        ),
        *("2026-11-23", "- a", "a: b", "#c", "", " lead", "trail ", "a\nb", "a\nb\n", "a\n\n", "%x", "@x", "`x"),
        "1.5E+3",
    ],
)
def test_texts_that_look_like_something_else_are_quoted(text: str) -> None:
    whole = {"value": text}
    dumped = yamls.dump(whole)
    assert yaml.safe_load(dumped) == whole
    plain = dumped.removeprefix("value: ").strip()
    if text in ("1e3", "0o17", "y", "N", ".5", "1.5E+3"):  # PyYAML reads these as text, others do not
        assert plain == f"'{text}'"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_yaml_says_the_same_as_the_object(whole: dict[str, Any]) -> None:
    assert yaml.safe_load(yamls.dump(whole)) == whole


def test_keys_keep_their_order_and_long_lines_are_not_folded() -> None:
    assert yamls.dump({"z": "word " * 100 + "end", "a": [1]}) == f"z: {'word ' * 100}end\na:\n- 1\n"
