"""Whether Kafka can be reached at all, asked without a client: Spark's own takes half a minute to say so."""

from __future__ import annotations

import socket

TIMEOUT_S = 2.0


def unreachable_reason(bootstrap_servers: str) -> str:
    """Why none of these servers can be reached; empty where one can."""
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S):
                return ""
        except (OSError, ValueError, OverflowError):
            continue
    return f"Kafka at {bootstrap_servers} does not answer"
