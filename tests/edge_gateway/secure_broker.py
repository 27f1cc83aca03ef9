"""A real mosquitto with the shipped TLS and access configuration, on a free loopback port."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local.ports import free_port, is_listening
from deploy.local.process import START_LIMIT_S, Service

SHIPPED = Path(__file__).parents[2] / "deploy" / "mosquitto"
PASSWORD = "a password of the test"


class SecureBroker:
    """mosquitto with the configuration in `deploy/mosquitto`; all accounts have the same password.

    Attributes:
        ca: certificate of the authority that signed the broker's certificate.
        password_file: for the gateway's configuration.
    """

    def __init__(self, directory: Path, *accounts: str) -> None:
        self.port = free_port()
        self.ca, self.password_file = directory / "ca.pem", directory / "password"
        self.password_file.write_text(PASSWORD + "\n")
        make_certificates(directory)
        (directory / "acl").write_text((SHIPPED / "acl").read_text())
        (directory / "acl").chmod(0o600)
        passwords = directory / "passwords"
        passwords.touch(mode=0o600)
        for account in accounts:
            subprocess.run(["mosquitto_passwd", "-b", passwords, account, PASSWORD], check=True)
        settings = (SHIPPED / "mosquitto.conf").read_text()
        settings = settings.replace("/etc/mosquitto/kidjamo", str(directory))
        settings = settings.replace("/var/lib/mosquitto/", f"{directory}/")
        settings = settings.replace("listener 8883", f"listener {self.port} 127.0.0.1")
        if os.geteuid() == 0:
            settings += "user root\n"
        config = directory / "mosquitto.conf"
        config.write_text(settings)
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        command = ["env", f"PATH={path}", "mosquitto", "-c", str(config)]
        self._service = Service("MQTT broker", command, log=directory / "mqtt.log")

    def start(self) -> None:
        """Start the broker and wait until clients can connect."""
        self._service.start()
        self._service.wait_until(lambda: is_listening(self.port), START_LIMIT_S)

    def stop(self) -> None:
        """Stop the broker."""
        self._service.stop()


def make_certificates(directory: Path) -> None:
    """Write an authority (ca.pem) and a certificate for 127.0.0.1 signed by it (broker.pem, broker.key)."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    now = datetime.now(UTC)

    def begin(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    authority = begin(ca_name, ca_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    broker_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    broker = begin(broker_name, key.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
    )
    for name, builder in (("ca", authority), ("broker", broker)):
        signed = builder.sign(ca_key, hashes.SHA256())
        (directory / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (directory / "broker.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
