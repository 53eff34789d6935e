"""The control interface over HTTP: `/_simulator/...`, by which somebody outside lets the server misbehave.

Served only when it is switched on; whoever reaches it may break the server, and it asks for no token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web

from krm.simulator.counters import Requests
from krm.simulator.faults import Faults
from krm.simulator.history import Snapshot
from krm.simulator.store import Store

_SNAPSHOTS_MAX = 16


class Operations(Protocol):
    """What can be done to a running simulation."""

    store: Store
    faults: Faults
    requests: Requests
    snapshots: dict[str, Snapshot]

    def compact(self, rv: int | None = None) -> int:
        """Forget the history up to a version."""

    def snapshot(self) -> Snapshot:
        """Keep the state."""

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a state."""

    async def restart(self, down_s: float = 0.0) -> None:
        """Close all connections and begin anew."""

    def set_churn(self, rate_per_s: float) -> None:
        """Change the pace of life."""


async def answer(operations: Operations | None, request: web.Request, parts: list[str]) -> web.Response:
    """Answer a control request."""
    if operations is None or len(parts) != 1:
        return _reply(404, {"error": "no such control"})
    action = _ACTIONS.get((request.method, parts[0]))
    if action is None:
        return _reply(404, {"error": f"no such control: {request.method} {parts[0]}"})
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw.strip() else {}
        if not isinstance(body, dict) and action is not _add_faults:
            return _reply(400, {"error": "the body must be a JSON object"})
        return _reply(200, await action(operations, body))
    except orjson.JSONDecodeError as error:
        return _reply(400, {"error": f"the body is not JSON: {error}"})
    except (ValueError, TypeError, KeyError) as error:
        return _reply(400, {"error": str(error)})


def _reply(code: int, body: Any) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(body) + b"\n", content_type="application/json")


async def _add_faults(operations: Operations, body: Any) -> Any:
    specs = body if isinstance(body, list) else body.get("faults", [body]) if isinstance(body, dict) else None
    if not isinstance(specs, list) or not all(isinstance(spec, Mapping) for spec in specs):
        raise ValueError("expected a fault, a list of faults, or an object with a list under 'faults'")
    return {"faults": [operations.faults.add_from(spec).as_dict() for spec in specs]}


async def _show_faults(operations: Operations, _body: Any) -> Any:
    return {"faults": [fault.as_dict() for fault in operations.faults]}


async def _clear_faults(operations: Operations, _body: Any) -> Any:
    operations.faults.clear()
    return {"faults": []}


async def _show_requests(operations: Operations, _body: Any) -> Any:
    return {"requests": operations.requests.as_list(), "openWatches": dict(operations.requests.open_watches)}


async def _clear_requests(operations: Operations, _body: Any) -> Any:
    operations.requests.clear()
    return {"requests": []}


async def _compact(operations: Operations, body: Any) -> Any:
    return {"resourceVersion": str(operations.compact(body.get("rv")))}


async def _snapshot(operations: Operations, _body: Any) -> Any:
    if len(operations.snapshots) >= _SNAPSHOTS_MAX:
        raise ValueError(f"there are {_SNAPSHOTS_MAX} snapshots already")
    kept = operations.snapshot()
    name = str(len(operations.snapshots) + 1)
    operations.snapshots[name] = kept
    return {"snapshot": name, "resourceVersion": str(kept.rv)}


async def _restore(operations: Operations, body: Any) -> Any:
    kept = operations.snapshots.get(str(body.get("snapshot")))
    if kept is None:
        raise ValueError(f"no such snapshot; there are: {', '.join(operations.snapshots) or 'none'}")
    operations.restore(kept)
    return {"resourceVersion": str(kept.rv)}


async def _restart(operations: Operations, body: Any) -> Any:
    await operations.restart(float(body.get("down_s", 0)))
    return {}


async def _churn(operations: Operations, body: Any) -> Any:
    operations.set_churn(float(body["rate"]))
    return {}


async def _state(operations: Operations, _body: Any) -> Any:
    store = operations.store
    counts = {kind.qualified: len(store.collection(kind).current) for kind in store.kinds()}
    return {"resourceVersion": str(store.rv), "objects": {name: count for name, count in counts.items() if count}}


_ACTIONS: Mapping[tuple[str, str], Callable[[Operations, Any], Awaitable[Any]]] = {
    ("POST", "faults"): _add_faults,
    ("GET", "faults"): _show_faults,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "requests"): _show_requests,
    ("DELETE", "requests"): _clear_requests,
    ("POST", "compact"): _compact,
    ("POST", "snapshot"): _snapshot,
    ("POST", "restore"): _restore,
    ("POST", "restart"): _restart,
    ("POST", "churn"): _churn,
    ("GET", "state"): _state,
}
