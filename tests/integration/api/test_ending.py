"""The end of a server: whoever has connected by then is answered."""

from __future__ import annotations

import asyncio
import socket

from tests.integration.api.conftest import Running
from tests.waiting import wait_until

ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_what_connects_as_the_server_closes_is_answered(api: Running) -> None:
    came: list[socket.socket] = []
    (listening,) = api.uvicorn.servers
    close = listening.close

    def close_as_others_come() -> None:
        close()
        if not came:
            for _ in range(20):
                came.append(socket.create_connection(("127.0.0.1", api.port), 10))
                came[-1].sendall(ASKED)
                came[-1].setblocking(False)

    listening.close = close_as_others_come  # type: ignore[method-assign]
    api.uvicorn.should_exit = True
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        await wait_until(lambda: came)
        answers = [await loop.sock_recv(one, 1_000) for one in came]
    for one in came:
        one.close()
    assert [answer.split()[1] for answer in answers] == [b"200"] * 20
