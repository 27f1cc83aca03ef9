"""Serves the page inside the gateway's event loop, over TLS if a certificate is configured."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from edge_gateway.config import PageConfig
from edge_gateway.errors import InvalidConfig, PageUnavailable
from edge_gateway.page.app import Page


async def serve(page: Page, config: PageConfig, listener: socket.socket) -> None:
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
    server = _PageServer(settings)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    finally:
        page.stopping.set()
        server.should_exit = True
        await serving


def listen(config: PageConfig) -> socket.socket:
    """Return a bound socket for the page.

    Raises:
        PageUnavailable: the address is not available, or the PIN or certificate cannot be used.
    """
    try:
        config.check()
    except InvalidConfig as error:  # never fall back to plain HTTP
        raise PageUnavailable(str(error)) from error
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise PageUnavailable(
            f"the page cannot listen on {config.host}:{config.port} ({error.strerror});"
            " set another host or port in [page]"
        ) from error
    return listener


class _PageServer(uvicorn.Server):
    """A server that leaves signal handling to the gateway."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield
