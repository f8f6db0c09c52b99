"""This hospital's part in a plan's key ceremony: commit, reveal, confirm; accuse and judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaincode.schema.base import ContentRef, Language
from chaincode.schema.ceremonies import (
    AccuseArgs,
    Ceremony,
    CeremonyStatus,
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
from chaincode.schema.masking import MaskingTerms, round_context
from chaincode.schema.plans import InheritedKey, PlanArgs, PlanTerms, PlanView
from client.consortium import Consortium
from trainer.node.content import Exchange
from trainer.node.duties import Duty, Snapshot
from trainer.node.home import Home
from trainer.privacy import CollectiveKey, KeySecret, Scheme, ShareKey
from trainer.privacy.commitments import digest
from trainer.privacy.dealing import Dealing
from trainer.privacy.handover import Held
from trainer.privacy.ring import Residues
from trainer.privacy.shareproof import Part, Shorts
from trainer.privacy.transport import TransportKey
from trainer.privacy.wire import MALFORMED, Kind
from trainer.randomness import Secrets

# What a dealer answers for; anything else that goes wrong may be the store's or our own fault.
_DEALERS_FAULT = MALFORMED | {Code.KEY_SHARE_INVALID, Code.SUBSHARE_WRONG}


_SECRET, _SHARE_KEY, _COMMITTED = "secret", "share-key", "share-commitments"
_HANDING = "handing-"


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


@dataclass(frozen=True)
class Former:
    """A plan that hands its key on, and its ceremony, as they are on the ledger."""

    terms: PlanTerms
    view: CeremonyView
    scheme: Scheme

    def point(self, hospital: str) -> int:
        """Where one of its hospitals stands."""
        return _point(self.terms, hospital)

    def bound(self, holder: str) -> tuple[str, ...]:
        """What the part that a hospital holds is committed to, by every dealer."""
        place = self.point(holder) - 1
        return tuple(share.bound[place] for share in self.view.shares if share.bound)

    def check_own(self, dealer: str, shown: Residues, exchange: Exchange) -> None:
        """Whether a hospital hands on the secret that it made the key with, where that is its part.

        Raises:
            MedFabricError: ``KEY_SHARE_INVALID``.
        """
        if self.scheme.dealt:
            return
        share = next(share for share in self.view.shares if share.msp_id == dealer)
        made = self.scheme.dealing.check(exchange.fetch(share.share), self.point(dealer))
        if not (made == shown).all():
            raise MedFabricError(
                Code.KEY_SHARE_INVALID,
                f"{dealer} hands on another secret than it made the key with",
            )


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
        self._formers: dict[str, Former] = {}
        self._forgotten: set[str] = set()

    # what rounds need

    def scheme(self, now: Snapshot) -> Scheme:
        """The plan's encryption scheme; its reference polynomial follows from the terms' hash."""
        return self._scheme_of(now.plan.terms)

    def collective_key(self, now: Snapshot) -> CollectiveKey:
        """The key as computed from the revealed shares; the ledger's hash must be its hash.

        Raises:
            MedFabricError: a share is not what the ledger names, or the sum is another key.
        """
        plan_id = now.plan.terms.plan_id
        if plan_id not in self._keys:
            self._keys[plan_id] = self._made_key(now)
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
        terms, scheme, view = now.plan.terms, self.scheme(now), _view(now)
        point = _point(terms, self._msp_id)
        if not scheme.dealt:
            return scheme.own_share_key(self._secret(terms), point)

        def received() -> bytes:
            dealt = {self._dealer(now, s.msp_id): self._received(now, s) for s in view.shares}
            share, committed = scheme.kept(scheme.share_key(point, dealt))
            self._home.keep_bytes(terms.plan_id, _COMMITTED, committed)
            return share

        done = view.ceremony.status is CeremonyStatus.DONE
        if terms.key and done and self._home.kept(terms.plan_id, _SHARE_KEY) is None:
            raise _lost(terms.plan_id)
        return scheme.found(self._home.secret(terms.plan_id, received, _SHARE_KEY), point)

    def forget(self, plan_id: str) -> None:
        """Delete what was held of a key that another plan has now: together with others', it still
        is the key."""
        if plan_id in self._forgotten:
            return
        for name in (_SECRET, _SHARE_KEY, _COMMITTED):
            self._home.forget_secret(plan_id, name)
        self._home.erase(plan_id, _HANDING)
        self._forgotten.add(plan_id)

    def transport(self, now: Snapshot) -> TransportKey:
        """What this hospital deals by under this plan, and what opens what others deal to it,
        unless they hand a key on."""
        masked = isinstance(now.plan.terms.encryption, MaskingTerms)
        plan = round_context(now.plan.terms_sha256, 0)
        secret = self._secret(now.plan.terms)
        return TransportKey.of(secret, plan if masked else self.scheme(now).context)

    def transport_keys(self, now: Snapshot) -> dict[str, str]:
        """The public halves, by hospital."""
        return _transport_keys(now)

    def part(self, now: Snapshot, hospital: str, document: bytes) -> tuple[Part, bytes]:
        """What the ledger tells of a hospital's part of the key, and the rest of a document that
        shows it.

        Raises:
            MedFabricError: the document shows another part, or the store lacks the key share.
        """
        scheme, view = self.scheme(now), _view(now)
        point = _point(now.plan.terms, hospital)
        if scheme.dealt:
            bound = tuple(share.bound[point - 1] for share in view.shares)
            return scheme.dealt_part(document, bound)
        share = next(share for share in view.shares if share.msp_id == hospital)
        return scheme.own_part(self._exchange.fetch(share.share), point), document

    def opening(self, now: Snapshot) -> tuple[bytes, Shorts]:
        """What a document shows this hospital's part of the key by, and what opens that.

        Raises:
            MedFabricError: ``HOME_DAMAGED``, or the wire format's codes.
        """
        terms, scheme = now.plan.terms, self.scheme(now)
        if not scheme.dealt:
            return b"", scheme.dealing.opening(self._secret(terms))
        committed = self._home.kept(terms.plan_id, _COMMITTED)
        if committed is None:
            raise _lost(terms.plan_id)
        return scheme.dealt_opening(committed, len(_view(now).shares))

    # duties

    def commit(self, duty: Duty, now: Snapshot) -> None:
        """Make the share, keep what opens it, and commit to its hash; or, where no key is made,
        post a transport key."""
        terms = now.plan.terms
        if isinstance(terms.encryption, MaskingTerms) or terms.key:
            args = CommitArgs(
                plan_id=duty.plan_id,
                transport_key=self.transport(now).public_hex,
                receiving=self._receiving_keys(now) if terms.key else (),
            )
            self._consortium.submit("ceremony:Commit", args, KeyCommitment)
            return
        opening = self._opening(now)
        args = CommitArgs(
            plan_id=duty.plan_id,
            commitment_sha256=commitment(opening.nonce, opening.share_sha256),
            transport_key=self.transport(now).public_hex if self.scheme(now).dealt else None,
        )
        self._consortium.submit("ceremony:Commit", args, KeyCommitment)

    def reveal(self, duty: Duty, now: Snapshot) -> dict[str, int | str]:
        """Store the share, and what is dealt, and open the commitment or name the key."""
        inherited, nonce, key = now.plan.terms.key, None, None
        own, secret = self._own(now), self._dealt_secret(now)
        if inherited is None:
            opening = self._opening(now)
            ref, nonce = self._exchange.release_kept(opening.share_sha256), opening.nonce
        else:
            dealer = self._dealer(now, self._msp_id)
            ref = self._exchange.release(own.make(secret, dealer))
            key = self._exchange.release_kept(inherited.collective_key_sha256)
        dealing, bound = self._deal(now, own, secret) if self.scheme(now).dealt else (None, ())
        args = RevealArgs(
            plan_id=duty.plan_id, share=ref, nonce=nonce, dealing=dealing, bound=bound, key=key
        )
        self._consortium.submit("ceremony:Reveal", args, KeyShare)
        return {"bytes": ref.size_bytes + (dealing.size_bytes if dealing else 0)}

    def confirm(self, duty: Duty, now: Snapshot) -> None:
        """Check what every hospital showed and dealt, and confirm the key's hash or accuse."""
        try:
            for share in _view(now).shares:
                if share.msp_id != self._msp_id:
                    self._check(now, share)
        except _DealerFaultError as error:
            opened = self._receiving(now, error.dealer).secret_hex if error.opens else None
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
        document = self._exchange.fetch(share.share)
        _blaming(share.msp_id, lambda: self._check_public(now, share, document), opens=False)
        # A dispute over a decryption may need it when its owner's store gives it no more.
        self._home.keep_content(document)
        if self.scheme(now).dealt:
            _blaming(share.msp_id, lambda: self._received(now, share), opens=True)

    def _check_public(self, now: Snapshot, share: KeyShare, document: bytes) -> None:
        """Whether a public part is sound, and of what its dealer holds."""
        terms = now.plan.terms
        dealer = self._dealer(now, share.msp_id)
        shown = self._dealing(now, share.msp_id).check(document, dealer)
        if terms.key:
            self._former(terms.key).check_own(share.msp_id, shown, self._exchange)

    def _received(self, now: Snapshot, share: KeyShare) -> Residues:
        return self._opened(now, share, self._msp_id, self._receiving(now, share.msp_id))

    def _receiving(self, now: Snapshot, dealer: str) -> TransportKey:
        """What opens what a dealer deals to this hospital."""
        terms = now.plan.terms
        if terms.key is None:
            return self.transport(now)
        context = self.scheme(now).context
        return TransportKey.of(self._secret(terms), context, self._dealer(now, dealer))

    def _receiving_keys(self, now: Snapshot) -> tuple[str, ...]:
        """The public halves, of each who hands the key on; none for who only does that."""
        if self._msp_id not in now.plan.terms.hospitals:
            return ()
        dealers = _view(now).ceremony.dealers
        return tuple(self._receiving(now, dealer).public_hex for dealer in dealers)

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
        dealer, point = self._dealer(now, share.msp_id), _point(terms, recipient)
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
        self._dealing(now, share.msp_id).check_subshare(document, dealer, point, subshare)
        if share.bound[point - 1] != digest(scheme.committed(dealer, point, subshare)[1]):
            raise MedFabricError(
                Code.SUBSHARE_WRONG, f"{share.msp_id} committed to another part than it dealt"
            )
        return subshare

    def _culprit(self, now: Snapshot, accusation: KeyAccusation) -> str:
        share = next(s for s in _view(now).shares if s.msp_id == accusation.dealer)
        try:
            if accusation.transport_secret is None:
                self._check_public(now, share, self._exchange.fetch(share.share))
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
        if transport.public_hex != _recipients(now, accusation.dealer)[accusation.msp_id]:
            return accusation.msp_id
        try:
            self._opened(now, share, accusation.msp_id, transport)
        except MedFabricError as error:
            return _at_fault(accusation.dealer, error)
        return accusation.msp_id

    # what this hospital makes

    def _secret(self, terms: PlanTerms) -> KeySecret:
        plan_id, place = terms.plan_id, (terms.plan_id, _SECRET)
        if terms.key:
            # It opens what was dealt by it, which tells what was held before: it goes with that.
            place = (terms.key.plan_id, _HANDING + plan_id)
        raw = self._home.secret(place[0], lambda: self._secrets.new("key", plan_id), place[1])
        return KeySecret.from_bytes(raw)

    def _dealing(self, now: Snapshot, dealer: str, held: Held | None = None) -> Dealing:
        """How a hospital's part is shown and dealt; ``held``: by itself."""
        scheme, inherited = self.scheme(now), now.plan.terms.key
        if inherited is None:
            return scheme.dealing
        former = self._former(inherited)
        points = [former.point(hospital) for hospital in _view(now).ceremony.dealers]
        point, bound = former.point(dealer), former.bound(dealer)
        return scheme.handing(former.scheme, point, points, bound, held)

    def _dealer(self, now: Snapshot, hospital: str) -> int:
        """The number that a dealer's proofs are bound to: its place in the plan, or where it hands
        on and leaves, after all of these, that in the plan that it leaves."""
        terms = now.plan.terms
        if terms.key is None or hospital in terms.hospitals:
            return _point(terms, hospital)
        return len(terms.hospitals) + self._former(terms.key).point(hospital)

    def _own(self, now: Snapshot) -> Dealing:
        """How this hospital's part is shown and dealt."""
        inherited = now.plan.terms.key
        if inherited is None or not (former := self._former(inherited)).scheme.dealt:
            return self._dealing(now, self._msp_id)
        share = self._home.kept(inherited.plan_id, _SHARE_KEY)
        committed = self._home.kept(inherited.plan_id, _COMMITTED)
        if share is None or committed is None:
            raise _lost(inherited.plan_id)
        key = former.scheme.found(share, former.point(self._msp_id))
        held = former.scheme.held(key, committed, len(former.view.shares))
        return self._dealing(now, self._msp_id, held)

    def _dealt_secret(self, now: Snapshot) -> KeySecret:
        """What this hospital's part follows from: where it hands on a secret of its own, that."""
        inherited = now.plan.terms.key
        if inherited and not (former := self._former(inherited)).scheme.dealt:
            return self._secret(former.terms)
        return self._secret(now.plan.terms)

    def _deal(
        self, now: Snapshot, own: Dealing, secret: KeySecret
    ) -> tuple[ContentRef, tuple[str, ...]]:
        """What is dealt, stored; and what each part is committed to."""
        scheme, hospitals = self.scheme(now), now.plan.terms.hospitals
        form = scheme.form(Kind.SUBSHARE)
        dealer = self._dealer(now, self._msp_id)
        subshares = own.subshares(secret)
        bound = tuple(
            digest(scheme.committed(dealer, point, subshare)[1])
            for point, subshare in enumerate(subshares, 1)
        )
        public = [_recipients(now, self._msp_id)[hospital] for hospital in hospitals]
        encoded = [form.encode(subshare[None, None]) for subshare in subshares]
        sealed = self.transport(now).seal(scheme.context, dealer, public, encoded)
        return self._exchange.release(sealed), bound

    def _former(self, inherited: InheritedKey) -> Former:
        """The plan that hands its key on."""
        plan_id = inherited.plan_id
        if plan_id not in self._formers:
            args = PlanArgs(plan_id=plan_id)
            terms = self._consortium.evaluate("plan:Get", args, PlanView).plan.terms
            view = self._consortium.evaluate("ceremony:Get", args, CeremonyView)
            self._formers[plan_id] = Former(terms, view, self._scheme_of(terms))
        return self._formers[plan_id]

    def _scheme_of(self, terms: PlanTerms) -> Scheme:
        assert isinstance(terms.encryption, EncryptionTerms)
        if terms.plan_id not in self._schemes:
            origin = bytes.fromhex(terms.key.origin_sha256) if terms.key else None
            self._schemes[terms.plan_id] = Scheme(
                terms.encryption, terms.workload, bytes.fromhex(terms.sha256), origin
            )
        return self._schemes[terms.plan_id]

    def _made_key(self, now: Snapshot) -> CollectiveKey:
        """The key, as this node kept it, as it was handed on, or from the revealed shares."""
        scheme, view = self.scheme(now), _view(now)
        agreed = view.ceremony.collective_key_sha256
        path = self._home.content(agreed) if agreed else None
        if path is not None:
            return scheme.known_key(path.read_bytes())
        if now.plan.terms.key:
            refs = [share.key for share in view.shares if share.key]
            key = scheme.known_key(self._exchange.fetch(refs[0]))
        else:
            key = scheme.collective_key([self._exchange.fetch(s.share) for s in view.shares])
        self._home.keep_content(key.content)
        return key

    def _opening(self, now: Snapshot) -> _Opening:
        plan_id = now.plan.terms.plan_id
        opening = self._home.record(plan_id, "opening", _Opening)
        if opening is None:
            dealer = _point(now.plan.terms, self._msp_id)
            content = self.scheme(now).dealing.make(self._secret(now.plan.terms), dealer)
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


def _recipients(now: Snapshot, dealer: str) -> dict[str, str]:
    """Under what a dealer encrypts, by hospital."""
    view = _view(now)
    if now.plan.terms.key is None:
        return _transport_keys(now)
    place = view.ceremony.dealers.index(dealer)
    return {c.msp_id: c.receiving[place] for c in view.commitments if c.receiving}


def _blaming(dealer: str, checked: Callable[[], object], *, opens: bool) -> None:
    try:
        checked()
    except MedFabricError as error:
        if error.code in _DEALERS_FAULT:
            raise _DealerFaultError(dealer, error, opens=opens) from None
        raise


def _lost(plan_id: str) -> MedFabricError:
    return MedFabricError(
        Code.HOME_DAMAGED,
        f"this hospital's part of the key of {plan_id} is gone; restore the node's folder from its "
        "backup",
    )


def _at_fault(dealer: str, error: MedFabricError) -> str:
    if error.code not in _DEALERS_FAULT:
        raise error
    return dealer
