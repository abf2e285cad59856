"""TLS for the broker's own socket: a certificate and its key, from files in PEM form."""

import ssl
from pathlib import Path


class BadCertificate(Exception):
    """TLS cannot be had with these files; the text names the setting and the file, and says why."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate (and what else of its chain is in the file). Raises `BadCertificate`."""
    _check("tls_cert", certificate, b"-----BEGIN CERTIFICATE-----", "certificate")
    _check("tls_key", key, b"PRIVATE KEY-----", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    encrypted = False

    def passphrase() -> str:
        """Asked for where the key is encrypted. Nobody is there to give it, and OpenSSL would ask the terminal."""
        nonlocal encrypted
        encrypted = True
        return ""

    try:
        context.load_cert_chain(certificate, key, passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        if encrypted:
            raise BadCertificate(f"tls_key: {key} is encrypted: nobody is there to give its passphrase") from None
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificate(f"tls_key: {key} is not the key of the certificate in {certificate}") from None
        raise BadCertificate(f"tls_cert: {certificate} and {key} cannot be used: {error}") from None
    return context


def _check(setting: str, path: Path, mark: bytes, what: str) -> None:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{setting}: cannot read {path}: {error.strerror}") from None
    if mark not in text:
        raise BadCertificate(f"{setting}: there is no {what} in PEM form in {path}")
