"""Additive secret sharing: a plan's terms for it, and what nodes and hospitals post in a round.

A node's update is a vector of integers in a ring, under masks that cancel in the sum of all
(Bonawitz et al. 2017). Each node deals its two secrets of a round to the plan's hospitals, any
``threshold`` of which recover one: the key of its pairwise masks if it dropped out, its own mask's
seed if it did not, and the ledger's sealed set says for everybody which of the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from chaincode.schema.base import ContentRef, Id, Language, MspId, RoundNumber, Seconds, Sha256
from chaincode.schema.ceremonies import TransportKey
from chaincode.schema.encryption import Workload
from chaincode.schema.errors import Code, MedFabricError

SHARE_BYTES = 32
MOST_NODES = 64
"""As many as a round has on one page."""
Share = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
"""Of a secret, in hex; empty where the hospital was dealt none that it can open."""


class MaskingTerms(Language):
    """Values are rounded to whole multiples of clip / ``levels``, multiplied by their node's weight
    and summed modulo 2^(8 ``width``). ``threshold``: hospitals that recover a secret."""

    scheme: Literal["secret-sharing-v1"] = "secret-sharing-v1"
    threshold: Annotated[int, Field(ge=2, le=64)]
    levels: Annotated[int, Field(ge=1, le=2**40)]
    weight_bits: Annotated[int, Field(ge=1, le=14)] = 10
    clip_micro: Annotated[int, Field(ge=1, le=10**9)] = 8_000_000

    @property
    def width(self) -> int:
        """Bytes of a value: room for the largest sum, its sign, and a bit that stays free."""
        return -(-((self.levels << self.weight_bits).bit_length() + 2) // 8)


def refusal(terms: MaskingTerms, work: Workload) -> str | None:
    """Why the terms do not do for this work, or None where they do."""
    if not work.hospitals < 2 * terms.threshold <= 2 * work.hospitals:
        return "the threshold must be more than half of the hospitals, and no more than all"
    if work.updates > MOST_NODES:
        return f"masks are agreed by every pair of nodes: of at most {MOST_NODES}"
    if 2 * work.updates > 1 << terms.weight_bits:
        return "the weights' resolution is too small for so many updates"
    if terms.levels << terms.weight_bits > 1 << 53:
        return "weights times levels exceed what is decoded exactly; lower one of them"
    return None


def choose(
    work: Workload, *, clip_micro: int, error_nano: int, threshold: int, weight_bits: int = 10
) -> MaskingTerms:
    """The smallest updates that do.

    Args:
        error_nano: largest absolute error of the mean, in units of 1e-9.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED`` with the reason where no terms do.
    """
    terms = MaskingTerms(
        threshold=threshold,
        levels=-(-1000 * clip_micro // (2 * error_nano)),
        weight_bits=weight_bits,
        clip_micro=clip_micro,
    )
    if refused := refusal(terms, work):
        raise MedFabricError(Code.PARAMETERS_REFUSED, f"no terms do: {refused}; ask for less")
    return terms


# What is posted


class BoundShares(Language):
    """What binds the shares that a node deals to one hospital: of its pairwise masks' key, and of
    its own mask's seed."""

    pairwise_sha256: Sha256
    own_sha256: Sha256


class MaskKeys(Language):
    """A node's keys of one round, and what it deals to the hospitals.

    ``mask_key``: others agree pairwise masks with it. ``channel_key``: its shares are encrypted
    with another one, for the first may be recovered. ``own_sha256``: of its own mask's seed.
    ``bound``: by hospital, in the plan's order.
    """

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    mask_key: TransportKey
    channel_key: TransportKey
    dealing: ContentRef
    own_sha256: Sha256
    bound: tuple[BoundShares, ...]
    posted_at: Seconds


class Masked(Language):
    """A node whose masks the others count on, and the weight that it multiplies its update by."""

    msp_id: MspId
    node_id: Id
    weight: Annotated[int, Field(ge=1, le=2**20)]


class Masking(Language):
    """Whose keys came in time, fixed before anybody masks; sorted by (msp_id, node_id)."""

    plan_id: Id
    round: RoundNumber
    nodes: tuple[Masked, ...]


class Unmasking(Language):
    """A hospital's shares, in the order of the round's masking: of a node with an accepted update
    that of its own mask's seed, of any other that of its pairwise masks' key."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    aggregate_sha256: Sha256
    shares: tuple[Share, ...]
    posted_at: Seconds


# Arguments


class PostMaskKeysArgs(Language):
    plan_id: Id
    round: RoundNumber
    mask_key: TransportKey
    channel_key: TransportKey
    dealing: ContentRef
    own_sha256: Sha256
    bound: Annotated[tuple[BoundShares, ...], Field(min_length=2, max_length=64)]


class UnmaskArgs(Language):
    plan_id: Id
    round: RoundNumber
    aggregate_sha256: Sha256
    shares: Annotated[tuple[Share, ...], Field(min_length=2, max_length=1024)]


def bound_sha256(plan_id: str, number: int, place: Iterable[str], kind: str, share: str) -> str:
    """What binds a share, which is as good as random itself.

    Args:
        place: hospital and node that dealt it, and the hospital that it was dealt to.
        kind: ``pairwise`` or ``own``.
        share: in hex.
    """
    said = "\x00".join(("MFS1 share", plan_id, str(number), *place, kind, share))
    return hashlib.sha256(said.encode("ascii")).hexdigest()


def round_context(terms_sha256: str, number: int) -> bytes:
    """What one round's masks are bound to; round 0 stands for the plan."""
    return hashlib.sha256(f"MFS1 context {terms_sha256} {number}".encode("ascii")).digest()
