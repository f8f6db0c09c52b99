"""The contracts: one module each, a class of typed transactions."""

from chaincode.contracts.application import ApplicationContract
from chaincode.contracts.ceremony import CeremonyContract
from chaincode.contracts.classifier import ClassifierContract
from chaincode.contracts.complaint import ComplaintContract
from chaincode.contracts.consortium import ConsortiumContract
from chaincode.contracts.dataset import DatasetContract
from chaincode.contracts.dispute import DisputeContract
from chaincode.contracts.framework import Context, admit
from chaincode.contracts.grouptest import GroupTestContract
from chaincode.contracts.hospital import HospitalContract
from chaincode.contracts.inference import InferenceContract
from chaincode.contracts.masking import MaskingContract
from chaincode.contracts.model import ModelContract
from chaincode.contracts.node import NodeContract
from chaincode.contracts.place import PlaceContract
from chaincode.contracts.plan import PlanContract
from chaincode.contracts.policy import PolicyContract
from chaincode.contracts.private import PrivateContract
from chaincode.contracts.provenance import ProvenanceContract
from chaincode.contracts.reputation import ReputationContract
from chaincode.contracts.round import RoundContract
from chaincode.contracts.sharing import SharingContract
from chaincode.contracts.storage import StorageContract
from chaincode.contracts.study import StudyContract
from chaincode.framework import Info, Router
from chaincode.schema.transactions import TRANSACTIONS

__all__ = ["VERSION", "chaincode"]

VERSION = "0.1.0"


def chaincode() -> Router:
    """The whole chaincode, every transaction of the table."""
    return Router(
        [
            ConsortiumContract(),
            PolicyContract(),
            NodeContract(),
            DatasetContract(),
            HospitalContract(),
            PlanContract(),
            PlaceContract(),
            CeremonyContract(),
            RoundContract(),
            MaskingContract(),
            DisputeContract(),
            GroupTestContract(),
            ModelContract(),
            InferenceContract(),
            ReputationContract(),
            ComplaintContract(),
            ProvenanceContract(),
            ClassifierContract(),
            ApplicationContract(),
            SharingContract(),
            PrivateContract(),
            StorageContract(),
            StudyContract(),
        ],
        Info("MedFabric", VERSION),
        table=TRANSACTIONS,
        context=Context,
        admit=admit,
    )
