"""TLS of our servers: certificate, key and the authorities of clients, read again when their files change.

cert.pem, key.pem, ca.pem ─▶ ServerTls ─▶ context (HTTP) ┊ pem (gRPC)
              └── renew, once a second ──▲  new connections get the new certificate, open ones stay
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from infergraph.auth.file_version import file_version
from infergraph.errors import SettingsError
from infergraph.settings import ClientCertificates, Settings

_log = logging.getLogger(__name__)


class Pem(NamedTuple):
    """The texts of the files; `roots` is None where clients need no certificate."""

    key: bytes
    chain: bytes
    roots: bytes | None


class ServerTls:
    """The TLS settings of a server, TLS 1.2 and later.

    Args:
        cert: file with the certificate and its chain.
        key: file with its private key.
        client_ca: file with the authorities of client certificates; None to ask for none.
        needs_certificate: whether a client without a certificate is refused.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None, *, needs_certificate: bool = True) -> None:
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self.needs_certificate = client_ca is not None and needs_certificate

    def open(self) -> ServerTls:
        """Read the files. Raises: SettingsError that names the one that cannot be used."""
        self._seen = self._version()
        self.context = self._read()
        return self

    def renew(self) -> None:
        """Read the files again if one has changed; files that do not fit together leave all as it was."""
        seen = self._version()
        if seen == self._seen:
            return
        try:
            self._read()  # into a context of its own: half of a change would spoil the one in use
            self._load(self.context)
        except SettingsError as fault:
            _log.warning("the certificate cannot be read again yet", extra={"why": fault.text})
            return
        self._seen = seen
        _log.info("the certificate was read again", extra={"file": str(self._cert)})

    def pem(self) -> Pem:
        """The texts of the files. Raises: OSError."""
        roots = None if self._client_ca is None else self._client_ca.read_bytes()
        return Pem(self._key.read_bytes(), self._cert.read_bytes(), roots)

    def version(self) -> tuple[Any, ...]:
        """Equal as long as the files have not been read again."""
        return self._seen

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        self._load(context)
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED if self.needs_certificate else ssl.CERT_OPTIONAL
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        """Load the files into a context. Raises: SettingsError that names the one that cannot be used."""
        try:
            context.load_cert_chain(self._cert, self._key)
        except ssl.SSLError as error:
            raise SettingsError(f"tls_cert {self._cert}, tls_key {self._key}: {_reason(error)}") from error
        except OSError as error:
            raise SettingsError(f"tls_cert {self._cert}, tls_key {self._key}: {error.strerror}") from error
        if self._client_ca is None:
            return
        try:
            context.load_verify_locations(self._client_ca)
        except ssl.SSLError as error:
            raise SettingsError(f"tls_client_ca {self._client_ca}: {_reason(error)}") from error
        except OSError as error:
            raise SettingsError(f"tls_client_ca {self._client_ca}: {error.strerror}") from error

    def _version(self) -> tuple[Any, ...]:
        files = (self._cert, self._key, self._client_ca)
        return tuple(None if file is None else file_version(file) for file in files)


def server_tls(settings: Settings) -> ServerTls | None:
    """The TLS settings of a server; None for plain connections. Raises: SettingsError."""
    if not settings.tls_cert:
        for name in ("tls_key", "tls_client_ca"):
            if getattr(settings, name):
                raise SettingsError(f"{name} needs tls_cert, too")
        return None
    return ServerTls(
        Path(settings.tls_cert),
        Path(settings.tls_key or settings.tls_cert),
        Path(settings.tls_client_ca) if settings.tls_client_ca else None,
        needs_certificate=settings.tls_client_certificates is ClientCertificates.REQUIRED,
    ).open()


def subject_of(certificate: Mapping[str, Any] | None) -> str:
    """The name in a client's verified certificate: its common name, else its first alternative name; empty for none.

    Args:
        certificate: as `ssl.SSLSocket.getpeercert` gives it.
    """
    if not certificate:
        return ""
    fields = {name: value for part in certificate.get("subject", ()) for name, value in part}
    alternatives = [value for _, value in certificate.get("subjectAltName", ())]
    return str(fields.get("commonName") or next(iter(alternatives), "") or "certificate")


def _reason(error: ssl.SSLError) -> str:
    reason = (error.reason or "").replace("_", " ").lower()
    return reason or "neither is PEM, or the key is encrypted"
