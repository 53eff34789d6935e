"""`python -m krm.simulator`: run a simulated API server until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from krm.simulator.running import serve
from krm.simulator.server import ServerSettings
from krm.simulator.world import World


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m krm.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--pods", type=int, default=500, help="pods in the cluster (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="the same seed gives the same cluster (default: %(default)s)"
    )
    parser.add_argument("--churn", type=float, default=20.0, help="changes per second (default: %(default)s)")
    parser.add_argument("--kubeconfig-out", type=Path, help="write a kubeconfig that leads here to this file")
    parser.add_argument(
        "--control", action="store_true", help="serve /_simulator/, which lets callers break the server"
    )
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.pods <= 1_000_000:
        parser.error("--pods must lie between 1 and 1000000")
    if not 0 <= arguments.churn <= 100_000:
        parser.error("--churn must lie between 0 and 100000 changes per second")
    return arguments


async def _run(arguments: argparse.Namespace) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    world = World(pods=arguments.pods, seed=arguments.seed)
    settings = ServerSettings(control=arguments.control)
    async with serve(
        world=world, host=arguments.host, port=arguments.port, churn=arguments.churn, settings=settings
    ) as simulation:
        if arguments.kubeconfig_out is not None:
            await asyncio.to_thread(arguments.kubeconfig_out.write_text, simulation.kubeconfig())
        sys.stdout.write(f"simulated API server at {simulation.url}\n")
        sys.stdout.flush()
        await ended.wait()


def main(argv: list[str] | None = None) -> int:
    """Run; the answer is the exit status."""
    arguments = _arguments(argv)
    try:
        asyncio.run(_run(arguments))
    except OSError as error:
        sys.stderr.write(f"cannot run the simulated API server: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
