"""What ``krm demo`` and ``krm run`` say once there is something to see: what to open, what to try."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from krm.cli import output
from krm.cli.reading import asking
from krm.cli.serving import probe
from krm.cli.serving.probe import NOTHING, Address, Standing

_CURRENT = frozenset({"SYNCED", "CATCHING_UP", "STALE"})
_DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass
class Announcement:
    """Looks at the API until it answers with data, then says so, once. Kinds that take too long are not waited for."""

    address: Address
    title: str
    began: float
    slow_s: float
    more: Sequence[str] = ()
    """Further lines of what there is to open."""
    _standing: Standing = field(default=NOTHING, init=False)
    _is_impatient: bool = field(default=False, init=False)

    def look(self) -> bool:
        """Look once; True when it is said."""
        self._standing = probe.ask(self.address)
        is_late = time.monotonic() - self.began > self.slow_s
        if self._standing.is_ready or (is_late and _CURRENT & set(self._standing.states.values())):
            output.write(self.text(time.monotonic() - self.began))
            output.finish()
            return True
        if is_late and not self._is_impatient:
            self._is_impatient = True
            output.say(f"still waiting: {self._missing()}")
        return False

    def text(self, took_s: float) -> str:
        """What is said."""
        url = self.address.url
        client = "" if url == _DEFAULT_URL else repr(url)
        lines = [f"{self.title} ({took_s:.1f} s)", ""]
        for resource, state in self._standing.states.items():
            if state not in _CURRENT:
                words = asking.in_words({"state": state, "reason": self._standing.reasons.get(resource)})
                lines += [f"  without {resource}: {words}"]
        lines += [
            f"  in a browser   {url}/",
            f"                 {url}/graphql  (GraphiQL)",
            "  in a terminal  krm get pods -A",
            "                 krm status",
            "  in Python      from krm_client import KrmClient",
            f"                 KrmClient({client}).core_v1.list_pod_for_all_namespaces().items",
            *self.more,
            "",
        ]
        if url != _DEFAULT_URL:
            lines += [f"For krm in other terminals:  export KRM_URL={url}", ""]
        return "\n".join([*lines, "Ctrl-C ends it.", ""])

    def _missing(self) -> str:
        open_states = {name: state for name, state in self._standing.states.items() if state not in _CURRENT}
        if not open_states:
            return f"the API at {self.address.url} does not answer yet"
        return ", ".join(
            f"{name} {state}" + (f" ({self._standing.reasons[name]})" if name in self._standing.reasons else "")
            for name, state in open_states.items()
        )
