"""Reading server-sent events in tests."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson


async def event(stream: aiohttp.StreamReader, name: str) -> Any:
    """The data of the next event of that name. Fails at the end of the stream."""
    while (line := (await stream.readline()).decode().strip()) != f"event: {name}":
        assert line.startswith(("data: ", "event: ")) or (not line and not stream.at_eof()), f"no event {name}: {line}"
    return orjson.loads((await stream.readline()).removeprefix(b"data: "))
