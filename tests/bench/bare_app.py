"""A minimal app: it parses a batch, produces as many bytes per reading, and answers when Kafka acknowledges.

It has no validation, rules, pseudonyms or spool; `cpu_ratio_to_bare` is relative to it. Run it as
`python -m tests.bench.bare_app <bootstrap>`; it prints its port.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.kafka.record import Record
from vitals.topics import MEASUREMENTS

_PSEUDONYM = "p1_" + "0" * 32


def app(bootstrap: str) -> Starlette:
    """Return the application."""
    publisher: list[Publisher] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        publisher.append(Publisher(bootstrap))
        yield
        publisher[0].close()

    async def take(request: Request) -> Response:
        readings = from_json(await request.body())["readings"]
        ticket = publisher[0].send([_record(reading) for reading in readings])
        await ticket.done
        return Response(b'{"accepted":%d}' % sum(ticket.acknowledged), media_type="application/json")

    return Starlette(routes=[Route("/readings", take, methods=["POST"])], lifespan=lifespan)


def _record(reading: dict[str, object]) -> Record:
    """Return a record of the same size as the ingestion API's."""
    reading["patient_id"] = _PSEUDONYM
    reading["ingestion_timestamp"] = "2025-08-24T10:30:00.123456Z"
    reading["api_version"] = "1.0.0"
    reading["invalid_fields"] = []
    reading["quality_score"] = 100.0
    return Record(MEASUREMENTS, _PSEUDONYM.encode(), to_json(reading))


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app(sys.argv[1]), loop="uvloop", http="httptools", ws="none", access_log=False, log_config=None
    )
    uvicorn.Server(config).run(sockets=[listener])
