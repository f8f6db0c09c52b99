"""A chaincode service's authority and files."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pki import Authority, make_authority

from chaincode.shim.server import ServerConfig


@pytest.fixture
def authority() -> Authority:
    return make_authority()


@pytest.fixture
def config(authority: Authority, tmp_path: Path) -> ServerConfig:
    cert_file, key_file, ca_file = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    certificate, key = authority.issue("service")
    cert_file.write_bytes(certificate)
    key_file.touch(0o600)
    key_file.write_bytes(key)
    ca_file.write_bytes(authority.pem)
    return ServerConfig("127.0.0.1:0", "medfabric:hash", cert_file, key_file, ca_file)
