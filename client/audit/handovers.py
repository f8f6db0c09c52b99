"""How keys went from plan to plan, as it follows from a proven ledger: the key is the earlier
plan's, those handed it on who held it and had voted for that, as many as it takes, and whoever
holds it now confirmed that it is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from chaincode.schema import keys
from chaincode.schema.base import Language
from chaincode.schema.ceremonies import Ceremony, CeremonyStatus, KeyConfirmation, KeyShare
from chaincode.schema.consortium import Consortium, Subject, Vote
from chaincode.schema.errors import Code
from chaincode.schema.plans import InheritedKey, PlanTerms
from chaincode.schema.stored import whole
from client.audit.lineage import Reader
from client.audit.proof import Finding, Ledger, Writing

Asset = TypeVar("Asset", bound=Language)


def check(ledger: Ledger) -> Iterator[Finding]:
    """Compare every key that was handed on with what hospitals voted for and posted."""
    reader = Reader(ledger)
    for ceremony in reader.all("ceremony", Ceremony):
        terms = reader.get(keys.plan_terms(ceremony.plan_id), PlanTerms)
        if terms.key is not None and ceremony.status is CeremonyStatus.DONE:
            yield from _Handover(ledger, ceremony, terms, terms.key).findings()


class _Handover:
    def __init__(
        self, ledger: Ledger, ceremony: Ceremony, terms: PlanTerms, key: InheritedKey
    ) -> None:
        self._ledger = ledger
        self._reader = Reader(ledger)
        self._ceremony, self._terms, self._key = ceremony, terms, key
        writings = ledger.writings[keys.composite(keys.ceremony(terms.plan_id))]
        self._opened, self._done = writings[0], writings[-1]

    def findings(self) -> Iterator[Finding]:
        """What does not follow, at the transaction that says so."""
        former = self._reader.get(keys.plan_terms(self._key.plan_id), PlanTerms)
        made = self._reader.get(keys.ceremony(former.plan_id), Ceremony).collective_key_sha256
        if made is None or self._key != former.handed_on(made):
            yield self._finding(f"the key is not that of {former.plan_id}", self._opened)
        dealers = self._terms.dealers(former, self._willing(former))
        if (self._ceremony.hospitals, self._ceremony.dealers) != (self._terms.hospitals, dealers):
            yield self._finding("who hands the key on does not follow from the votes", self._opened)
        for hospital in self._ceremony.dealers:
            share = self._posted(keys.key_share(self._terms.plan_id, hospital), KeyShare)
            shown = share.key.sha256 if share and share.key else None
            if shown != self._key.collective_key_sha256:
                yield self._finding(f"{hospital} has not handed it on", self._done)
        for hospital in self._terms.hospitals:
            place = keys.key_confirmation(self._terms.plan_id, hospital)
            said = self._posted(place, KeyConfirmation)
            if said is None or said.collective_key_sha256 != self._key.collective_key_sha256:
                yield self._finding(f"{hospital} has not confirmed it", self._done)

    def _willing(self, former: PlanTerms) -> tuple[str, ...]:
        """Members that held the key and had voted for the plan when its ceremony was opened."""
        members = self._before(keys.consortium(), Consortium, self._opened)
        place = (Subject.PLAN.value, self._terms.plan_id, self._terms.sha256)
        votes = {
            h: self._before(keys.vote(*place, h), Vote, self._opened) for h in former.hospitals
        }
        return tuple(
            h
            for h, vote in votes.items()
            if vote and vote.approve and members and h in members.hospitals
        )

    def _posted(self, key: keys.Key, model: type[Asset]) -> Asset | None:
        return self._before(key, model, self._done)

    def _before(self, key: keys.Key, model: type[Asset], then: Writing) -> Asset | None:
        """What stood at a key when a transaction read it."""
        writings = self._ledger.writings.get(keys.composite(key), [])
        values = [w.value for w in writings if w.block < then.block]
        return model.model_validate_json(whole(key, values[-1])) if values and values[-1] else None

    def _finding(self, why: str, writing: Writing) -> Finding:
        message = f"the key ceremony of {self._terms.plan_id}: {why}"
        return Finding(Code.LINEAGE_BROKEN, message, writing.block, writing.tx_id)
