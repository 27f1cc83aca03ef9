"""Serving the page inside the gateway, over TLS where there is a certificate."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from edge_gateway.config import PageConfig
from edge_gateway.errors import InvalidConfig, PageUnavailable
from edge_gateway.page.app import Page


async def serve(page: Page, config: PageConfig, listening: socket.socket) -> None:
    """Serve until cancelled."""
    settings = uvicorn.Config(
        page.app(),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="none",
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=config.certificate_file,
        ssl_keyfile=config.key_file,
    )
    server = _Server(settings)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    finally:
        page.stopping.set()
        server.should_exit = True
        await serving


def listen(config: PageConfig) -> socket.socket:
    """A socket for the page.

    Raises:
        PageUnavailable: the address cannot be had, or there is no certificate to serve it with.
    """
    try:
        config.check()
    except InvalidConfig as error:  # never in the clear instead
        raise PageUnavailable(str(error)) from error
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((config.host, config.port))
    except OSError as error:
        made.close()
        raise PageUnavailable(
            f"the page cannot listen on {config.host}:{config.port} ({error.strerror});"
            " choose another host or port in [page]"
        ) from error
    return made


class _Server(uvicorn.Server):
    """Signals are the gateway's affair."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield
