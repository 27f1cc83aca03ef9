"""The page over TLS, and errors in its certificate or key."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import httpx
import pytest

from edge_gateway.cli import main
from edge_gateway.commands.doctor import CheckVerdict, run_checks
from edge_gateway.config import PageConfig
from edge_gateway.config_file import parse_config
from edge_gateway.errors import InvalidConfig, PageUnavailable
from edge_gateway.page.server import listen
from tests.edge_gateway.page.conftest import PIN, Serving
from tests.edge_gateway.secure_broker import make_certificates

CONFIG = """
gateway_id = "gw"
[api]
url = "http://127.0.0.1:9"
[mqtt]
[page]
certificate_file = "{certificate}"
key_file = "broker.key"
"""


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    make_certificates(tmp_path)
    return tmp_path


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


async def test_page_over_tls_logs_in_with_a_secure_cookie_and_streams(
    serving: Serving, certificates: Path
) -> None:
    tls = (certificates / "broker.pem", certificates / "broker.key")
    async with (
        serving(PIN, tls) as served,
        httpx.AsyncClient(base_url=served.url, verify=trusting(certificates / "ca.pem")) as client,
    ):
        assert served.url.startswith("https://")
        answer = await client.post("/login", data={"name": "Fatou", "pin": PIN})
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "Awa" in (await client.get("/")).text
        async with client.stream("GET", "/events") as events:
            line = await anext(events.aiter_lines())
        assert json.loads(line.removeprefix("data: "))["cards"] == 3


async def test_plain_http_is_rejected_with_a_certificate(serving: Serving, certificates: Path) -> None:
    tls = (certificates / "broker.pem", certificates / "broker.key")
    async with serving(PIN, tls) as served, httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(served.url.replace("https:", "http:"))


async def test_certificate_of_an_unknown_authority_is_rejected_by_the_client(
    serving: Serving, certificates: Path
) -> None:
    tls = (certificates / "broker.pem", certificates / "broker.key")
    async with serving(PIN, tls) as served, httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(served.url)


@pytest.mark.parametrize(
    ("certificate", "field", "message"),
    [
        ("missing.pem", "page.certificate_file", "No such file"),
        ("ca.pem", "page.certificate_file", "belong together"),
        ("gateway.toml", "page.certificate_file", "must be PEM"),
    ],
)
def test_unusable_certificate_is_reported_with_its_remedy(
    certificates: Path, capsys: pytest.CaptureFixture[str], certificate: str, field: str, message: str
) -> None:
    path = certificates / "gateway.toml"
    path.write_text(CONFIG.format(certificate=certificate))
    assert main(["check-config", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert field in error
    assert message in error
    config = parse_config(path.read_text(), certificates)
    (finding,) = [each for each in run_checks(config) if each.what == "page"]
    assert (finding.verdict, finding.text.startswith(field)) == (CheckVerdict.BAD, True)
    with pytest.raises(PageUnavailable, match="certificate_file"):  # a state of a running gateway
        listen(config.page or PageConfig())


def test_missing_key_is_reported(certificates: Path) -> None:
    (certificates / "broker.key").unlink()
    config = parse_config(CONFIG.format(certificate="broker.pem"), certificates)
    assert config.page
    with pytest.raises(InvalidConfig, match=r"page\.key_file: cannot be read"):
        config.page.check()
