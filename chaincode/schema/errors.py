"""Every error that MedFabric gives has a stable code, registered here once.

Ranges: 10xx requests and access, 15xx shim, 20xx consortium and nodes, 30xx datasets and privacy
accounts, 35xx applications and storage, 40xx plans and key ceremonies, 50xx rounds and models,
60xx privacy engine, 70xx client, 75xx audit, 80xx network, 85xx devnet, 90xx trainer and data.
"""

from __future__ import annotations

import re
from enum import StrEnum, unique


@unique
class Code(StrEnum):
    """Stable error codes. A code is never given a second meaning and never removed."""

    # requests and access
    UNKNOWN_TRANSACTION = "MF-1001"
    BAD_ARGUMENT = "MF-1002"
    ROLE_REQUIRED = "MF-1003"
    NOT_ADMITTED = "MF-1004"
    NODE_UNREGISTERED = "MF-1005"
    NODE_NOT_ACTIVE = "MF-1006"
    NODE_KEY_MISMATCH = "MF-1007"
    NOT_OWNER = "MF-1008"
    NOT_FOUND = "MF-1009"
    EXISTS = "MF-1010"
    ALREADY = "MF-1011"
    NOT_YET = "MF-1012"
    BAD_STATE = "MF-1013"
    ACCESS_REQUIRED = "MF-1014"
    INTERNAL = "MF-1099"
    # shim
    CLOCK_SKEW = "MF-1501"
    PEER_REFUSED = "MF-1502"
    OVERLOADED = "MF-1503"
    OVERDUE = "MF-1504"
    # consortium and nodes
    NOT_FOUNDED = "MF-2001"
    SECOND_VOTE = "MF-2002"
    NOT_A_VOTER = "MF-2003"
    TERMS_MISMATCH = "MF-2004"
    VOTE_OVER = "MF-2005"
    TOO_FEW_HOSPITALS = "MF-2006"
    KEY_IN_USE = "MF-2007"
    POLICIES_OLD = "MF-2008"
    FORM_OTHER = "MF-2009"
    # datasets and privacy accounts
    CONSENT_MISSING = "MF-3001"
    BUDGET_EXCEEDED = "MF-3002"
    PLAN_BUDGET_EXCEEDED = "MF-3003"
    PRIVACY_TERMS_MISMATCH = "MF-3004"
    PRIVATE_RECORD_MISMATCH = "MF-3005"
    NO_BUDGET = "MF-3006"
    LOCAL_UNPROTECTED = "MF-3007"
    STUDY_LIMIT = "MF-3008"
    # applications and storage
    SCHEMA_REFUSED = "MF-3501"
    RECORD_REFUSED = "MF-3502"
    # plans and key ceremonies
    PLAN_NOT_APPROVED = "MF-4001"
    PLAN_INVALID = "MF-4002"
    NOT_A_PARTICIPANT = "MF-4003"
    COMMITMENT_MISMATCH = "MF-4004"
    KEY_DISAGREEMENT = "MF-4005"
    CEREMONY_OVERDUE = "MF-4006"
    KEY_HOLDER_LEFT = "MF-4007"
    TOO_FEW_PARTICIPANTS = "MF-4008"
    NOT_ELIGIBLE = "MF-4009"
    PLACE_TAKEN = "MF-4010"
    PLAN_ABORTED = "MF-4011"
    DEALER_ACCUSED = "MF-4012"
    STUDY_INVALID = "MF-4013"
    KEY_HANDED_ON = "MF-4014"
    # rounds and models
    DUPLICATE_UPDATE = "MF-5001"
    WRONG_BASE_MODEL = "MF-5002"
    DEADLINE_PASSED = "MF-5003"
    WRONG_SIZE = "MF-5004"
    WRONG_AGGREGATE = "MF-5005"
    QUORUM_MISSED = "MF-5006"
    NO_AGREEMENT = "MF-5007"
    KEY_HOLDER_MISSING = "MF-5008"
    CANDIDATE_REJECTED = "MF-5009"
    DECRYPTION_FAILED = "MF-5010"
    DUPLICATE_CONTRIBUTION = "MF-5011"
    CONTENT_UNUSABLE = "MF-5012"
    NOT_EVALUATED = "MF-5013"
    MODEL_RECALLED = "MF-5014"
    GRANT_MISSING = "MF-5015"
    REPLAYED_UPDATE = "MF-5016"
    WEIGHT_CAP = "MF-5018"
    MASK_SHARE_REFUSED = "MF-5019"
    EVIDENCE_REFUSED = "MF-5020"
    NOT_ANSWERED = "MF-5021"
    # privacy engine
    WIRE_MALFORMED = "MF-6001"
    WIRE_FOREIGN = "MF-6002"
    RESIDUE_RANGE = "MF-6003"
    TRANSPARENT = "MF-6004"
    VALUE_NOT_FINITE = "MF-6005"
    PARAMETERS_REFUSED = "MF-6006"
    SHARES_INCOMPLETE = "MF-6007"
    DECODE_RANGE = "MF-6008"
    KEY_SHARE_INVALID = "MF-6009"
    SUBSHARE_WRONG = "MF-6010"
    CIPHERTEXT_UNSOUND = "MF-6011"
    MEMORY_EXHAUSTED = "MF-6012"
    SHARE_UNPROVEN = "MF-6013"
    NOT_PRIVATE = "MF-6020"
    # client
    BAD_CONNECTION = "MF-7001"
    BAD_IDENTITY = "MF-7002"
    KEY_EXPOSED = "MF-7003"
    IDENTITY_REFUSED = "MF-7004"
    UNREACHABLE = "MF-7010"
    ENDORSE_FAILED = "MF-7011"
    SUBMIT_FAILED = "MF-7012"
    STATUS_UNKNOWN = "MF-7013"
    NOT_COMMITTED = "MF-7014"
    EVENTS_BROKEN = "MF-7015"
    BAD_RESPONSE = "MF-7016"
    EVALUATE_FAILED = "MF-7017"
    CHECKPOINT_UNUSABLE = "MF-7018"
    UNSIGNED = "MF-7019"
    CONTENT_MISSING = "MF-7020"
    CONTENT_TAMPERED = "MF-7021"
    STORE_FAILED = "MF-7022"
    STORE_FULL = "MF-7023"
    STORE_UNREACHABLE = "MF-7024"
    ENVELOPE_REFUSED = "MF-7025"
    TOOL_MISSING = "MF-7030"
    TOOL_FAILED = "MF-7031"
    FILE_UNUSABLE = "MF-7040"
    CONFIG_REFUSED = "MF-7050"
    # audit
    BLOCKS_MISSING = "MF-7501"
    BLOCK_MALFORMED = "MF-7502"
    CHAIN_BROKEN = "MF-7503"
    ORDERERS_UNSIGNED = "MF-7504"
    FLAGS_WRONG = "MF-7505"
    GENESIS_OTHER = "MF-7506"
    CONFIG_UNSUPPORTED = "MF-7507"
    MODEL_UNKNOWN = "MF-7508"
    LINEAGE_BROKEN = "MF-7509"
    PRIVACY_WRONG = "MF-7510"
    CONFIG_WRONG = "MF-7511"
    PROVENANCE_WRONG = "MF-7512"
    REPUTATION_WRONG = "MF-7513"
    # network
    NO_NETWORK = "MF-8001"
    BAD_TOPOLOGY = "MF-8002"
    NO_SUCH_HOSPITAL = "MF-8003"
    NETWORK_EXISTS = "MF-8004"
    BINARY_MISSING = "MF-8005"
    BINARY_WRONG = "MF-8006"
    NOT_HEALTHY = "MF-8007"
    NO_SUCH_PROCESS = "MF-8008"
    CHANNEL_FAILED = "MF-8009"
    LIFECYCLE_FAILED = "MF-8010"
    CA_REFUSED = "MF-8011"
    CARD_REFUSED = "MF-8012"
    # devnet
    LEDGER_DAMAGED = "MF-8501"
    # trainer: models, data, training
    ARCHITECTURE_UNKNOWN = "MF-9001"
    ARCHITECTURE_CONFIG = "MF-9002"
    MODEL_FILE = "MF-9003"
    DATA_FILE = "MF-9004"
    DATA_VALUE = "MF-9005"
    DATA_MISMATCH = "MF-9006"
    TRAINING_REFUSED = "MF-9007"
    APPLICATION_UNKNOWN = "MF-9008"
    STRATEGY_UNKNOWN = "MF-9009"
    DATA_CHANGED = "MF-9010"
    PATIENT_SPLIT = "MF-9011"
    CLASS_EMPTY = "MF-9012"
    UPDATE_REFUSED = "MF-9013"
    ARCHITECTURE_UNFIT = "MF-9014"
    SEALED_DAMAGED = "MF-9015"
    # trainer: the node's own folder and agent
    HOME_BUSY = "MF-9101"
    HOME_DAMAGED = "MF-9102"
    HOME_UNWRITABLE = "MF-9103"
    NODE_CONFIG = "MF-9104"
    PLAN_TAMPERED = "MF-9105"
    AGGREGATE_REFUSED = "MF-9106"
    ENCLAVE_MISSING = "MF-9107"
    ENCLAVE_REFUSED = "MF-9108"


class MedFabricError(Exception):
    """An error with a stable code: what was wrong, and what to do next.

    ``str(error)`` is ``"MF-xxxx: message"``; :func:`parse` reads it back from a peer's response.
    """

    def __init__(self, code: Code | str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = str(code)
        self.message = message

    def __reduce__(self) -> tuple[type[MedFabricError], tuple[str, str]]:
        return (type(self), (self.code, self.message))


_FORM = re.compile(r"(MF-\d{4}): (.*)", re.DOTALL)


def parse(text: str) -> MedFabricError | None:
    """The error that a response message carries, or None where it carries none of ours."""
    found = _FORM.search(text)
    return MedFabricError(found[1], found[2]) if found else None
