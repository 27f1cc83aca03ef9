import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cloud_ingest.access.signing_keys import SigningKeys
from cloud_ingest.errors import InvalidSettings

START = datetime(2025, 8, 24, 10, 30, tzinfo=UTC)


class KeyClock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> KeyClock:
    return KeyClock()


def keys_in(directory: Path, clock: KeyClock) -> SigningKeys:
    return SigningKeys(directory / "keys", timedelta(minutes=10), clock)


def test_signing_makes_the_first_key_with_mode_0600(tmp_path: Path, clock: KeyClock) -> None:
    keys = keys_in(tmp_path, clock)
    first = keys.signing()
    assert first.kid.startswith("20250824T103000.000000Z-")
    (file,) = (tmp_path / "keys").iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == (f"{first.kid}.pem", 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert keys.signing().kid == first.kid


def test_old_key_verifies_for_ten_minutes_after_a_rotation(tmp_path: Path, clock: KeyClock) -> None:
    keys, other_process = keys_in(tmp_path, clock), keys_in(tmp_path, clock)
    old = other_process.signing()
    clock.now += timedelta(days=90)
    new = keys.make()
    assert other_process.signing().kid == new.kid
    clock.now += timedelta(minutes=10)
    assert other_process.verifying(old.kid) is not None
    assert keys.remove_expired() == ()
    clock.now += timedelta(seconds=1)
    assert other_process.verifying(old.kid) is None
    assert other_process.verifying(new.kid) is not None
    assert keys.remove_expired() == (old.kid,)
    assert [key.kid for key in other_process.all()] == [new.kid]


def test_removed_key_does_not_verify(tmp_path: Path, clock: KeyClock) -> None:
    keys = keys_in(tmp_path, clock)
    key = keys.signing()
    (tmp_path / "keys" / f"{key.kid}.pem").unlink()
    assert keys.verifying(key.kid) is None


def test_removed_key_does_not_verify_while_another_key_is_unusable(
    tmp_path: Path, clock: KeyClock, caplog: pytest.LogCaptureFixture
) -> None:
    running, leaked = keys_in(tmp_path, clock), keys_in(tmp_path, clock).signing()
    assert running.verifying(leaked.kid) is not None
    clock.now += timedelta(hours=1)
    new = keys_in(tmp_path, clock).make()
    file = tmp_path / "keys" / f"{new.kid}.pem"
    file.chmod(0o644)
    (tmp_path / "keys" / f"{leaked.kid}.pem").unlink()
    assert running.verifying(leaked.kid) is None
    assert running.verifying(new.kid) is None
    assert [record.levelname for record in caplog.records if "chmod 600" in record.message] == ["ERROR"]
    file.chmod(0o600)
    assert running.verifying(new.kid) is not None
    assert running.signing().kid == new.kid


@pytest.mark.parametrize("kid", ["", "None", "../../etc/passwd", "20250824T103000.000000Z-00000000"])
def test_verifying_an_unknown_kid(tmp_path: Path, clock: KeyClock, kid: str) -> None:
    keys = keys_in(tmp_path, clock)
    keys.signing()
    assert keys.verifying(kid) is None


def test_key_others_can_read_is_refused(tmp_path: Path, clock: KeyClock) -> None:
    kid = keys_in(tmp_path, clock).signing().kid
    (tmp_path / "keys" / f"{kid}.pem").chmod(0o644)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        keys_in(tmp_path, clock).all()


def test_unusable_key_is_refused_at_start_and_skipped_later(tmp_path: Path, clock: KeyClock) -> None:
    running = keys_in(tmp_path, clock)
    good = running.signing()
    wrong = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "keys" / "20250824T103001.000000Z-0badc0de.pem"
    file.touch(0o600)
    for content in (wrong, b"no key"):
        file.write_bytes(content)
        with pytest.raises(InvalidSettings, match="not a P-256 key"):
            keys_in(tmp_path, clock).all()
    assert running.signing().kid == good.kid
    assert running.verifying(good.kid) is not None
