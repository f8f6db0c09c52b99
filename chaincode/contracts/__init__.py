"""The contracts: one module each, a class of typed transactions."""

from chaincode.contracts.ceremony import CeremonyContract
from chaincode.contracts.consortium import ConsortiumContract
from chaincode.contracts.dataset import DatasetContract
from chaincode.contracts.framework import Router
from chaincode.contracts.model import ModelContract
from chaincode.contracts.node import NodeContract
from chaincode.contracts.plan import PlanContract
from chaincode.contracts.round import RoundContract

__all__ = ["chaincode"]


def chaincode() -> Router:
    """The whole chaincode, every transaction of the table."""
    return Router(
        [
            ConsortiumContract(),
            NodeContract(),
            DatasetContract(),
            PlanContract(),
            CeremonyContract(),
            RoundContract(),
            ModelContract(),
        ]
    )
