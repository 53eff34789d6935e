"""Bounds what compiled execution keeps for questions that are asked again."""

from __future__ import annotations

from collections import OrderedDict

from krm.schema.plans import Plan
from krm.table.replica import Replica


class Keeper:
    """Bounds what all plans of a process keep: the least used one forgets first."""

    def __init__(self, max_bytes: int = 96 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._plans: OrderedDict[int, Plan] = OrderedDict()

    def used(self, plan: Plan, replica: Replica) -> None:
        """A plan was just run over ``replica``."""
        if not plan.is_kept:
            return
        self._plans[id(plan)] = plan
        self._plans.move_to_end(id(plan))
        if plan.rows > 2 * len(replica) + 1_000:  # rows that have gone
            plan.forget()
        total = sum(each.memory for each in self._plans.values())
        while total > self._max_bytes and self._plans:
            _, oldest = self._plans.popitem(last=False)
            total -= oldest.memory
            oldest.forget()
