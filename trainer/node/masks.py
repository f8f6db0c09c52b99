"""A node's part in a masked round: keys first, then its update under masks, then the shares that
take the masks off the sum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import (
    SHARE_BYTES,
    BoundShares,
    Masking,
    MaskingTerms,
    MaskKeys,
    PostMaskKeysArgs,
    UnmaskArgs,
    Unmasking,
    bound_sha256,
    round_context,
)
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import WholeRound
from client.consortium import Consortium
from trainer.node.ceremony import KeyKeeper
from trainer.node.content import Exchange
from trainer.node.duties import Duty, Snapshot
from trainer.node.home import Home
from trainer.privacy.masking import (
    Masker,
    MaskSecrets,
    own_sha256,
    recovered,
)
from trainer.privacy.transport import TransportKey
from trainer.randomness import Secrets


class MaskKeeper:
    """Makes, keeps and opens this node's part of each round's masks."""

    def __init__(
        self,
        place: tuple[str, str],
        consortium: Consortium,
        home: Home,
        exchange: Exchange,
        keys: KeyKeeper,
        made: Secrets,
    ) -> None:
        self._place = place
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._keys = keys
        self._made = made

    # duties

    def post_keys(self, duty: Duty, now: Snapshot) -> dict[str, int | str]:
        """Deal this round's secrets to the hospitals, and post the keys."""
        self._home.forget_secret(duty.plan_id, _name(duty.round - 1))
        terms, secrets = now.plan.terms, self._secrets(now)
        shares = secrets.shares(len(terms.hospitals), _terms(terms).threshold)
        dealing = self._exchange.release(self._dealing(now, secrets, shares))
        args = PostMaskKeysArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            mask_key=secrets.mask_key.public_hex,
            channel_key=secrets.channel.public_hex,
            dealing=dealing,
            own_sha256=own_sha256(_context(now), secrets.own),
            bound=tuple(
                BoundShares(
                    pairwise_sha256=_bound(now, self._place, hospital, "pairwise", pair[0]),
                    own_sha256=_bound(now, self._place, hospital, "own", pair[1]),
                )
                for hospital, pair in zip(terms.hospitals, shares, strict=True)
            ),
        )
        self._consortium.submit("masking:PostKeys", args, MaskKeys)
        return {"bytes": dealing.size_bytes}

    def unmask(self, duty: Duty, now: Snapshot, aggregate_sha256: str) -> None:
        """Post this hospital's shares for the sum that it computed itself."""
        posted = {(k.msp_id, k.node_id): k for k in now.view.mask_keys}
        args = UnmaskArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            aggregate_sha256=aggregate_sha256,
            shares=tuple(
                self._share(now, posted[node.msp_id, node.node_id]) for node in _masking(now).nodes
            ),
        )
        self._consortium.submit("masking:Unmask", args, Unmasking)

    # what rounds need

    def masked(self, now: Snapshot, values: NDArray[np.float64]) -> Iterator[bytes]:
        """This node's update.

        Raises:
            MedFabricError: ``AGGREGATE_REFUSED`` where only this hospital's nodes take part.
        """
        nodes = _masking(now).nodes
        if len({node.msp_id for node in nodes}) < 2:
            raise MedFabricError(
                Code.AGGREGATE_REFUSED,
                "only one hospital's nodes take part in this sum; audit the ledger",
            )
        place = [(node.msp_id, node.node_id) for node in nodes].index(self._place)
        return self.masker(now).mask(values, nodes[place].weight, self._secrets(now), place)

    def masker(self, now: Snapshot) -> Masker:
        """The round's arithmetic."""
        terms = now.plan.terms
        posted = {(k.msp_id, k.node_id): k.mask_key for k in now.view.mask_keys}
        keys = [posted[node.msp_id, node.node_id] for node in _masking(now).nodes]
        return Masker(_terms(terms), terms.trained_parameters, _context(now), keys)

    def mean(self, now: Snapshot, total: BinaryIO) -> Iterator[NDArray[np.float64]]:
        """The mean update, by what the hospitals posted.

        Raises:
            MedFabricError: ``MASK_SHARE_REFUSED`` where what a node dealt recovers nothing, naming
                it, or ``DECODE_RANGE``.
        """
        view = now.view
        contributed = _contributed(view.round)
        posted = {(k.msp_id, k.node_id): k for k in view.mask_keys}
        own, dropped = [], {}
        for place, node in enumerate(_masking(now).nodes):
            name = (node.msp_id, node.node_id)
            secret = self._recovered(now, place)
            if name in contributed:
                if own_sha256(_context(now), secret) != posted[name].own_sha256:
                    raise _misdealt(name)
                own.append(secret)
                continue
            if not secret or TransportKey(secret).public_hex != posted[name].mask_key:
                raise _misdealt(name)
            dropped[place] = TransportKey(secret)
        return self.masker(now).unmask(total, own, dropped, view.round.total_weight)

    # inner workings

    def _secrets(self, now: Snapshot) -> MaskSecrets:
        number = now.view.round.number
        plan_id = now.plan.terms.plan_id
        seed = self._home.secret(
            plan_id, lambda: self._made.new("masks", plan_id, number), _name(number)
        )
        return MaskSecrets(seed, _context(now))

    def _dealing(self, now: Snapshot, secrets: MaskSecrets, shares: list[tuple[int, int]]) -> bytes:
        transport = self._keys.transport_keys(now)
        return secrets.channel.seal(
            _context(now),
            _dealer(now.view.round, self._place),
            [transport[hospital] for hospital in now.plan.terms.hospitals],
            [b"".join(share.to_bytes(SHARE_BYTES, "big") for share in pair) for pair in shares],
        )

    def _share(self, now: Snapshot, posted: MaskKeys) -> str:
        """What a node dealt to this hospital of the secret that may be recovered; empty where it
        dealt nothing usable, and the others make up for it."""
        terms, round_ = now.plan.terms, now.view.round
        name = (posted.msp_id, posted.node_id)
        me = self._place[0]
        point = terms.hospitals.index(me)
        try:
            opened = self._keys.transport(now).open(
                self._exchange.fetch(posted.dealing),
                _context(now),
                _dealer(round_, name),
                posted.channel_key,
                (point + 1, len(terms.hospitals)),
                2 * SHARE_BYTES,
            )
        except MedFabricError as error:
            self._exchange.object(terms.plan_id, round_.number, posted.dealing.sha256, error.code)
            return ""
        bound = posted.bound[point]
        contributed = name in _contributed(round_)
        kind = "own" if contributed else "pairwise"
        raw = opened[SHARE_BYTES:] if contributed else opened[:SHARE_BYTES]
        wanted = bound.own_sha256 if contributed else bound.pairwise_sha256
        fits = _bound(now, name, me, kind, int.from_bytes(raw, "big")) == wanted
        return raw.hex() if fits else ""

    def _recovered(self, now: Snapshot, place: int) -> int:
        """From the first shares of as many hospitals as are needed: the same for everybody."""
        terms = now.plan.terms
        shares = {
            terms.hospitals.index(unmasking.msp_id) + 1: int(unmasking.shares[place], 16)
            for unmasking in now.view.unmaskings
            if unmasking.shares[place]
        }
        first = sorted(shares)[: _terms(terms).threshold]
        return recovered({point: shares[point] for point in first})


def _bound(now: Snapshot, dealer: tuple[str, str], hospital: str, kind: str, share: int) -> str:
    round_ = now.view.round
    text = share.to_bytes(SHARE_BYTES, "big").hex()
    return bound_sha256(round_.plan_id, round_.number, (*dealer, hospital), kind, text)


def _context(now: Snapshot) -> bytes:
    return round_context(now.plan.terms_sha256, now.view.round.number)


def _contributed(round_: WholeRound) -> set[tuple[str, str]]:
    return {(c.msp_id, c.node_id) for c in round_.contributions}


def _dealer(round_: WholeRound, name: tuple[str, str]) -> int:
    """A node's number among the round's participants, from 1."""
    return [(p.msp_id, p.node_id) for p in round_.participants].index(name) + 1


def _terms(terms: PlanTerms) -> MaskingTerms:
    assert isinstance(terms.encryption, MaskingTerms)
    return terms.encryption


def _name(number: int) -> str:
    return f"mask-{number}"


def _misdealt(name: tuple[str, str]) -> MedFabricError:
    return MedFabricError(
        Code.MASK_SHARE_REFUSED,
        f"what {name[1]} of {name[0]} dealt recovers no secret of its own; complain of it",
    )


def _masking(now: Snapshot) -> Masking:
    masking = now.view.masking
    if masking is None:
        raise MedFabricError(Code.BAD_STATE, "no masks are fixed yet; read the state again")
    return masking
