"""What a compiled selection makes of the rows of a list: the JSON array in parts, in turns with the event loop.

Everything is made before anything is sent: what a plan cannot do, what is damaged and what is too large is known while
the answer can still say so. Of a long list only what waits compressed is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from krm.query.cells import Turns
from krm.schema import blocks, plans
from krm.schema.answers import Edges, Rows
from krm.schema.context import Context
from krm.schema.joined import ROWS_A_TURN, Joined, Run
from krm.schema.parts import Part, Pile
from krm.schema.plans import Plan
from krm.schema.relations import Related
from krm.schema.whole import Objects
from krm.store.rows import Row

Piece = Plan | Joined | bytes | None
"""None: a cursor."""
_BLOCKS_A_TURN: Final = 32
"""Blocks that were found and not made."""


class Shape:
    """Of a list of rows: one plan. Of a list of edges: the pieces of an edge, each after its prefix."""

    def __init__(self, pieces: tuple[tuple[bytes, Piece], ...]) -> None:
        self.pieces = pieces
        self.is_joined = any(isinstance(piece, Joined) for _, piece in pieces)
        first = pieces[0][1]
        self.is_whole = isinstance(first, Plan) and first.is_whole


class Work:
    """Projecting the rows of one answer."""

    def __init__(
        self, shape: Shape, result: Rows | Edges, context: Context, known: Related | None, variables: Any
    ) -> None:
        self._shape = shape
        self._result = result
        self._context = context
        self._run = Run(context=context, known=known, variables=variables, max_bytes=context.max_response)

    @property
    def is_joined(self) -> bool:
        """Whether few rows may be much work."""
        return self._shape.is_joined

    async def run(self, max_bytes: int) -> list[Part]:
        """The JSON array in parts. Raises ``Anomaly``, and ``AnswerError`` beyond ``max_bytes``."""
        if self._context.is_streamed and isinstance(self._result, Rows) and self._shape.is_whole:
            return [self._whole(self._result, max_bytes)]
        plan = self._shape.pieces[0][1]
        if isinstance(self._result, Rows) and isinstance(plan, Plan) and plan.is_kept:
            turns = self._blocks(plan, max_bytes)
        else:
            turns = self._parts(max_bytes)
        parts: list[Part] = []
        for made in turns:
            parts += made
            await asyncio.sleep(0)
        return parts

    @staticmethod
    def _whole(rows: Rows, max_bytes: int) -> Objects:
        found = Objects(rows.replica.codec, rows.rows)
        if len(found) > max_bytes:
            raise plans.too_large(max_bytes)
        return found

    def at_once(self, max_bytes: int) -> list[Part]:
        """The same without a turn of the event loop: for few rows."""
        return [part for turn in self._parts(max_bytes) for part in turn]

    def _blocks(self, plan: Plan, max_bytes: int) -> Iterator[list[Part]]:
        """What each turn adds: of one plan, whose blocks are kept."""
        replica, rows = self._result.replica, self._result.rows
        found: list[Part] = []
        size = 0
        for number, block in enumerate(blocks.cut(rows)):
            kept = plan.shelf.get(block)
            part = kept if kept is not None else plan.block(replica, block)
            size += len(part) + 1
            if size > max_bytes:
                raise plans.too_large(max_bytes)
            found += (b"," if number else b"[", part)
            if kept is None or number % _BLOCKS_A_TURN == 0:
                yield found
                found = []
        yield [*found, b"]" if rows else b"[]"]
        self._context.keeper.used(plan, replica)

    def _parts(self, max_bytes: int) -> Iterator[list[Part]]:
        """What each turn adds."""
        rows = self._result.rows
        pile = Pile()
        size = 0
        for start in range(0, len(rows), ROWS_A_TURN):
            made = self._project(rows[start : start + ROWS_A_TURN])
            while True:
                try:
                    next(made)
                except StopIteration as done:
                    part = b",".join(done.value)
                    break
                yield []
            size += len(part)
            if size > max_bytes:
                raise plans.too_large(max_bytes)
            yield [b"," if start else b"[", pile.part(part) if self._context.is_streamed else part]
        yield [b"]" if rows else b"[]"]
        for plan, replica in self._run.used.values():
            self._context.keeper.used(plan, replica)

    def _project(self, rows: Sequence[Row]) -> Turns[list[bytes]]:
        replica = self._result.replica
        columns: list[list[bytes]] = []
        for prefix, piece in self._shape.pieces:
            if isinstance(piece, Plan | Joined):
                made = yield from self._run.project(piece, replica, rows)
                columns.append([prefix + each for each in made] if prefix else made)
            elif isinstance(piece, bytes):
                columns.append([prefix + piece] * len(rows))
            elif isinstance(self._result, Edges):
                columns.append([prefix + plans.cursor_json(self._result.page.cursor(row)) for row in rows])
        if isinstance(self._result, Rows):
            return columns[0]
        return [b"".join(cells) + b"}" for cells in zip(*columns, strict=True)]
