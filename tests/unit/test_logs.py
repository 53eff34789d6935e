"""Log lines: one a record, that nobody can forge, of bounded length."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm import logs

HOSTILE = 'a\r\n{"level": "critical"}\x1b[2J\x00\u202e\u2028\x85'


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def logged(log_format: str | None, stream: io.StringIO | None = None, **extra: Any) -> str:
    out = stream or io.StringIO()
    logs.configure(log_format, "info", out)
    logging.getLogger("krm.test").info("something happened", extra=extra)
    return out.getvalue()


def formatted(formatter: logging.Formatter, message: str, **extra: Any) -> str:
    record = logging.makeLogRecord({"name": "krm.x", "levelname": "INFO", "msg": message, "created": 0.5, **extra})
    return formatter.format(record)


def test_json_line_has_time_level_logger_message_and_fields() -> None:
    line = logged("json", resource="pods", rows=3, share=0.5, ok=True, nothing=None, odd=[1])
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "logger": "krm.test",
        "message": "something happened",
        "resource": "pods",
        "rows": 3,
        "share": 0.5,
        "ok": True,
        "nothing": None,
        "odd": "[1]",
    }


def test_text_line_is_for_people() -> None:
    line = formatted(logs.TextFormatter(), "hello", resource="pods")
    assert line == "1970-01-01T00:00:00.500Z info    krm.x hello resource=pods"


@pytest.mark.parametrize(
    ("stream", "log_format", "is_json"),
    [
        (Terminal(), None, False),
        (io.StringIO(), None, True),
        (Terminal(), "json", True),
        (io.StringIO(), "text", False),
    ],
    ids=["terminal", "pipe", "json", "text"],
)
def test_format_fits_who_reads(stream: io.StringIO, log_format: str | None, is_json: bool) -> None:
    assert logged(log_format, stream).startswith("{") == is_json


@pytest.mark.parametrize("formatter", [logs.TextFormatter(), logs.JsonFormatter()], ids=["text", "json"])
def test_nothing_forges_a_line_or_drives_a_terminal(formatter: logging.Formatter) -> None:
    line = formatted(formatter, HOSTILE, name=HOSTILE, field=HOSTILE, **{"k\n": "v"})
    assert line.isprintable()
    assert len(line.splitlines()) == 1


@given(st.text(max_size=60), st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=60), max_size=4))
def test_any_text_is_one_printable_line(message: str, extra: dict[str, str]) -> None:
    fields = {f"x{name}": value for name, value in extra.items()}
    escaped = message.replace("%", "%%")
    assert formatted(logs.TextFormatter(), escaped, **fields).isprintable()
    assert json.loads(formatted(logs.JsonFormatter(), escaped, **fields))["message"] == escaped


def test_escape_spells_control_characters() -> None:
    assert logs.escape("a\n\r\t\x07\u202e\U000e0001é") == "a\\n\\r\\t\\x07\\u202e\\U000e0001é"
    assert logs.escape("plain") == "plain"


@pytest.mark.parametrize(
    "extra",
    [
        {"field": "x" * 10_000},
        {f"field{number}": "x" * 1_000 for number in range(9)},
        {f"field{number}": "x" * 90 for number in range(60)},
        {"field": "\x00" * 10_000},
        {f"{number}{'n' * 90}": number for number in range(90)},
        {"field": "é" * 5_000},
    ],
    ids=["one", "several", "many", "escaped", "names", "wide"],
)
def test_line_does_not_grow_with_what_a_stranger_sends(extra: dict[str, Any]) -> None:
    line = formatted(logs.JsonFormatter(), "message", **extra)
    assert len(line) <= logs.MAX_LINE
    found = json.loads(line)
    assert found["message"] == "message"
    assert found["time"] == "1970-01-01T00:00:00.500Z"
    assert len(formatted(logs.TextFormatter(), "message", **extra)) <= logs.MAX_LINE + 20


def test_long_message_is_cut_in_a_json_line_that_stays_one() -> None:
    line = formatted(logs.JsonFormatter(), "\n" * 50_000)
    assert len(line) <= logs.MAX_LINE
    assert json.loads(line)["message"].endswith("...(cut)")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_number_that_json_lacks_is_text(number: float) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = formatted(logs.JsonFormatter(), "m", lag_s=number)
    assert json.loads(line, parse_constant=refuse)["lag_s"] == str(number)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_exception_stays_in_its_line(log_format: str) -> None:
    out = io.StringIO()
    logs.configure(log_format, "info", out)
    logging.getLogger("krm.test").warning("failed", exc_info=ValueError("bad\nthing"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    assert "ValueError" in lines[0]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_long_exception_keeps_its_end_which_says_what_it_was(log_format: str) -> None:
    out = io.StringIO()
    logs.configure(log_format, "info", out)
    error = ValueError("the end")
    error.__cause__ = ValueError("x" * 5_000)
    logging.getLogger("krm.test").error("failed", exc_info=error)
    assert "ValueError: the end" in out.getvalue()
    assert len(out.getvalue()) < logs.MAX_LINE + 20


def test_level_and_noisy_libraries() -> None:
    out = io.StringIO()
    logs.configure("text", "warning", out)
    logging.getLogger("krm.test").info("not told")
    logging.getLogger("httpx").info("not told either")
    assert out.getvalue() == ""
    logs.configure("text", "debug", out)
    logging.getLogger("httpx").info("a request with all that a caller sent")
    assert out.getvalue() == ""
    logging.getLogger("krm.test").debug("told")
    assert "told" in out.getvalue()


def test_warnings_are_logged() -> None:
    out = io.StringIO()
    logs.configure("text", "info", out)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("odd", UserWarning, stacklevel=1)
    assert "odd" in out.getvalue()


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()], ids=["json", "text"])
@pytest.mark.parametrize(
    "text",
    [
        "rediss://:CANARY@host:6379/0 refused",
        "redis://user:CANARY@host",
        "Authorization: Bearer CANARY.of-a_token~+/=",
        "{'authorization': 'bearer CANARYCANARY'}",
        "token eyJhbGciOiJub25lIn0.CANARY.sig",
    ],
)
def test_secrets_in_the_texts_of_others_are_not_logged(formatter: logging.Formatter, text: str) -> None:
    failure = RuntimeError(text)
    record = logging.LogRecord("t", logging.ERROR, "f", 1, "failed", (), (RuntimeError, failure, None))
    record.reason = text
    line = formatter.format(record)
    assert "CANARY" not in line
    assert "failed" in line
