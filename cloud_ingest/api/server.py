"""The server process: listening socket, uvicorn configuration and graceful shutdown."""

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
from cloud_ingest.api.http_protocol import BoundedHttpProtocol
from cloud_ingest.api.tls import server_context
from cloud_ingest.errors import PortBusy
from cloud_ingest.settings import Settings

log = logging.getLogger(__name__)

MAX_FALLBACK_PORTS = 50
SHUTDOWN_TIMEOUT_S = 10
GC_THRESHOLD = 50_000
"""New objects after which the garbage collector searches for cycles among them. The objects of a request are
freed when it ends; at Python's default of 700 the collector scans every batch being processed, which takes a
ninth of all CPU time."""


def serve(settings: Settings) -> bool:
    """Serve until SIGTERM or SIGINT; return whether the application started.

    Raises:
        InvalidSettings: the settings cannot be used.
        PortBusy: the port is taken, and those after it where API_PORT_AUTOFALLBACK is set.
    """
    app, tls = create_app(settings), server_context(settings)
    listener = listen(settings)
    if tls is None and not settings.on_loopback:
        log.warning("TLS is off: secrets are sent unencrypted unless a proxy in front terminates TLS")
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedHttpProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    server = _ApiServer(config, url_of(settings, listener))
    _raise_file_limit()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again after its shutdown; the default handler would kill the process.
        signal.signal(number, _ignore_signal)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        server.run(sockets=[listener])
    except SystemExit:  # uvicorn exits where the application did not start; the reason is in the log
        return False
    return server.started


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens on the configured port, or on one after it where the settings allow that.

    Raises:
        PortBusy: no port is free, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    fallbacks = MAX_FALLBACK_PORTS if settings.port_autofallback and settings.port else 0
    for port in range(settings.port, min(65535, settings.port + fallbacks) + 1):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
            listener.listen(2048)
        except (UnicodeError, TypeError):  # a name that Python cannot pass to the resolver
            listener.close()
            raise PortBusy(f"cannot listen on {settings.host}: not a valid host name") from None
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
    """Return the URL of a listening socket."""
    scheme = "https" if settings.tls_cert_file else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


class _ApiServer(uvicorn.Server):
    """A server that prints its URL once it accepts connections."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        await super().startup(sockets)
        if self.started:
            print(f"kidjamo-ingest listens on {self._url}", flush=True)
            log.info("listening on %s, documentation under /docs", self._url)


def _raise_file_limit() -> None:
    """Raise the limit of open files, usually 1,024, to the maximum: each gateway keeps a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    pass
