"""An ingestion API in memory that records what it accepted and can be told to fail, for tests of gateways."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass(slots=True)
class Upstream:
    """What arrived, and how requests are answered.

    Attributes:
        accepted: by `message_id`, when it was accepted first, seconds since 1970, and its timestamp.
        identities: identities under which one measurement of a device arrived; more than one is a duplicate.
        errors: dead letters.
        requests: number of requests with readings.
        away: answer 503 to everything.
        broken: answer 500 to all readings.
        fails_on: answer 500 to every request that contains one of these `message_id`s.
        fails_on_letters: the same for dead letters, by `error_id`.
        frozen: accept requests and never answer.
    """

    url: str = ""
    accepted: dict[str, tuple[float, str]] = field(default_factory=dict)
    identities: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    errors: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0
    away: bool = False
    broken: bool = False
    fails_on: set[str] = field(default_factory=set)
    fails_on_letters: set[str] = field(default_factory=set)
    frozen: bool = False

    @property
    def duplicated(self) -> int:
        """Number of measurements that arrived under more than one identity."""
        return sum(len(found) > 1 for found in self.identities.values())

    async def readings(self, request: Request) -> Response:
        """`POST /iot/measurements`."""
        documents = await self._documents(request, "readings")
        if documents is None:
            return Response(status_code=503, headers={"Retry-After": "1"})
        self.requests += 1
        if self.broken or not self.fails_on.isdisjoint(each["message_id"] for each in documents):
            return Response(status_code=500)
        now, results = time.time(), []
        for each in documents:
            self.accepted.setdefault(each["message_id"], (now, each["timestamp"]))
            self.identities[each["device_id"], each["timestamp"]].add(each["message_id"])
            results.append({"status": "accepted", "message_id": each["message_id"]})
        return JSONResponse({"accepted": len(results), "rejected": 0, "results": results})

    async def dead_letters(self, request: Request) -> Response:
        """`POST /iot/errors`."""
        documents = await self._documents(request, "errors")
        if documents is None:
            return Response(status_code=503)
        if not self.fails_on_letters.isdisjoint(each["error_id"] for each in documents):
            return Response(status_code=500)
        self.errors += documents
        return JSONResponse({})

    async def _documents(self, request: Request, name: str) -> list[dict[str, str]] | None:
        body = await request.body()
        while self.frozen:  # noqa: ASYNC110 - until the test ends it
            await asyncio.sleep(0.05)
        if self.away:
            return None
        found: list[dict[str, str]] = json.loads(gzip.decompress(body))[name]
        return found


@asynccontextmanager
async def an_upstream() -> AsyncIterator[Upstream]:
    """Serve an `Upstream` on loopback."""
    upstream = Upstream()
    routes = [
        Route("/iot/measurements", upstream.readings, methods=["POST"]),
        Route("/iot/errors", upstream.dead_letters, methods=["POST"]),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes), port=0, log_config=None, access_log=False, lifespan="off", loop="none"
    )
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    upstream.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    serving = asyncio.create_task(server.serve([socket]))
    try:
        yield upstream
    finally:
        upstream.frozen = False
        server.should_exit = True
        await serving
