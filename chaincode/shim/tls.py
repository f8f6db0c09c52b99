"""A service's key and certificates, read again when their files are replaced."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from chaincode.shim import logs

log = logging.getLogger("medfabric.shim")


@dataclass(frozen=True)
class Material:
    """PEM: the private key, its certificate chain, and the authorities of callers."""

    key: bytes
    certificate: bytes
    client_authorities: bytes


class TlsFiles:
    """The three files of a TLS service. The key's file is its owner's alone (0600).

    A certificate is renewed by replacing the files; connections made from then on use them. While
    they do not fit together, half-way through, the former ones stay in use.

    Raises:
        PermissionError: others than its owner may read the key's file.
        OSError: a file is missing, or no PEM of its kind.
    """

    def __init__(self, certificate: Path, key: Path, client_authorities: Path) -> None:
        self.certificate = certificate
        self.key = key
        self.client_authorities = client_authorities
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._version = 0
        self.material = self._read()

    def version(self) -> int:
        """Look at the files; how often :attr:`material` has been replaced."""
        with self._lock:
            try:
                stamp = self._stamp_now()
                if stamp == self._stamp:
                    return self._version
                self.material = self._read()
            except OSError as error:
                logs.event(log, logging.WARNING, f"the certificates stay as they were: {error}")
                return self._version
            self._stamp = stamp
            self._version += 1
            logs.event(log, logging.INFO, "certificates renewed")
            return self._version

    def _stamp_now(self) -> list[tuple[int, int, int]]:
        paths = (self.certificate, self.key, self.client_authorities)
        found = [path.stat() for path in paths]
        return [(one.st_ino, one.st_mtime_ns, one.st_size) for one in found]

    def _read(self) -> Material:
        material = Material(
            _private(self.key), self.certificate.read_bytes(), self.client_authorities.read_bytes()
        )
        try:
            certificate = x509.load_pem_x509_certificate(material.certificate).public_key()
            key = load_pem_private_key(material.key, None).public_key()
            x509.load_pem_x509_certificates(material.client_authorities)
        except (ValueError, TypeError) as error:
            raise OSError(f"{self.certificate.parent}: no PEM of its kind: {error}") from None
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if certificate.public_bytes(*form) != key.public_bytes(*form):
            raise OSError(f"{self.certificate} is not the certificate of {self.key}")
        return material


def _private(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} is open to others than its owner; chmod 600 it")
    return path.read_bytes()
