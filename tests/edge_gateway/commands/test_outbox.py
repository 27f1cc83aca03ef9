"""The command `kidjamo-gateway outbox`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_gateway.cli import main
from edge_gateway.outbox.outbox import Outbox
from tests.edge_gateway.helpers import a_row

CONFIG = """
gateway_id = "gw"
data_dir = "data"
[api]
url = "http://127.0.0.1:9"
[outbox]
max_mb = 1
[mqtt]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    return path


def test_missing_outbox_is_empty(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines() if line.startswith(("pending", "oldest"))] == [
        ["pending", "0"],
        ["oldest", "pending", "none"],
    ]
    assert main(["outbox", "rejected", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "no reading was rejected\n"
    assert not (config.parent / "data").exists()


async def test_outbox_prints_size_age_rejections_and_files_set_aside(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, started = config.parent / "data", datetime.now(UTC) - timedelta(hours=3)
    rows = [a_row() for _ in range(500)]
    with Outbox(data / "outbox.sqlite3", now=started.timestamp) as outbox:
        outbox.append(rows).result()
        first, second, *_ = await outbox.peek_live(0, 500)
        await outbox.settle([first.id], [(second.id, "timestamp: more than 5 minutes ahead")])
        (data / "outbox.sqlite3.corrupt-20250824T103000.000000Z").write_bytes(b"")
        (data / "outbox.sqlite3.corrupt-20250824T103000.000000Z-wal").write_bytes(b"")
        assert main(["outbox", "--config", str(config)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert main(["outbox", "--json", "--config", str(config)]) == 0
        counts = json.loads(capsys.readouterr().out)
        assert main(["outbox", "rejected", "--config", str(config)]) == 0
        rejected = capsys.readouterr().out
    assert "pending                        498" in lines
    assert "oldest pending             3 h old" in lines
    assert lines[-1] == "set aside as corrupt  outbox.sqlite3.corrupt-20250824T103000.000000Z"
    assert (counts["pending"], counts["rejected"], counts["set_aside"]) == (
        498,
        1,
        ["outbox.sqlite3.corrupt-20250824T103000.000000Z"],
    )
    assert 0.1 < counts["filled"] < 0.9
    assert counts["filled"] == round(counts["bytes"] / 2**20, 4)
    assert counts["oldest_pending"] == started.isoformat(timespec="seconds")
    assert str(rows[1].message_id) in rejected
    assert "timestamp: more than 5 minutes ahead" in rejected
    assert "patient-001-ss" not in rejected
    assert "bracelet-001" not in rejected
