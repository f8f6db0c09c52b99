"""This hospital's part in a plan's key ceremony: commit, reveal, confirm; accuse and judge."""

from __future__ import annotations

from collections.abc import Callable

from chaincode.schema.base import Language
from chaincode.schema.ceremonies import (
    AccuseArgs,
    Ceremony,
    CeremonyView,
    CommitArgs,
    ConfirmArgs,
    JudgeArgs,
    KeyAccusation,
    KeyCommitment,
    KeyConfirmation,
    KeyShare,
    KeyVerdict,
    Nonce,
    RevealArgs,
    commitment,
)
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.plans import PlanArgs, PlanTerms
from client.consortium import Consortium
from trainer.node.content import Exchange
from trainer.node.duties import Duty, Snapshot
from trainer.node.home import Home
from trainer.privacy import CollectiveKey, KeySecret, Scheme, ShareKey
from trainer.privacy.masking import round_context
from trainer.privacy.ring import Residues
from trainer.privacy.transport import TransportKey
from trainer.privacy.wire import MALFORMED, Kind
from trainer.randomness import Secrets

# What a dealer answers for; anything else that goes wrong may be the store's or our own fault.
_DEALERS_FAULT = MALFORMED | {Code.KEY_SHARE_INVALID, Code.SUBSHARE_WRONG}


class _Opening(Language):
    """What opens this hospital's commitment; secret until every commitment stands."""

    share_sha256: str
    nonce: Nonce


class _DealerFaultError(MedFabricError):
    """Why a dealer is to be accused; ``opens``: of what it dealt to this hospital."""

    def __init__(self, dealer: str, error: MedFabricError, *, opens: bool) -> None:
        super().__init__(error.code, f"{dealer}: {error.message}")
        self.dealer = dealer
        self.opens = opens


class KeyKeeper:
    """Makes, keeps and uses this hospital's share of each plan's key."""

    def __init__(
        self,
        msp_id: str,
        consortium: Consortium,
        home: Home,
        exchange: Exchange,
        secrets: Secrets,
    ) -> None:
        self._msp_id = msp_id
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._secrets = secrets
        self._schemes: dict[str, Scheme] = {}
        self._keys: dict[str, CollectiveKey] = {}

    # what rounds need

    def scheme(self, now: Snapshot) -> Scheme:
        """The plan's encryption scheme; its reference polynomial follows from the terms' hash."""
        terms = now.plan.terms
        assert isinstance(terms.encryption, EncryptionTerms)
        if terms.plan_id not in self._schemes:
            seed = bytes.fromhex(now.plan.terms_sha256)
            self._schemes[terms.plan_id] = Scheme(terms.encryption, terms.workload, seed)
        return self._schemes[terms.plan_id]

    def collective_key(self, now: Snapshot) -> CollectiveKey:
        """The key as computed from the revealed shares; the ledger's hash must be its hash.

        Raises:
            MedFabricError: a share is not what the ledger names, or the sum is another key.
        """
        plan_id = now.plan.terms.plan_id
        if plan_id not in self._keys:
            documents = [self._exchange.fetch(share.share) for share in _view(now).shares]
            self._keys[plan_id] = self.scheme(now).collective_key(documents)
        key = self._keys[plan_id]
        agreed = _view(now).ceremony.collective_key_sha256
        if agreed is not None and agreed != key.sha256:
            raise MedFabricError(
                Code.KEY_DISAGREEMENT,
                f"the collective key of {plan_id} on the ledger is not the sum of its shares; "
                "abort the plan and audit the hospitals that confirmed it",
            )
        return key

    def share_key(self, now: Snapshot) -> ShareKey:
        """What this hospital decrypts with; never leaves the node's folder.

        Raises:
            MedFabricError: what was dealt to this hospital is gone or unsound.
        """
        scheme, secret = self.scheme(now), self._secret(now)
        point = _point(now.plan.terms, self._msp_id)
        if not scheme.dealing.dealt:
            return scheme.share_key(secret, point, ())
        form = scheme.form(Kind.SUBSHARE)

        def received() -> bytes:
            subshares = [self._received(now, share) for share in _view(now).shares]
            total = scheme.share_key(secret, point, subshares)
            return form.encode(total.residues[None, None])

        raw = self._home.secret(now.plan.terms.plan_id, received, "share-key")
        return ShareKey(point, form.decode(raw)[0, 0])

    def transport(self, now: Snapshot) -> TransportKey:
        """What opens what others deal to this hospital under this plan."""
        masked = isinstance(now.plan.terms.encryption, MaskingTerms)
        plan = round_context(now.plan.terms_sha256, 0)
        return TransportKey.of(self._secret(now), plan if masked else self.scheme(now).context)

    def transport_keys(self, now: Snapshot) -> dict[str, str]:
        """The public halves, by hospital."""
        return _transport_keys(now)

    # duties

    def commit(self, duty: Duty, now: Snapshot) -> None:
        """Make the share, keep what opens it, and commit to its hash; or, where updates are masked,
        post a transport key."""
        if isinstance(now.plan.terms.encryption, MaskingTerms):
            key = self.transport(now).public_hex
            args = CommitArgs(plan_id=duty.plan_id, transport_key=key)
            self._consortium.submit("ceremony:Commit", args, KeyCommitment)
            return
        opening = self._opening(now)
        args = CommitArgs(
            plan_id=duty.plan_id,
            commitment_sha256=commitment(opening.nonce, opening.share_sha256),
            transport_key=self.transport(now).public_hex if self._dealt(now) else None,
        )
        self._consortium.submit("ceremony:Commit", args, KeyCommitment)

    def reveal(self, duty: Duty, now: Snapshot) -> dict[str, int | str]:
        """Store the share, and what is dealt, and open the commitment."""
        opening = self._opening(now)
        ref = self._exchange.release_kept(opening.share_sha256)
        dealing = self._exchange.release(self._dealing(now)) if self._dealt(now) else None
        args = RevealArgs(plan_id=duty.plan_id, share=ref, nonce=opening.nonce, dealing=dealing)
        self._consortium.submit("ceremony:Reveal", args, KeyShare)
        return {"bytes": ref.size_bytes + (dealing.size_bytes if dealing else 0)}

    def confirm(self, duty: Duty, now: Snapshot) -> None:
        """Check what every hospital showed and dealt, and confirm the key's hash or accuse."""
        try:
            for share in _view(now).shares:
                self._check(now, share)
        except _DealerFaultError as error:
            opened = self.transport(now).secret_hex if error.opens else None
            accusation = AccuseArgs(
                plan_id=duty.plan_id, dealer=error.dealer, transport_secret=opened
            )
            self._consortium.submit("ceremony:Accuse", accusation, KeyAccusation)
            return
        self.share_key(now)
        key = self.collective_key(now)
        args = ConfirmArgs(plan_id=duty.plan_id, collective_key_sha256=key.sha256)
        self._consortium.submit("ceremony:Confirm", args, KeyConfirmation)

    def judge(self, duty: Duty, now: Snapshot) -> None:
        """Check every accusation, and say who is at fault: a dealer, or who accused it falsely."""
        culprits = {self._culprit(now, accusation) for accusation in _view(now).accusations}
        args = JudgeArgs(plan_id=duty.plan_id, culprits=tuple(sorted(culprits)))
        self._consortium.submit("ceremony:Judge", args, KeyVerdict)

    def advance(self, duty: Duty, _: Snapshot) -> None:
        """Move the ceremony on."""
        self._consortium.submit("ceremony:Advance", PlanArgs(plan_id=duty.plan_id), Ceremony)

    # what was shown and dealt

    def _check(self, now: Snapshot, share: KeyShare) -> None:
        scheme = self.scheme(now)
        document = self._exchange.fetch(share.share)
        _blaming(
            share.msp_id,
            lambda: scheme.dealing.check(document, _point(now.plan.terms, share.msp_id)),
            opens=False,
        )
        if self._dealt(now):
            _blaming(share.msp_id, lambda: self._received(now, share), opens=True)

    def _received(self, now: Snapshot, share: KeyShare) -> Residues:
        return self._opened(now, share, self._msp_id, self.transport(now))

    def _opened(
        self, now: Snapshot, share: KeyShare, recipient: str, transport: TransportKey
    ) -> Residues:
        """What a hospital dealt to another, opened with the other's key and checked.

        Raises:
            MedFabricError: it is not what the dealer's public part binds.
        """
        if share.dealing is None:
            raise MedFabricError(Code.SHARES_INCOMPLETE, f"{share.msp_id} has dealt nothing")
        terms, scheme = now.plan.terms, self.scheme(now)
        dealer, point = _point(terms, share.msp_id), _point(terms, recipient)
        form = scheme.form(Kind.SUBSHARE)
        raw = transport.open(
            self._exchange.fetch(share.dealing),
            scheme.context,
            dealer,
            _transport_keys(now)[share.msp_id],
            (point, len(terms.hospitals)),
            form.length,
        )
        subshare: Residues = form.decode(raw)[0, 0]
        document = self._exchange.fetch(share.share)
        scheme.dealing.check_subshare(document, dealer, point, subshare)
        return subshare

    def _culprit(self, now: Snapshot, accusation: KeyAccusation) -> str:
        share = next(s for s in _view(now).shares if s.msp_id == accusation.dealer)
        try:
            if accusation.transport_secret is None:
                document = self._exchange.fetch(share.share)
                self.scheme(now).dealing.check(document, _point(now.plan.terms, share.msp_id))
                return accusation.msp_id
        except MedFabricError as error:
            return _at_fault(accusation.dealer, error)
        return self._culprit_of_opening(now, accusation, share, accusation.transport_secret)

    def _culprit_of_opening(
        self, now: Snapshot, accusation: KeyAccusation, share: KeyShare, opened: str
    ) -> str:
        try:
            transport = TransportKey.opened(opened)
        except MedFabricError:
            return accusation.msp_id
        if transport.public_hex != _transport_keys(now).get(accusation.msp_id):
            return accusation.msp_id
        try:
            self._opened(now, share, accusation.msp_id, transport)
        except MedFabricError as error:
            return _at_fault(accusation.dealer, error)
        return accusation.msp_id

    # what this hospital makes

    def _secret(self, now: Snapshot) -> KeySecret:
        plan_id = now.plan.terms.plan_id
        raw = self._home.secret(plan_id, lambda: self._secrets.new("key", plan_id), "secret")
        return KeySecret.from_bytes(raw)

    def _dealt(self, now: Snapshot) -> bool:
        return self.scheme(now).dealing.dealt

    def _dealing(self, now: Snapshot) -> bytes:
        scheme, secret, hospitals = self.scheme(now), self._secret(now), now.plan.terms.hospitals
        form = scheme.form(Kind.SUBSHARE)
        subshares = [
            form.encode(scheme.dealing.subshare(secret, point)[None, None])
            for point in range(1, len(hospitals) + 1)
        ]
        public = [_transport_keys(now)[hospital] for hospital in hospitals]
        dealer = _point(now.plan.terms, self._msp_id)
        return self.transport(now).seal(scheme.context, dealer, public, subshares)

    def _opening(self, now: Snapshot) -> _Opening:
        plan_id = now.plan.terms.plan_id
        opening = self._home.record(plan_id, "opening", _Opening)
        if opening is None:
            dealer = _point(now.plan.terms, self._msp_id)
            content = self.scheme(now).dealing.make(self._secret(now), dealer)
            opening = _Opening(
                share_sha256=self._home.keep_content(content),
                nonce=self._secrets.new("nonce", plan_id).hex(),
            )
            self._home.keep(plan_id, "opening", opening)
        return opening


def _view(now: Snapshot) -> CeremonyView:
    if now.ceremony is None:
        raise MedFabricError(Code.PLAN_NOT_APPROVED, "the plan has no key ceremony yet")
    return now.ceremony


def _point(terms: PlanTerms, msp_id: str) -> int:
    """Where a hospital stands on the sharing polynomials."""
    return terms.hospitals.index(msp_id) + 1


def _transport_keys(now: Snapshot) -> dict[str, str]:
    return {c.msp_id: c.transport_key for c in _view(now).commitments if c.transport_key}


def _blaming(dealer: str, checked: Callable[[], object], *, opens: bool) -> None:
    try:
        checked()
    except MedFabricError as error:
        if error.code in _DEALERS_FAULT:
            raise _DealerFaultError(dealer, error, opens=opens) from None
        raise


def _at_fault(dealer: str, error: MedFabricError) -> str:
    if error.code not in _DEALERS_FAULT:
        raise error
    return dealer
