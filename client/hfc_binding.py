"""Lets hfc, the Fabric SDK of 2019, run on today's libraries.

hfc brings messages generated for protobuf 3 and asks for aiogrpc, neither of which works with
current releases, and for ``_sha256``, which Python has had no more since 3.12. Here its names are
bound to ``fabric_protos``, ``grpc.aio`` and ``hashlib``. We use hfc for
what it is good at: identities from Fabric's certificate authority. Its admins also sign and submit
the changes of a channel that :mod:`client.configuration` prepares; computing them it leaves to
Fabric's programs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from chaincode.schema.errors import Code, MedFabricError

_OLD, _NEW = "hfc.protos", "fabric_protos"
# hfc's own helpers over the messages, and the package itself, stay hfc's.
_KEPT = frozenset({"hfc.protos", "hfc.protos.utils"})


class _Alias(Loader):
    """Gives the module of today under the old name."""

    def __init__(self, today: str) -> None:
        self._module = importlib.import_module(today)
        self._spec = self._module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # It was executed under its own name, and is to keep the spec that says so.
        module.__spec__ = self._spec


class _Transport(Loader):
    """aiogrpc's names: those of ``grpc.aio``, and credentials, which have moved to ``grpc``."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        today = importlib.import_module("grpc.aio")
        module.__dict__.update({name: getattr(today, name) for name in today.__all__})
        credentials = importlib.import_module("grpc").ssl_channel_credentials
        module.__dict__["ssl_channel_credentials"] = credentials


class _Hash(Loader):
    """The one name of ``_sha256``."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["sha256"] = hashlib.sha256


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "aiogrpc":
            return ModuleSpec(fullname, _Transport())
        if fullname == "_sha256":
            return ModuleSpec(fullname, _Hash())
        if not fullname.startswith(_OLD + ".") or fullname in _KEPT:
            return None
        today = _NEW + fullname.removeprefix(_OLD)
        if importlib.util.find_spec(today) is None:
            return None
        return ModuleSpec(fullname, _Alias(today), is_package=not fullname.endswith("_pb2"))


def bind() -> None:
    """Make ``import hfc.…`` work in this process; to be called before the first such import.

    Raises:
        MedFabricError: ``TOOL_MISSING``: it is not a requirement of the package, for its own are of
            2019.
    """
    if importlib.util.find_spec("hfc") is None:
        raise MedFabricError(
            Code.TOOL_MISSING,
            "fabric-sdk-py, which speaks to fabric-ca-server, is not here; install it by "
            "`pip install --no-deps fabric-sdk-py==1.0.0`",
        )
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def primitives() -> Any:
    """hfc's cryptography, for ECDSA P-256 with SHA-256."""
    bind()
    from hfc.util.crypto.crypto import ecies

    made = ecies()
    made.curve = _Curve()
    return made


class _Curve(ec.SECP256R1):
    """hfc keeps the curve's class and calls it in one place, but not where a key is made."""

    def __call__(self) -> _Curve:
        return self
