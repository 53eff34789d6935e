"""YAML that every reader understands alike: texts that YAML 1.1 or 1.2 would take for something else are quoted."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import yaml

_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]  # which of the two it is depends on how PyYAML was built
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


def _text(dumper: Any, text: str) -> Any:
    has_lines = "\n" in text.rstrip("\n")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if has_lines else None)


# PyYAML reads YAML 1.1 in its own way; kubectl's reader takes these for numbers too, so as texts they need quotes.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\.[0-9_]+([eE][-+]?[0-9]+)?$"), list("-+."))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?0[oO][0-7_]+$"), list("-+0"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))
_Dumper.add_representer(str, _text)


def dump(whole: Mapping[str, Any]) -> str:
    """One document, keys in the order in which they came."""
    shown: str = yaml.dump(
        whole, Dumper=_Dumper, sort_keys=False, width=2**31 - 1, allow_unicode=not sys.stdout.isatty(), indent=2
    )
    return shown
