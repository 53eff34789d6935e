"""``python -m tests.faults.forwarder PORT``: the proxy as a process of its own, in front of a server at that port.

Stopped by SIGSTOP it is what a stopped server is: its kernel accepts connections and acknowledges bytes, and nobody
answers. Prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import sys

from tests.faults import proxy


async def forward(port: int) -> None:
    """Until killed."""
    async with proxy.to("127.0.0.1", port) as way:
        print(way.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(forward(int(sys.argv[1])))
