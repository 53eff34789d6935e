"""What importing the client and listing with it costs, beside the official client: modules and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.client import canned

ROOT = Path(__file__).resolve().parents[3]
POD = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}

IMPORT = "import krm_client"
NAMES = "from krm_client import KrmClient, KrmError, rehydrate"
QUERY = f"{NAMES}; KrmClient({{url!r}}).query('{{{{ ok }}}}')"
LIST = """
from krm_client import KrmClient
print(KrmClient({url!r}).core_v1.list_namespaced_pod('n').items[0].metadata.name)
"""
OFFICIAL = """
from kubernetes import client
api = client.ApiClient(client.Configuration(host={url!r}))
print(client.CoreV1Api(api).list_namespaced_pod('n').items[0].metadata.name)
"""
MEASURE = """
import json, sys
print(json.dumps([len(sys.modules), int(open('/proc/self/statm').read().split()[1])]))
"""


def _cost(program: str, url: str = "") -> tuple[int, int]:
    """Modules and pages of memory of a process that runs this, beyond those of one that runs nothing."""
    both = [_measured(text.format(url=url)) for text in ("", program)]
    return both[1][0] - both[0][0], both[1][1] - both[0][1]


def _measured(program: str) -> Any:
    command = [sys.executable, "-c", program + "\n" + MEASURE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


def test_import_is_next_to_nothing() -> None:
    modules, _ = _cost(IMPORT)
    assert modules < 40


def test_query_does_without_the_official_client(server: canned.Server) -> None:
    server.answer(canned.data({"ok": True}))
    program = QUERY + "; import sys; assert not [name for name in sys.modules if name.startswith('kubernetes')]"
    assert _cost(program, server.url)[0] > 0


def test_listing_costs_little_more_than_with_the_official_client(server: canned.Server) -> None:
    def answer(asked: canned.Asked) -> canned.Reply:
        if asked.path.startswith("/api/v1"):
            return canned.Reply(body=json.dumps({"kind": "PodList", "apiVersion": "v1", "items": [POD]}).encode())
        return canned.listing("pods", [POD])

    server.answer_by(answer)
    ours, theirs = _cost(LIST, server.url), _cost(OFFICIAL, server.url)
    print(f"modules {ours[0]} against {theirs[0]}, MiB {ours[1] / 256:.1f} against {theirs[1] / 256:.1f}")
    assert ours[0] < 1.6 * theirs[0]
    assert ours[1] < 1.3 * theirs[1]
