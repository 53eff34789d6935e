"""Reading the bodies of requests: JSON or YAML, of bounded size."""

from __future__ import annotations

from typing import Any, cast

import orjson
import yaml
from aiohttp import web

from krm.simulator import status
from krm.simulator.kinds import Json

MAX_BYTES = 3 * 1024 * 1024
"""The limit of the real server for a request body."""

_JSON_TYPES = ("", "application/json", "application/octet-stream", "text/plain")
_YAML_TYPES = ("application/yaml", "text/yaml")


async def read_bytes(request: web.Request) -> bytes:
    """The whole body; raises StatusError 413 beyond the limit."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise status.StatusError(
            413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BYTES}"
        ) from error


def decode(raw: bytes, content_type: str) -> Any:
    """A document from its bytes; raises StatusError 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    try:
        if media in _YAML_TYPES:
            return yaml.safe_load(raw)
        if media in _JSON_TYPES or media.endswith("+json"):
            return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = "couldn't get version/kind; json parse error: "
        raise status.bad_request(text + str(error)) from error
    except yaml.YAMLError as error:
        raise status.bad_request(f"error converting YAML to JSON: {type(error).__name__}") from error
    raise status.unsupported_media_type(("application/json", "application/yaml"))


async def read_json(request: web.Request) -> Json:
    """The body as an object; raises StatusError."""
    found = decode(await read_bytes(request), request.headers.get("Content-Type", ""))
    if not isinstance(found, dict):
        raise status.bad_request("couldn't get version/kind; the body is not an object")
    return cast(Json, found)
