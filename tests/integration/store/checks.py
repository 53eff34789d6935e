"""What must hold of a connection to every form of Redis."""

from __future__ import annotations

import asyncio
import random

from krm.errors import StoreError
from krm.settings import Secret
from krm.store.connect import open_store, translated
from krm.store.reading import TableStore


async def refusal(url: str) -> str:
    """Why the store cannot be used, nothing if it can."""
    store = open_store(Secret(url))
    try:
        await store.check(writer=True)
    except StoreError as error:
        return str(error)
    finally:
        await store.close()
    return ""


async def check_that_cancelled_reads_never_cross_answers(table: TableStore, rounds: int) -> None:
    """Cancel half of twenty reads at any point, again and again: each of the others gets its own answer."""
    numbers = range(40)
    for number in numbers:
        with translated():
            await table.store.client.set(table.keys.chunk("l", number), str(number))
    rng = random.Random(3)

    async def ask(number: int) -> None:
        assert await table.chunk("l", number) == str(number).encode()

    async def wait() -> None:
        assert await table.changes("0-0", block_ms=rng.randint(1, 5)) == []

    for _ in range(rounds):
        tasks = [asyncio.create_task(rng.choice([lambda: ask(rng.choice(numbers)), wait])()) for _ in range(20)]
        for task in rng.sample(tasks, 10):
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
    await asyncio.gather(*(ask(number) for number in numbers))
