"""This hospital's part in a plan's key ceremony: commit, reveal, confirm."""

from __future__ import annotations

import secrets

from chaincode.schema.base import Language
from chaincode.schema.ceremonies import (
    Ceremony,
    CommitArgs,
    ConfirmArgs,
    KeyCommitment,
    KeyConfirmation,
    KeyShare,
    Nonce,
    RevealArgs,
    commitment,
)
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanArgs
from client.consortium import Consortium
from trainer.node.content import Exchange
from trainer.node.duties import Duty, Snapshot
from trainer.node.home import Home
from trainer.privacy import CollectiveKey, Scheme, SecretShare


class _Opening(Language):
    """What opens this hospital's commitment; secret until every commitment stands."""

    share_sha256: str
    nonce: Nonce


class KeyKeeper:
    """Makes, keeps and uses this hospital's share of each plan's key."""

    def __init__(self, consortium: Consortium, home: Home, exchange: Exchange) -> None:
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._schemes: dict[str, Scheme] = {}
        self._keys: dict[str, CollectiveKey] = {}

    def scheme(self, now: Snapshot) -> Scheme:
        """The plan's encryption scheme; its reference polynomial follows from the terms' hash."""
        terms = now.plan.terms
        if terms.plan_id not in self._schemes:
            seed = bytes.fromhex(now.plan.terms_sha256)
            self._schemes[terms.plan_id] = Scheme(terms.encryption, seed)
        return self._schemes[terms.plan_id]

    def secret(self, now: Snapshot) -> SecretShare:
        """This hospital's secret share; never leaves the node's folder."""
        scheme = self.scheme(now)
        raw = self._home.secret(now.plan.terms.plan_id, lambda: scheme.generate_secret().to_bytes())
        return SecretShare.from_bytes(raw)

    def collective_key(self, now: Snapshot) -> CollectiveKey:
        """The key as computed from the revealed shares; the ledger's hash must be its hash.

        Raises:
            MedFabricError: a share is not what the ledger names, or the sum is another key.
        """
        plan_id = now.plan.terms.plan_id
        if plan_id not in self._keys:
            self._keys[plan_id] = self._compute_key(now)
        key = self._keys[plan_id]
        agreed = now.ceremony.ceremony.collective_key_sha256 if now.ceremony else None
        if agreed is not None and agreed != key.sha256:
            raise MedFabricError(
                Code.KEY_DISAGREEMENT,
                f"the collective key of {plan_id} on the ledger is not the sum of its shares; "
                "abort the plan and audit the hospitals that confirmed it",
            )
        return key

    def _compute_key(self, now: Snapshot) -> CollectiveKey:
        if now.ceremony is None:
            raise MedFabricError(Code.PLAN_NOT_APPROVED, "the plan has no key ceremony yet")
        in_order = sorted(now.ceremony.shares, key=lambda share: share.msp_id)
        shares = [self._exchange.fetch(share.share) for share in in_order]
        return self.scheme(now).collective_key(shares)

    def commit(self, duty: Duty, now: Snapshot) -> None:
        """Make the share, keep what opens it, and commit to its hash."""
        opening = self._opening(now)
        digest = commitment(opening.nonce, opening.share_sha256)
        args = CommitArgs(plan_id=duty.plan_id, commitment_sha256=digest)
        self._consortium.submit("ceremony:Commit", args, KeyCommitment)

    def reveal(self, duty: Duty, now: Snapshot) -> dict[str, int | str]:
        """Store the share and open the commitment."""
        opening = self._opening(now)
        ref = self._exchange.release_kept(opening.share_sha256)
        args = RevealArgs(plan_id=duty.plan_id, share=ref, nonce=opening.nonce)
        self._consortium.submit("ceremony:Reveal", args, KeyShare)
        return {"bytes": ref.size_bytes}

    def confirm(self, duty: Duty, now: Snapshot) -> None:
        """Compute the collective key from all shares and confirm its hash."""
        key = self.collective_key(now)
        args = ConfirmArgs(plan_id=duty.plan_id, collective_key_sha256=key.sha256)
        self._consortium.submit("ceremony:Confirm", args, KeyConfirmation)

    def advance(self, duty: Duty, _: Snapshot) -> None:
        """Move the ceremony on."""
        self._consortium.submit("ceremony:Advance", PlanArgs(plan_id=duty.plan_id), Ceremony)

    def _opening(self, now: Snapshot) -> _Opening:
        # The share is made once: its error term is random, and the commitment binds to one.
        plan_id = now.plan.terms.plan_id
        opening = self._home.record(plan_id, "opening", _Opening)
        if opening is None:
            content = self.scheme(now).public_share(self.secret(now))
            opening = _Opening(
                share_sha256=self._home.keep_content(content), nonce=secrets.token_hex(32)
            )
            self._home.keep(plan_id, "opening", opening)
        return opening
