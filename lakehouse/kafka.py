"""A fast check whether Kafka can be reached: Spark's own client takes half a minute to report it."""

from __future__ import annotations

import socket

TIMEOUT_S = 2.0


def unreachable_reason(bootstrap_servers: str) -> str | None:
    """Return why none of these servers can be reached, or None if one can."""
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S):
                return None
        except (OSError, ValueError, OverflowError):
            continue
    return f"Kafka at {bootstrap_servers} does not respond"
