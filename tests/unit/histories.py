"""True histories of one resource, and what a stream and lists show of them: for the tests of the merge.

The truth is a list of writes, each with its version. A schedule shows some of it to a rule: events may be lost,
repeated and late, a list is taken at one version and arrives at any later time, two may be on their way at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from krm.merge import Event, Key, State
from krm.objects.versions import order


@dataclass
class Truth:
    """Everything that happened, and what was true at each version."""

    writes: list[tuple[Key, Event]] = field(default_factory=list)
    _states: dict[tuple[Key, str], set[State | None]] = field(default_factory=dict)

    def write(self, key: Key, uid: str, version: int, *, deleted: bool = False) -> tuple[Key, Event]:
        one = (key, Event(uid, str(version), deleted))
        self.writes.append(one)
        return one

    def at(self, version: str) -> dict[Key, State]:
        """What was true at ``version``."""
        table: dict[Key, State] = {}
        for key, event in self.writes:
            if order(event.version) > order(version):
                break
            if event.deleted:
                table.pop(key, None)
            else:
                table[key] = State(event.uid, event.version)
        return table

    def states(self, key: Key, since: str) -> set[State | None]:
        """Every state that ``key`` had at ``since`` or later. To be asked once the truth is whole."""
        known = self._states.get((key, since))
        if known is not None:
            return known
        before: State | None = None
        found: set[State | None] = set()
        for one, event in self.writes:
            if one == key:
                state = None if event.deleted else State(event.uid, event.version)
                if order(event.version) > order(since):
                    found.add(state)
                else:
                    before = state
        self._states[key, since] = found | {before}
        return found | {before}


@dataclass(frozen=True)
class Shown:
    """One thing shown to a rule: an event, or a list, taken at ``listed_at`` when ``started`` things had been shown."""

    event: tuple[Key, Event] | None = None
    listed: dict[Key, State] | None = None
    listed_at: str = ""
    started: int = 0


KEYS: list[Key] = [("a", "x"), ("a", "y"), ("b", "x")]


def generate(
    seed: int, *, lists_in_flight: int, loss: float, steps: int = 24, disorder: float = 0.0
) -> tuple[Truth, list[Shown], bool]:
    """A truth and a schedule of it; and whether an event was lost. ``disorder``: how often an event overtakes."""
    rng = random.Random(seed)
    truth = Truth()
    alive: dict[Key, str] = {}
    version, uids, lost = rng.choice([5, 95, 2**53 - 10, 10**39 - 500]), 0, False
    queue: list[tuple[Key, Event]] = []
    shown: list[Shown] = [Shown(listed={}, listed_at=str(version))]
    version += 1
    flying: list[Shown] = []
    for _ in range(steps):
        action = rng.random()
        if action < 0.5:
            key = rng.choice(KEYS)
            if key not in alive:
                uids += 1
                alive[key] = f"uid{uids}"
                queue.append(truth.write(key, alive[key], version))
            elif rng.random() < 0.5:
                queue.append(truth.write(key, alive.pop(key), version, deleted=True))
            else:
                queue.append(truth.write(key, alive[key], version))
            version += rng.randint(1, 3)
            if rng.random() < loss:
                queue.pop(rng.randrange(len(queue)))
                lost = True
        elif action < 0.75 and queue:
            overtaken = rng.randrange(len(queue)) if disorder and rng.random() < disorder else 0
            shown.append(Shown(event=queue.pop(overtaken)))
            if rng.random() < 0.2:
                earlier = [one for one in shown if one.event]
                shown.append(rng.choice(earlier))
        elif action < 0.88 and len(flying) < lists_in_flight:
            at = str(version - 1)
            flying.append(Shown(listed=truth.at(at), listed_at=at, started=len(shown)))
        elif flying:
            shown.append(flying.pop(rng.randrange(len(flying))))
    shown += [Shown(event=one) for one in queue]
    rng.shuffle(flying)
    return truth, shown + flying, lost


def prefixes(shown: list[Shown]) -> Iterator[list[Shown]]:
    """The schedule up to each of its steps."""
    for end in range(1, len(shown) + 1):
        yield shown[:end]
