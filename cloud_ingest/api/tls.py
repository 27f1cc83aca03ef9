"""TLS of the server, version 1.2 or newer; errors name the setting and the remedy."""

from __future__ import annotations

import ssl

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.secret_file import read_secret
from cloud_ingest.settings import Settings


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context of the server; None where the settings name no certificate.

    Raises:
        InvalidSettings: the certificate or the key cannot be used.
    """
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return None
    read_secret(key, "API_TLS_KEY_FILE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except ssl.SSLError as error:
        raise InvalidSettings(_remedy(error, f"{certificate} and {key}")) from None
    except OSError as error:
        raise InvalidSettings(f"API_TLS_CERT_FILE {certificate}: {error.strerror}") from None
    return context


def _refuse_passphrase() -> str:
    raise InvalidSettings(
        "API_TLS_KEY_FILE: the key has a passphrase; remove it with openssl pkey -in old.key -out new.key"
    )


def _remedy(error: ssl.SSLError, files: str) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":  # OpenSSL's symbol of the error, not its text
        return f"API_TLS_KEY_FILE: {files} do not match; name the key the certificate was made for"
    return (
        f"API_TLS_CERT_FILE and API_TLS_KEY_FILE: {files} must be PEM files, the server's certificate first"
    )
