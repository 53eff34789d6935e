"""Log lines that people and machines can read: one line a record, control characters escaped, length bounded.

Messages are constant; what varies goes into ``extra`` fields. Object bodies, tokens and variables are never logged.
"""

from __future__ import annotations

import datetime
import json
import logging
import math
import re
import sys
from typing import Final, TextIO

MAX_LINE: Final = 2_048
"""Bytes of a line before it is cut: a log must not grow with what a stranger sends."""
_STORY: Final = 700

_SECRETS: Final = (
    (re.compile(r'(?<=://)[^\s/@"]*:[^\s/@"]*(?=@)'), "***"),
    (re.compile(r"\b(bearer )[\w.~+/=-]{8,}", re.IGNORECASE | re.ASCII), r"\1***"),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*", re.ASCII), "***"),
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and not name.startswith("_")}


def escape(text: str) -> str:
    """``text`` with control characters spelled out, so that it can neither forge a line nor drive a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    # Not by the codec: at the interpreter's end, when a last line is logged, codecs may be gone.
    number = ord(character)
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return named or (
        f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    )


def _when(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _story(text: str) -> str:
    """An exception's text, without its middle where it is long: its end says what it was."""
    return text if len(text) <= _STORY else f"{text[: _STORY // 8]} ...(cut)... {text[-_STORY:]}"


def _cut(value: object, most: int) -> object:
    return value[:most] + "...(cut)" if isinstance(value, str) and len(value) > most + len("...(cut)") else value


def hide(text: str) -> str:
    """``text`` without what must never be in a log, should an exception of some library repeat it: the password of a
    URL, a bearer token, a JSON Web Token. None of our own texts holds them."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"time": _when(record), "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        line |= {
            name: value if isinstance(value, int | None) or _is_finite(value) else str(value)
            for name, value in _fields(record).items()
        }
        if record.exc_info:
            line["exception"] = _story(hide(self.formatException(record.exc_info)))
        line = {name: hide(value) if isinstance(value, str) else value for name, value in line.items()}
        text = json.dumps(line, ensure_ascii=True)
        for most in (MAX_LINE // 4, MAX_LINE // 16, MAX_LINE // 64):
            if len(text) <= MAX_LINE:
                return text
            line = {name: _cut(value, most if name != "exception" else 2 * _STORY) for name, value in line.items()}
            text = json.dumps(line, ensure_ascii=True)
        if len(text) <= MAX_LINE:
            return text
        first = ("time", "level", "logger", "message")
        return json.dumps({name: line[name] for name in first} | {"cut": len(line) - len(first)})


class TextFormatter(logging.Formatter):
    """``time level logger message field=value ...`` for people."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_when(record), f"{record.levelname.lower():7}", record.name, record.getMessage()]
        parts += [f"{name}={value}" for name, value in _fields(record).items()]
        if record.exc_info:
            parts.append(_story(hide(self.formatException(record.exc_info))).replace("\n", " | "))
        text = hide(escape(" ".join(parts)))
        return text if len(text) <= MAX_LINE else text[:MAX_LINE] + "...(cut)"


def configure(log_format: str | None, level: str, stream: TextIO | None = None) -> None:
    """Send everything to ``stream`` (stderr), as ``text`` or ``json``; None is text on a terminal, else json."""
    target = stream or sys.stderr
    chosen = log_format or ("text" if target.isatty() else "json")
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextFormatter() if chosen == "text" else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries that log each request or each query text would fill the log with what callers send.
    for noisy in ("aiohttp.access", "strawberry.execution", "httpx", "httpx2", "kubernetes", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
