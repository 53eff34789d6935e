"""What KRM's answers over HTTP are held against, as a server of its own: stock Strawberry, and bytes that are ready.

``python -m tests.bench.stock PORT FILE``: FILE has one JSON object a line. The same types, resolved field by field
from decoded objects; the same objects as one body, and as many bytes as are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import strawberry
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from strawberry.fastapi import GraphQLRouter
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type

from krm.schema import kinds, scalars

PIECE = 2**19


def schema(rows: list[dict[str, Any]]) -> strawberry.Schema:
    """Pods as Strawberry serves them: one resolver a field."""
    pod = kinds.build()["Pod"]
    whole = strawberry.field(name="object", resolver=_whole, graphql_type=scalars.JSON | None)
    kinds.extend(pod, [whole])
    nodes = strawberry.field(name="nodes", graphql_type=list[pod], default=None)  # type: ignore[valid-type]
    nodes.python_name = "nodes"
    connection = create_type("PodConnection", [nodes])

    def resolve() -> Any:
        return {"nodes": rows}

    pods: Any = strawberry.field(name="pods", resolver=resolve, graphql_type=connection)
    return strawberry.Schema(
        create_type("Query", [pods]),
        config=StrawberryConfig(default_resolver=kinds.resolve_plain, scalar_map=scalars.SCALARS),
    )


def _whole(root: strawberry.Parent[Any]) -> Any:
    return root


def application(lines: list[bytes]) -> FastAPI:
    """The server over objects as JSON texts."""
    rows = [orjson.loads(line) for line in lines]
    app = FastAPI()
    app.include_router(GraphQLRouter(schema(rows)), prefix="/graphql")
    body = b'{"data":{"pods":{"nodes":[' + b",".join(b'{"object":' + line + b"}" for line in lines) + b"]}}}"

    async def ready(_request: Request) -> Response:
        """As many bytes as are asked for, which are there already."""
        return Response(bytes(int(_request.query_params["size"])))

    async def objects(_request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), PIECE):
                yield body[start : start + PIECE]

        return StreamingResponse(pieces(), headers={"Content-Length": str(len(body))}, media_type="application/json")

    app.add_route("/bytes", ready)
    app.add_route("/objects", objects)
    return app


def main() -> None:
    """Serve."""
    lines = Path(sys.argv[2]).read_bytes().splitlines()
    uvicorn.run(application(lines), port=int(sys.argv[1]), log_level="error", loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
