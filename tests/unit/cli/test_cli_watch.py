"""What ``krm get -w`` makes of events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from krm import resources
from krm.cli import output
from krm.cli.choices import Form
from krm.cli.reading import targets, watch
from krm.cli.reading.get import Wanted
from krm.errors import ConfigError

PODS = resources.RESOURCES["pods"]


def pod(name: str, version: str = "1") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": version}}


def event(kind: str, manifest: dict[str, Any] | None) -> dict[str, Any]:
    return {"type": kind, "object": None, "raw_object": manifest}


def told(*events: dict[str, Any], form: Form = Form.NAME, listed: tuple[dict[str, Any], ...] = ()) -> None:
    printer = watch._Printer(PODS, form, has_headings=True, has_namespaces=False)
    printer.show(listed)
    shown = {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in listed}
    for each in events:
        watch._tell(each, printer, shown, PODS)


def test_what_the_list_has_shown_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = pod("a"), pod("b")
    told(event("ADDED", a), event("ADDED", pod("b", "2")), event("ADDED", pod("c")), listed=(a, b))
    assert capsys.readouterr().out.split() == ["pod/a", "pod/b", "pod/b", "pod/c"]


def test_every_change_is_a_line_and_a_deletion_the_last_state(capsys: pytest.CaptureFixture[str]) -> None:
    told(event("MODIFIED", pod("a", "2")), event("DELETED", pod("a", "3")))
    assert capsys.readouterr().out.split() == ["pod/a", "pod/a"]


def test_a_gap_is_said_and_all_that_is_there_follows(capsys: pytest.CaptureFixture[str]) -> None:
    told(event("RESYNC", None), event("ADDED", pod("a")), listed=(pod("a"),))
    out, err = capsys.readouterr()
    assert out.split() == ["pod/a", "pod/a"]
    assert "had a gap" in err


def test_columns_only_grow_and_the_heading_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    told(event("ADDED", pod("much-longer-name")), event("ADDED", pod("b")), form=Form.TABLE, listed=(pod("a"),))
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.startswith("NAME   READY")
    assert [line.index("0/0") for line in lines] == [7, 19, 19]


def test_the_heading_waits_for_the_first_object(capsys: pytest.CaptureFixture[str]) -> None:
    told(form=Form.TABLE)
    assert capsys.readouterr().out == ""
    told(event("ADDED", pod("a")), form=Form.TABLE)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "a"]


def test_json_and_yaml_are_one_document_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    told(event("ADDED", pod("b")), form=Form.JSON, listed=(pod("a"),))
    decoder, text = json.JSONDecoder(), capsys.readouterr().out
    first, end = decoder.raw_decode(text)
    second, _ = decoder.raw_decode(text[end:].lstrip())
    assert [item["metadata"]["name"] for item in (first, second)] == ["a", "b"]
    assert (second["kind"], second["apiVersion"]) == ("Pod", "v1")
    told(event("ADDED", pod("b")), form=Form.YAML)
    assert capsys.readouterr().out.startswith("---\n")


@pytest.mark.parametrize("words", [["po,svc"], ["po", "a", "b"]])
def test_one_resource_or_one_object_is_followed(words: list[str]) -> None:
    wanted = Wanted(targets=targets.parse(words), namespace="default")
    with pytest.raises(ConfigError, match="-w follows one"):
        watch.run(wanted, form=Form.TABLE, has_headings=True, url=None, timeout="1s")


def test_a_table_grows_with_its_rows() -> None:
    table = output.Table()
    assert table.text([["a", "b"]]) == "a   b\n"
    assert table.text([["long", "b"], ["c", "d"]]) == "long   b\nc      d\n"
