"""A web service on loopback that receives notifications to contacts."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class NotificationWebService:
    """A web service that accepts notifications, or answers with the status it is set to."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        service = self

        class NotificationHandler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                service.received.append(json.loads(self.rfile.read(length)))
                self.send_response(service.status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), NotificationHandler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> NotificationWebService:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}"


@contextmanager
def hanging_service() -> Iterator[str]:
    """Yield the address of a web service that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        yield f"json://127.0.0.1:{listener.getsockname()[1]}"
