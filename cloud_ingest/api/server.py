"""Listening and serving: a port that is really ours, a stop that drains."""

from __future__ import annotations

import errno
import gc
import logging
import resource
import signal
import socket
from types import FrameType

import uvicorn

from cloud_ingest.api.app import create_app
from cloud_ingest.api.http_protocol import Connection
from cloud_ingest.api.tls import server_context
from cloud_ingest.errors import PortBusy
from cloud_ingest.settings import Settings

log = logging.getLogger(__name__)

FALLBACKS = 50
DRAIN_S = 10
YOUNG_OBJECTS = 50_000
"""Objects made before the collector looks for cycles among them. What belongs to a request dies when the
request ends; at Python's 700 the collector walks through every batch under way, a ninth of all the time."""


def serve(settings: Settings) -> bool:
    """Serve until SIGTERM or SIGINT; says whether the application started.

    Raises:
        InvalidSettings: the settings cannot be used.
        PortBusy: the port is taken, and those after it where falling back is allowed.
    """
    app, tls = create_app(settings), server_context(settings)
    listener = listen(settings)
    if tls is None and not settings.on_loopback:
        log.warning("without TLS here: a proxy in front has to end it, or secrets cross the network in clear")
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=DRAIN_S,
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    server = _Server(config, url_of(settings, listener))
    _allow_many_connections()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after its own shutdown: without this the process would end by it.
        signal.signal(number, _already_handled)
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        server.run(sockets=[listener])
    except SystemExit:  # its way to say that the application did not start; the reason is in the log
        return False
    return server.started


def listen(settings: Settings) -> socket.socket:
    """A listening socket on the port of the settings, or on one of the next where that is allowed.

    Raises:
        PortBusy: none was free, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    last = min(65535, settings.port + (FALLBACKS if settings.port_autofallback and settings.port else 0))
    for port in range(settings.port, last + 1):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
            listener.listen(2048)
        except (UnicodeError, TypeError):  # a name that the system's resolver cannot even be asked for
            listener.close()
            raise PortBusy(f"cannot listen on {settings.host}: no name of a machine") from None
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise PortBusy(f"cannot listen on {settings.host}:{port}: {error.strerror}") from None
            log.warning("port %d is busy", port)
            continue
        return listener
    hint = "" if settings.port_autofallback else "; API_PORT_AUTOFALLBACK=true takes the next free one"
    raise PortBusy(f"{settings.host}:{settings.port} is busy{hint}")


def url_of(settings: Settings, listener: socket.socket) -> str:
    """The address of a listening socket as a URL."""
    scheme = "https" if settings.tls_cert_file else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets)
        if self.started:
            print(f"kidjamo-ingest listens on {self._url}", flush=True)
            log.info("listening on %s, documentation under /docs", self._url)


def _allow_many_connections() -> None:
    """As many as the system permits: each gateway keeps one open, and 1,024 files are the usual start."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _already_handled(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: uvicorn has shut down by now."""
