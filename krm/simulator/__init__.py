"""A simulated Kubernetes API server: strict by default, and able to misbehave on purpose.

`krm demo` runs on it, and so can the tests of anybody who writes against the Kubernetes API:

    async with simulator.serve(world=simulator.World(pods=500, seed=1), churn=20) as sim:
        print(sim.url)
        sim.faults.add("drop", resource="pods", every=50, count=None)

It holds objects, lists, watches, writes, reviews and discovery as the recordings of a real server show them. It is no
cluster: nothing schedules, and no controller acts, except for what `churn` plays.
"""

from krm.simulator.access import User
from krm.simulator.deletions import WriteSettings
from krm.simulator.faults import Fault, FaultKind, Faults
from krm.simulator.history import Event, EventType, Snapshot
from krm.simulator.running import Simulation, serve
from krm.simulator.server import ServerSettings
from krm.simulator.store import Store
from krm.simulator.watches import WatchSettings
from krm.simulator.world import World

__all__ = [
    "Event",
    "EventType",
    "Fault",
    "FaultKind",
    "Faults",
    "ServerSettings",
    "Simulation",
    "Snapshot",
    "Store",
    "User",
    "WatchSettings",
    "World",
    "WriteSettings",
    "serve",
]
