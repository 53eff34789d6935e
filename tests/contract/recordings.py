"""The recordings of a real Kubernetes 1.36 API server, and how two answers are compared.

Normalisations, each with its reason:

* `Audit-Id` is random: only its form is compared.
* uids are random: each is replaced by the order of its first appearance, so that equal and different ones stay so.
* times are those of the recording: replaced by a placeholder where the replay cannot set the clock.
* inside a built-in object that a client wrote, the order of members is ignored: the real server writes them in the
  order of its structures, the simulated one as the client sent them.
* resource versions of watch events are replaced by their rank: in the recording other resources took versions too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent.parent / "data" / "apiserver-recordings"
NAMES = sorted(path.stem for path in DIRECTORY.glob("*.json"))

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_HEADERS = ("Cache-Control", "Content-Type", "Content-Length", "Transfer-Encoding", "Retry-After", "Vary")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One exchange with the real server."""

    name: str
    method: str
    path: str
    accept: str | None
    body: Json | None
    status: int
    headers: dict[str, str]
    json: Any
    events: list[Json]

    @property
    def rv(self) -> int:
        """The resourceVersion of the answer (a list's, or an object's)."""
        return int(self.json["metadata"]["resourceVersion"])


def load(name: str) -> Recording:
    """Read a recording by its name."""
    raw = json.loads((DIRECTORY / f"{name}.json").read_text())
    request, response = raw["request"], raw["response"]
    return Recording(
        name=name,
        method=request["method"],
        path=request["path"],
        accept=request.get("accept"),
        body=request.get("body"),
        status=response["status"],
        headers=response["headers"],
        json=response.get("json"),
        events=[each["event"] for each in response.get("stream", [])],
    )


def same_uids(text: str) -> str:
    """Replace uids by the order in which they appear."""
    seen: dict[str, str] = {}
    return _UID.sub(lambda found: seen.setdefault(found[0], f"uid-{len(seen)}"), text)


def no_times(text: str) -> str:
    """Replace times by a placeholder."""
    return _TIME.sub("<time>", text)


def ordered(value: Any) -> Any:
    """The same document with the members of its objects in alphabetical order."""
    return json.loads(json.dumps(value, sort_keys=True))


def comparable(value: Any, *, keep_times: bool = False) -> str:
    """A document as text in which the order of members counts; uids (and times) normalised."""
    text = same_uids(json.dumps(value, indent=1))
    return text if keep_times else no_times(text)


def headers_that_matter(headers: Any) -> dict[str, str]:
    """The headers on which clients rely."""
    return {name: headers[name] for name in _HEADERS if name in headers}


def is_audit_id(text: str) -> bool:
    """Whether a text has the form of an Audit-Id."""
    return _UID.fullmatch(text) is not None
