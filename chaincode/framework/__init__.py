"""Contracts as classes of typed transactions: declared, checked and documented from one place.

A contract is a class; :func:`transaction` declares its methods; a :class:`Router` over contracts is
a chaincode for :mod:`chaincode.shim`. MedFabric's own contracts run on it, and so can any other's:
docs/how-to/write-a-contract.md.
"""

from chaincode.framework.context import Context
from chaincode.framework.declaring import transaction
from chaincode.framework.metadata import METADATA_TRANSACTION, Info
from chaincode.framework.router import ARGUMENT_LIMIT, Router

__all__ = [
    "ARGUMENT_LIMIT",
    "METADATA_TRANSACTION",
    "Context",
    "Info",
    "Router",
    "transaction",
]
