"""Fabric's chaincode protocol for Python: a chaincode as a service, synchronous, thread-safe.

A chaincode is an object with :meth:`Chaincode.invoke`; :func:`chaincode.shim.server.serve` runs it.
"""

from chaincode.shim.chaincode import Chaincode, Response
from chaincode.shim.endorsement import Endorser, KeyEndorsementPolicy
from chaincode.shim.identity import AttributeMismatchError, ClientIdentity
from chaincode.shim.stub import PeerError, Stub, composite_key, split_composite_key

__all__ = [
    "AttributeMismatchError",
    "Chaincode",
    "ClientIdentity",
    "Endorser",
    "KeyEndorsementPolicy",
    "PeerError",
    "Response",
    "Stub",
    "composite_key",
    "split_composite_key",
]
