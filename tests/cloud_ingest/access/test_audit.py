import json
import logging
import stat
from pathlib import Path

import pytest

from cloud_ingest.access.audit import Action, AuditLog
from cloud_ingest.errors import InvalidSettings


def test_write_appends_to_a_file_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.jsonl"
    AuditLog(path).write(Action.TOKEN_ISSUED, gateway="gw-1")
    AuditLog(path).write(Action.TOKEN_REFUSED, gateway="gw\n2", reason="é")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["action"], first["gateway"]) == ("token_issued", "gw-1")
    assert first["at"].endswith("Z")
    assert (second["gateway"], second["reason"]) == ("gw\n2", "é"), "one line, whatever is in it"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_write_creates_the_file_again_after_rotation(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    audit.write(Action.KEY_MADE, kid="1")
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit.jsonl.1")
    audit.write(Action.KEY_MADE, kid="2")
    assert '"kid": "2"' in (tmp_path / "audit.jsonl").read_text()


def test_write_logs_an_error_when_the_disk_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").mkdir()
    audit = AuditLog(tmp_path / "logs" / "audit.jsonl")
    (tmp_path / "logs" / "audit.jsonl").unlink()
    (tmp_path / "logs").rmdir()
    (tmp_path / "logs").touch()
    with caplog.at_level(logging.ERROR):
        audit.write(Action.GATEWAY_REVOKED, gateway="gw-1")
    assert "gateway_revoked" in caplog.text


def test_file_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="API_AUDIT_FILE"):
        AuditLog(tmp_path)
