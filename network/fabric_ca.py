"""Identities from a hospital's ``fabric-ca-server``, spoken to through hfc.

The server signs with the hospital's own signing authority, so its identities and those of
:mod:`network.crypto` are members of the same MSP. TLS certificates stay the TLS authority's.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from requests.auth import AuthBase

from chaincode.schema.errors import Code, MedFabricError
from client import hfc_binding, tools
from network import binaries, crypto
from network.operations import session
from network.processes import Spec
from network.topology import HOST, Hospital, Layout

_REGISTRAR = "registrar"
_HOURS_OF_MEMBER = 5 * 365 * 24
_ATTRIBUTES = [{"name": crypto.ROLES, "optional": True}]
"""What certificates say; without being asked the server would add three that nobody reads."""


def spec(layout: Layout, hospital: Hospital) -> Spec:
    """How the server is started."""
    folder = _folder(layout, hospital)
    command = [
        str(tools.find(binaries.AUTHORITY) or binaries.AUTHORITY),
        "start",
        "--home",
        str(folder),
    ]
    return Spec(f"{hospital.slug}.ca", command, {"FABRIC_CA_SERVER_LOGLEVEL": "warning"}, folder)


def prepare(layout: Layout, hospital: Hospital) -> None:
    """Write what the server reads, and the secret by which its registrar enrols, once."""
    folder = _folder(layout, hospital)
    secret = secrets.token_urlsafe(32)
    config = json.dumps(_server_config(layout, hospital, secret), indent=1).encode()
    crypto.write_secret(folder / "fabric-ca-server-config.yaml", config)
    crypto.write_secret(folder / "registrar.secret", secret.encode())


@dataclass(frozen=True)
class _Registrar:
    """Who asks. Field names are those of hfc's ``Enrollment``, in whose place it stands."""

    _private_key: ec.EllipticCurvePrivateKey
    _cert: bytes


class Service:
    """A hospital's running certificate authority, used by its registrar.

    Raises:
        MedFabricError: ``UNREACHABLE`` where the server does not answer, ``CA_REFUSED`` with its
            words where it refuses; on construction and by every method.
    """

    def __init__(self, layout: Layout, hospital: Hospital) -> None:
        self._layout, self._hospital = layout, hospital
        self._session = _session(layout, hospital)
        hfc_binding.bind()
        from hfc.fabric_ca.caservice import CAService

        self._primitives = hfc_binding.primitives()
        self._hfc = CAService(target=_target(hospital), crypto=self._primitives)
        # hfc knows no client certificates, and signs its token as the server did before 1.4.
        client = self._hfc._ca_client
        client.generateAuthToken = lambda _, registrar: _Token(registrar, self._primitives)
        for method in ("post", "get", "delete"):
            setattr(client, f"_send_ca_{method}", partial(self._send, method))
        self._registrar = self._open_registrar()

    def identity(self, common_name: str, unit: str, roles: Sequence[str] = ()) -> crypto.Pair:
        """Register an identity with its roles, and enrol it."""
        attributes = [{"name": crypto.ROLES, "value": ",".join(sorted(roles)), "ecert": True}]
        named = attributes if roles else []
        register = partial(self._hfc.register, common_name, None, unit, "", 1, named)
        secret = self._asked(partial(register, self._registrar), f"register {common_name}")
        return self._enrolled(common_name, secret)

    def renewed(self, name: str, unit: str, roles: Sequence[str]) -> crypto.Pair:
        """A new key and certificate of an identity, on the strength of the ones it has."""
        folder = self._layout.user(self._hospital.slug, name)
        current = _load(folder / "private_key.pem", folder / "certificate.pem")
        key = ec.generate_private_key(ec.SECP256R1())
        request = {"certificate_request": _csr(name, key), "attr_reqs": _ATTRIBUTES}
        ask = partial(self._hfc._ca_client.reenroll, request, current)
        certificate, _ = self._asked(ask, f"re-enrol {name}")
        return crypto.Pair(certificate, crypto.private_pem(key))

    def revoke(self, name: str) -> bytes:
        """Revoke all certificates of an identity; returns the list of all revoked ones, PEM.

        The channel's peers go by the list in the channel's configuration: it is to be put there.
        """
        ask = partial(self._hfc.revoke, name, "", "", "keycompromise", False, self._registrar)
        self._asked(ask, f"revoke {name}")
        # Asked for on its own: with the revocation comes none where nothing was left to revoke.
        revoked = partial(self._hfc.generateCRL, None, None, None, None, self._registrar)
        return base64.b64decode(self._asked(revoked, "list what is revoked"))

    def names(self) -> list[str]:
        """Everybody that the authority has registered."""
        service = self._hfc.newIdentityService()
        answer = self._asked(partial(service.getAll, self._registrar), "list identities")
        return sorted(identity["id"] for identity in answer["result"]["identities"])

    def _open_registrar(self) -> _Registrar:
        folder = _folder(self._layout, self._hospital)
        key, certificate = folder / "registrar.key", folder / "registrar.pem"
        if not certificate.exists():
            pair = self._enrolled(_REGISTRAR, (folder / "registrar.secret").read_text())
            crypto.write_secret(key, pair.key)
            certificate.write_bytes(pair.certificate)
            # It was good for one enrolment.
            (folder / "registrar.secret").unlink()
        return _load(key, certificate)

    def _enrolled(self, name: str, secret: str) -> crypto.Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        ask = partial(self._hfc._ca_client.enroll, name, secret, _csr(name, key), "", _ATTRIBUTES)
        certificate, _ = self._asked(ask, f"enrol {name}")
        return crypto.Pair(certificate, crypto.private_pem(key))

    def _asked(self, ask: partial[Any], what: str) -> Any:
        where = f"the certificate authority of {self._hospital.slug}"
        try:
            return ask()
        except requests.RequestException as error:
            raise MedFabricError(
                Code.UNREACHABLE,
                f"{where} does not answer ({type(error).__name__}); see 'medfabric network status'",
            ) from None
        except ValueError as error:
            # hfc's only error of its own; its words are the server's.
            raise MedFabricError(Code.CA_REFUSED, f"{where} refuses to {what}: {error}") from None

    def _send(self, method: str, path: str, **param: Any) -> tuple[Any, int]:
        headers = param.get("headers") or {}
        answer = self._session.request(
            method,
            f"{_target(self._hospital)}/api/v1/{path}",
            json=param.get("json"),
            auth=param.get("auth") or headers.get("Authorization"),
            timeout=30,
        )
        return answer.json(), answer.status_code


class _Token(AuthBase):
    """Signs method, address, body and certificate, as the server asks since 1.4."""

    def __init__(self, registrar: _Registrar, primitives: Any) -> None:
        self._registrar = registrar
        self._primitives = primitives

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        certificate = base64.b64encode(self._registrar._cert)
        address = base64.b64encode(request.path_url.encode())
        method = (request.method or "").encode()
        message = b".".join([method, address, base64.b64encode(raw), certificate])
        signature = self._primitives.sign(self._registrar._private_key, message)
        request.headers["Authorization"] = (
            certificate + b"." + base64.b64encode(signature)
        ).decode()
        return request


def healthy(layout: Layout, hospital: Hospital) -> bool:
    """Whether the server answers."""
    try:
        answer = _session(layout, hospital).get(_health(hospital), timeout=3)
    except requests.ConnectionError:
        return False
    return bool(answer.status_code == requests.codes.ok)


def _server_config(layout: Layout, hospital: Hospital, secret: str) -> dict[str, Any]:
    tls = layout.hospital(hospital.slug) / "ca" / "server" / "tls"
    certificate, key, authority = (str(tls / f"{name}.pem") for name in ("cert", "key", "ca"))
    registrar = {
        "name": _REGISTRAR,
        "pass": secret,
        "type": "client",
        "maxenrollments": 1,
        "attrs": {
            "hf.Registrar.Roles": "client,admin,peer,orderer",
            "hf.Registrar.Attributes": crypto.ROLES,
            "hf.Revoker": True,
            "hf.GenCRL": True,
        },
    }
    return {
        "address": HOST,
        "port": hospital.ports.ca,
        "tls": {
            "enabled": True,
            "certfile": certificate,
            "keyfile": key,
            "clientauth": {"type": "RequireAndVerifyClientCert", "certfiles": [authority]},
        },
        "ca": {
            "name": f"ca.{hospital.slug}",
            "certfile": "../signing.pem",
            "keyfile": "../signing.key",
        },
        "crl": {"expiry": "87600h"},
        "registry": {"maxenrollments": -1, "identities": [registrar]},
        "db": {"type": "sqlite3", "datasource": "fabric-ca-server.db"},
        "signing": {"default": {"usage": ["digital signature"], "expiry": f"{_HOURS_OF_MEMBER}h"}},
        "bccsp": {
            "default": "SW",
            "sw": {"hash": "SHA2", "security": 256, "filekeystore": {"keystore": "keystore"}},
        },
        "cfg": {"identities": {"passwordattempts": 3}},
        "operations": {
            "listenAddress": f"{HOST}:{hospital.ports.ca_operations}",
            "tls": {
                "enabled": True,
                "certfile": certificate,
                "keyfile": key,
                "clientcertrequired": True,
                "clientcacertfiles": [authority],
            },
        },
        "metrics": {"provider": "disabled"},
    }


def _csr(name: str, key: ec.EllipticCurvePrivateKey) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _load(key_file: Path, certificate_file: Path) -> _Registrar:
    key = load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key_file} is no elliptic-curve key")
    return _Registrar(key, certificate_file.read_bytes())


def _session(layout: Layout, hospital: Hospital) -> requests.Session:
    # The registrar sits at the server, and is there before the hospital has an admin.
    tls = _folder(layout, hospital) / "tls"
    return session(layout, hospital, tls / "cert.pem", tls / "key.pem")


def _folder(layout: Layout, hospital: Hospital) -> Path:
    return layout.hospital(hospital.slug) / "ca" / "server"


def _target(hospital: Hospital) -> str:
    return f"https://localhost:{hospital.ports.ca}"


def _health(hospital: Hospital) -> str:
    return f"https://localhost:{hospital.ports.ca_operations}/healthz"
