"""The command outbox. Reads only; the gateway may be running."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from edge_gateway.commands.bracelets import ago, table
from edge_gateway.config import Config
from edge_gateway.outbox import reading_queries
from edge_gateway.outbox.file import open_to_read
from runtime.sqlite_file import set_aside_files, used_bytes

_MAX_SHOWN = 200


def show(config: Config, *, as_json: bool) -> int:
    """Print the counts of the outbox, its size, and the corrupt files that were set aside."""
    path, limit = config.outbox_path, config.outbox.max_bytes
    with open_to_read(path) as db:
        counts, used, oldest = (
            reading_queries.counts(db),
            used_bytes(db),
            reading_queries.oldest_pending(db),
        )
    set_aside = [each.name for each in set_aside_files(path)]
    since = _iso(oldest) if oldest is not None else None
    if as_json:
        extra = {
            "bytes": used,
            "filled": round(used / limit, 4),
            "oldest_pending": since,
            "set_aside": set_aside,
        }
        print(json.dumps(counts.to_json() | extra))
        return 0
    rows = [(name.replace("_", " "), str(value)) for name, value in counts.to_json().items()]
    rows.append(("size", f"{used / 2**20:.1f} of {limit / 2**20:.0f} MiB ({used / limit:.1%})"))
    rows.append(("oldest pending", f"{ago(since, datetime.now(UTC))} old" if since else "none"))
    rows.append(("set aside as corrupt", ", ".join(set_aside) or "none"))
    for name, value in rows:
        print(f"{name:22}{value:>12}")
    return 0


def rejected(config: Config, *, as_json: bool) -> int:
    """Print the latest readings that the API rejected, newest first, by `message_id`."""
    with open_to_read(config.outbox_path) as db:
        readings = reading_queries.rejected(db, _MAX_SHOWN)
    if as_json:
        print(json.dumps([asdict(each) | {"at": _iso(each.at)} for each in readings]))
    elif readings:
        rows: list[tuple[str, ...]] = [(each.message_id, _iso(each.at), each.reason) for each in readings]
        print(table(("message_id", "rejected", "reason"), rows))
    else:
        print("no reading was rejected")
    return 0


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
