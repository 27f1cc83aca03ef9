"""TLS of the API: versions, certificates and keys."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from cloud_ingest.api.tls import server_context
from cloud_ingest.errors import InvalidSettings
from cloud_ingest.settings import Settings
from tests.cloud_ingest.running import NOWHERE, ServedApi, environment
from tests.edge_gateway.secure_broker import make_certificates


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    make_certificates(tmp_path)
    (tmp_path / "broker.key").chmod(0o600)
    return {
        "API_TLS_CERT_FILE": str(tmp_path / "broker.pem"),
        "API_TLS_KEY_FILE": str(tmp_path / "broker.key"),
    }


def test_serve_accepts_tls_1_2_or_newer_only(tmp_path: Path, files: dict[str, str]) -> None:
    with ServedApi(environment(tmp_path, NOWHERE, **files), tmp_path) as api:
        assert api.url.startswith("https://127.0.0.1:")
        trusted = httpx.create_ssl_context(verify=str(tmp_path / "ca.pem"))
        assert httpx.get(f"{api.url}/health", verify=trusted).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(api.url.replace("https:", "http:") + "/health")
        port = int(api.url.rpartition(":")[2])
        assert handshake(tmp_path, port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(tmp_path, port, ssl.TLSVersion.TLSv1_1)
        assert api.stop() == 0


def handshake(directory: Path, port: int, version: ssl.TLSVersion) -> str | None:
    """Return the version negotiated by a client that supports one version only."""
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        return connection.version()


def refusal(files: dict[str, str]) -> str:
    with pytest.raises(InvalidSettings) as refused:
        server_context(Settings.from_environment(files))
    return str(refused.value)


def test_server_context_is_none_without_files() -> None:
    assert server_context(Settings.from_environment({})) is None


def test_key_others_can_read_is_refused(files: dict[str, str]) -> None:
    Path(files["API_TLS_KEY_FILE"]).chmod(0o644)
    assert "chmod 600" in refusal(files)


def test_missing_files_are_named(files: dict[str, str], tmp_path: Path) -> None:
    for variable in files:
        assert refusal(files | {variable: str(tmp_path / "none")}).startswith(
            f"{variable} {tmp_path}/none: No such"
        )


def test_key_of_another_certificate_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    make_certificates(tmp_path / "other")
    assert "do not match" in refusal(files | {"API_TLS_CERT_FILE": str(tmp_path / "other/broker.pem")})


def test_file_that_is_not_pem_is_refused(files: dict[str, str]) -> None:
    Path(files["API_TLS_CERT_FILE"]).write_text("not a certificate")
    assert "must be PEM files" in refusal(files)


def test_key_with_a_passphrase_is_refused_without_a_prompt(files: dict[str, str], tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    command = [
        "openssl",
        "pkey",
        "-in",
        files["API_TLS_KEY_FILE"],
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        str(locked),
    ]
    subprocess.run(command, check=True)
    locked.chmod(0o600)
    assert "openssl pkey" in refusal(files | {"API_TLS_KEY_FILE": str(locked)})
