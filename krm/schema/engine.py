"""Answers one GraphQL request: text in, JSON bytes and an HTTP status out. Knows no HTTP beyond that status.

Errors leave in one form only: a stable ``extensions.code``; what is not ours is masked and logged under a trace id.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import orjson
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, OperationType, execute, subscribe
from strawberry import Schema

from krm.errors import AnswerError, Code, KrmError, StoreRefused, StoreUnreachable
from krm.schema.context import Context
from krm.schema.documents import Document, Documents, Invalid
from krm.schema.executor import Executor
from krm.schema.facts import AllFacts
from krm.schema.keeping import Keeper
from krm.schema.limits import Limits
from krm.schema.matched import Memory
from krm.schema.parts import Part, pieces
from krm.schema.plans import too_large

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = 600
"""Characters of an error's text: it may repeat what the caller sent."""
MAX_ERRORS: Final = 100
"""Errors of one answer; what is beyond says no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A GraphQL request as it was sent."""

    query: str
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """``parts`` are JSON, in parts that need no copy or are made when they are sent; ``codes`` those of its errors."""

    status: int
    parts: Sequence[Part]
    codes: tuple[str, ...] = ()
    fallbacks: int = 0
    """Lists that had to be executed plainly."""
    odd: int = 0
    """Values that were answered as null because their object has another sort there."""

    @property
    def body(self) -> bytes:
        """The whole JSON text. Raises ``CorruptData``."""
        return b"".join(pieces(self.parts))

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return sum(map(len, self.parts))


class Engine:
    """One schema, its documents, and the bounds of an answer."""

    def __init__(self, schema: Schema, limits: Limits, *, introspection: bool = True, timeout_s: float = 30.0) -> None:
        self._schema = schema._schema  # graphql-core's: executing a kept document needs it
        self._documents = Documents(self._schema, limits, introspection=introspection)
        self._hides = not introspection
        self._timeout_s = timeout_s
        self._keeper = Keeper()
        self._facts = AllFacts()
        self._memory = Memory()

    async def answer(self, request: Request, context: Context) -> Answer:
        """The answer, whatever happens; only a cancellation gets out."""
        document = await self._opened(request)
        if isinstance(document, Answer):
            return document
        if self._operation(document, request.operation_name) is OperationType.SUBSCRIPTION:
            return self.refusal(Code.BAD_REQUEST, "a subscription needs a WebSocket (graphql-transport-ws)")
        return await self._answer(document, request, context)

    async def answers(
        self, request: Request, context: Context, slot: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> AsyncGenerator[Answer]:
        """One answer to a query, one for each event of a subscription.

        A query is answered inside of a ``slot``, which may refuse it by an ``AnswerError``.
        """
        document = await self._opened(request)
        if isinstance(document, Answer):
            yield document
        elif self._operation(document, request.operation_name) is OperationType.SUBSCRIPTION:
            async with contextlib.aclosing(self._subscribe(document, request, context)) as events:
                async for event in events:
                    yield event
        else:
            try:
                with slot():
                    answer = await self._answer(document, request, context)
            except AnswerError as error:
                answer = self.refusal(error.code, str(error))
            yield answer

    async def _subscribe(self, document: Document, request: Request, context: Context) -> AsyncGenerator[Answer]:
        self._equip(context, document, request)
        pending = subscribe(
            self._schema,
            document.node,
            context_value=context,
            variable_values=dict(request.variables or {}),
            operation_name=request.operation_name,
            executor_class=Executor,
            hide_suggestions=self._hides,
        )
        source = await pending if inspect.isawaitable(pending) else pending
        if isinstance(source, ExecutionResult):
            yield self._finished(source, context)
            return
        try:
            async for result in source:
                yield self._finished(result, context)
                context.embedded.clear()  # the next event embeds its own
        except AnswerError as error:
            yield self.refusal(error.code, str(error))
        except KrmError as error:
            failed = _masked(error, None)
            yield self._refused(Code.INTERNAL, [failed])
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def _equip(self, context: Context, document: Document, request: Request) -> None:
        context.plans = document.plans
        context.keeper = self._keeper
        context.facts = self._facts
        context.memory = self._memory
        context.expect(document.reached(request.variables))

    async def _opened(self, request: Request) -> Document | Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                document = await self._documents.open(request.query)
            self._check_operation(document, request.operation_name)
        except TimeoutError:
            return self._too_late()
        except Invalid as error:
            return self._refused(error.code, [self._located(e, error.code) for e in error.errors])
        except AnswerError as error:
            return self.refusal(error.code, str(error))
        return document

    async def _answer(self, document: Document, request: Request, context: Context) -> Answer:
        self._equip(context, document, request)
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await self._execute(document, request, context)
        except TimeoutError:
            return self._too_late()
        return self._finished(result, context)

    def _too_late(self) -> Answer:
        text = f"no answer within {self._timeout_s:g} s (KRM_QUERY_TIMEOUT)"
        return Answer(status=200, parts=[_body(None, [entry(Code.TIMEOUT, text)])], codes=(Code.TIMEOUT,))

    async def _execute(self, document: Document, request: Request, context: Context) -> ExecutionResult:
        pending = execute(
            self._schema,
            document.node,
            context_value=context,
            variable_values=dict(request.variables or {}),
            operation_name=request.operation_name,
            executor_class=Executor,
            hide_suggestions=self._hides,
        )
        return pending if isinstance(pending, ExecutionResult) else await pending

    def _check_operation(self, document: Document, name: str | None) -> None:
        names = [d.name.value if d.name else None for d in operations(document)]
        if name is None and len(names) != 1:
            raise AnswerError(Code.BAD_REQUEST, "operationName: the query has several operations, name one of them")
        if name is not None and name not in names:
            raise AnswerError(Code.BAD_REQUEST, f"operationName: the query has no operation {_short(name)!a}")

    def _finished(self, result: ExecutionResult, context: Context) -> Answer:
        errors = result.errors or []
        if result.data is None and errors and all(error.path is None for error in errors):
            # Variables that do not fit their types: nothing was executed.
            return self._refused(Code.GRAPHQL_VALIDATION, [self._located(e, Code.GRAPHQL_VALIDATION) for e in errors])
        entries = [failure(error.original_error or error, error.path) for error in errors[:MAX_ERRORS]]
        codes = tuple(e["extensions"]["code"] for e in entries)
        try:
            parts = context.filled(_body(result.data, entries))
        except (orjson.JSONEncodeError, RecursionError) as error:
            shown = [*entries, _masked(error, None)]
            return Answer(status=200, parts=[_body(None, shown)], codes=(*codes, Code.INTERNAL))
        if sum(map(len, parts)) > context.max_response:
            refusal = too_large(context.max_response)
            return Answer(status=200, parts=[_body(None, [entry(refusal.code, str(refusal))])], codes=(refusal.code,))
        fallbacks, odd, context.fallbacks, context.odd = context.fallbacks, context.odd, 0, 0
        return Answer(status=200, parts=parts, codes=codes, fallbacks=fallbacks, odd=odd)

    def _located(self, error: GraphQLError, code: Code) -> dict[str, Any]:
        message = error.message.partition(" Did you mean")[0] if self._hides else error.message
        made = entry(code, message)
        if error.locations:
            made["locations"] = [{"line": at.line, "column": at.column} for at in error.locations[:2]]
        return made

    def _operation(self, document: Document, name: str | None) -> OperationType:
        return next(d.operation for d in operations(document) if name is None or (d.name and d.name.value == name))

    def refusal(self, code: Code, message: str) -> Answer:
        """A request that is refused as a whole."""
        return self._refused(code, [entry(code, message)])

    def _refused(self, code: Code, entries: list[dict[str, Any]]) -> Answer:
        status = 429 if code == Code.RATE_LIMITED else 400
        return Answer(status=status, parts=[orjson.dumps({"errors": entries})], codes=(code,))


def failure(cause: BaseException, path: list[str | int] | None = None) -> dict[str, Any]:
    """What went wrong at a field, as far as it is for others to know."""
    if isinstance(cause, AnswerError):
        return entry(cause.code, str(cause), path=path, details=cause.details)
    if isinstance(cause, TimeoutError):
        return entry(Code.TIMEOUT, "no answer in time", path=path)
    if isinstance(cause, StoreUnreachable | StoreRefused):
        return _masked(cause, path, Code.NOT_READY, "Redis cannot be asked at the moment")
    return _masked(cause, path)


def _masked(
    cause: BaseException,
    path: list[str | int] | None,
    code: Code = Code.INTERNAL,
    what: str = "internal error",
) -> dict[str, Any]:
    """What says nothing of the cause; the log does, under the same trace id."""
    trace = secrets.token_hex(8)
    log.error("a field failed", exc_info=cause, extra={"trace": trace, "path": path})
    return entry(code, f"{what}, trace {trace}", path=path, details={"trace": trace})


def entry(
    code: Code,
    message: str,
    *,
    path: list[str | int] | None = None,
    details: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """One element of ``errors``."""
    made: dict[str, Any] = {"message": _clean(message), "extensions": {"code": str(code), **(details or {})}}
    if path is not None:
        made["path"] = path
    return made


def _clean(text: str) -> str:
    """Bounded, and text that JSON can hold (no lone surrogates)."""
    return _short(text).encode("utf-8", "replace").decode("utf-8")


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "..."


def operations(document: Document) -> list[OperationDefinitionNode]:
    """The operations of a document."""
    return [d for d in document.node.definitions if isinstance(d, OperationDefinitionNode)]


def _body(data: Mapping[str, Any] | None, errors: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"data": data, "errors": errors} if errors else {"data": data})
