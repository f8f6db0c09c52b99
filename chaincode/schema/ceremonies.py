"""Key ceremonies: a collective key whose secret nobody holds."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from chaincode.schema.base import ContentRef, Id, Language, MspId, Reason, Seconds, Sha256

Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

# P-256 (SP 800-186, 3.2.1.3): y^2 = x^3 - 3 x + b modulo p.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def _on_curve(point: str) -> str:
    x, y = int(point[2:66], 16), int(point[66:], 16)
    if max(x, y) >= _P or (y * y - x**3 + 3 * x - _B) % _P:
        raise ValueError("not a point of P-256")
    return point


TransportKey = Annotated[
    str, StringConstraints(pattern=r"^04[0-9a-f]{128}$"), AfterValidator(_on_curve)
]
"""A point of P-256, uncompressed (SEC 1, 2.3.3), made for one ceremony."""


Receiving = Annotated[tuple[TransportKey, ...], Field(max_length=64)]
"""One for each of a ceremony's dealers, in their order."""

Bound = Annotated[tuple[Sha256, ...], Field(max_length=64)]
"""Hashes of commitments, in the order of the plan's hospitals."""


class CeremonyStatus(StrEnum):
    COMMIT = "COMMIT"
    REVEAL = "REVEAL"
    CONFIRM = "CONFIRM"
    JUDGE = "JUDGE"
    DONE = "DONE"
    FAILED = "FAILED"


class Ceremony(Language):
    """``hospitals`` hold the key together; ``dealers`` show and deal their parts of it: all of
    them, or where it is handed on as many of its earlier holders as decrypted before, in the
    earlier plan's order, those in front that go on. ``missing`` names those whom a failure waited
    for, ``culprits`` those whom most hospitals found at fault."""

    plan_id: Id
    status: CeremonyStatus
    hospitals: tuple[MspId, ...]
    dealers: tuple[MspId, ...]
    deadline: Seconds
    collective_key_sha256: Sha256 | None = None
    missing: tuple[MspId, ...] = ()
    culprits: tuple[MspId, ...] = ()
    reason: Reason = ""

    @property
    def parties(self) -> tuple[str, ...]:
        """The hospitals, and after them dealers that do not go on."""
        return (*self.hospitals, *(d for d in self.dealers if d not in self.hospitals))

    def owing(self, stage: CeremonyStatus) -> tuple[str, ...]:
        """Who has something to give in a stage."""
        match stage:
            case CeremonyStatus.COMMIT:
                return self.parties
            case CeremonyStatus.REVEAL:
                return self.dealers
            case CeremonyStatus.CONFIRM | CeremonyStatus.JUDGE:
                return self.hospitals
        return ()


class KeyCommitment(Language):
    """``transport_key``: under what others encrypt what they deal to this hospital, where the plan
    has a threshold; where updates are masked it is all that a hospital posts.

    A key that is handed on is in use before and after. There each dealer's has a key of its own,
    ``receiving``, so that an accusation opens what this one dealt and no other; by
    ``transport_key`` this hospital deals itself."""

    plan_id: Id
    msp_id: MspId
    commitment_sha256: Sha256 | None
    transport_key: TransportKey | None = None
    receiving: Receiving = ()
    posted_at: Seconds


class KeyShare(Language):
    """A hospital's public share of the collective key, opened after every commitment stood; or its
    public part in handing a key on.

    ``dealing``: what it deals to every hospital, encrypted, and ``bound`` what each of these parts
    is committed to (``trainer.privacy.commitments``), where anything is dealt. ``key``: the
    collective key where it is handed on; ``nonce`` opens the commitment where it is not.
    """

    plan_id: Id
    msp_id: MspId
    share: ContentRef
    dealing: ContentRef | None = None
    bound: Bound = ()
    nonce: Nonce | None = None
    key: ContentRef | None = None
    posted_at: Seconds


class KeyConfirmation(Language):
    """The collective key's hash as this hospital computed it from all shares."""

    plan_id: Id
    msp_id: MspId
    collective_key_sha256: Sha256
    posted_at: Seconds


class KeyAccusation(Language):
    """A hospital says that a dealer's key share is unsound, or what it dealt to the accuser.

    The latter it proves by opening its ``transport_secret`` of this ceremony: everybody can then
    decrypt what was dealt to it, of a key that will never be used; or where a key is handed on,
    what this dealer dealt to it.
    """

    plan_id: Id
    msp_id: MspId
    dealer: MspId
    transport_secret: Nonce | None
    posted_at: Seconds


class KeyVerdict(Language):
    """Whom this hospital finds at fault, having checked every accusation for itself."""

    plan_id: Id
    msp_id: MspId
    culprits: tuple[MspId, ...]
    posted_at: Seconds


KeyPost = KeyCommitment | KeyShare | KeyConfirmation | KeyAccusation | KeyVerdict
"""What a hospital gives in a ceremony."""


def commitment(nonce: str, share_sha256: str) -> str:
    """Hex SHA-256 over nonce and share hash (32 bytes each, given as hex)."""
    return hashlib.sha256(bytes.fromhex(nonce) + bytes.fromhex(share_sha256)).hexdigest()


# Arguments


class CommitArgs(Language):
    plan_id: Id
    commitment_sha256: Sha256 | None = None
    transport_key: TransportKey | None = None
    receiving: Receiving = ()


class RevealArgs(Language):
    plan_id: Id
    share: ContentRef
    nonce: Nonce | None = None
    dealing: ContentRef | None = None
    bound: Bound = ()
    key: ContentRef | None = None


class ConfirmArgs(Language):
    plan_id: Id
    collective_key_sha256: Sha256


class AccuseArgs(Language):
    plan_id: Id
    dealer: MspId
    transport_secret: Nonce | None = None


class JudgeArgs(Language):
    plan_id: Id
    culprits: Annotated[tuple[MspId, ...], Field(max_length=64)]


# Results


class CeremonyView(Language):
    ceremony: Ceremony
    commitments: tuple[KeyCommitment, ...]
    shares: tuple[KeyShare, ...]
    confirmations: tuple[KeyConfirmation, ...]
    accusations: tuple[KeyAccusation, ...] = ()
    verdicts: tuple[KeyVerdict, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """Who has given what the stage asks for."""
        posts: dict[CeremonyStatus, tuple[KeyPost, ...]] = {
            CeremonyStatus.COMMIT: self.commitments,
            CeremonyStatus.REVEAL: self.shares,
            CeremonyStatus.CONFIRM: (*self.confirmations, *self.accusations),
            CeremonyStatus.JUDGE: self.verdicts,
        }
        return tuple(post.msp_id for post in posts.get(self.ceremony.status, ()))

    @property
    def missing(self) -> tuple[str, ...]:
        """Who has not."""
        given = set(self.given)
        return tuple(h for h in self.ceremony.owing(self.ceremony.status) if h not in given)
