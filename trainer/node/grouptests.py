"""A node's part in group tests: sum the groups, attest, share, score; see
:mod:`chaincode.schema.grouptests`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import canonical, grouptests
from chaincode.schema.base import Language, Sha256
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import (
    AttestGroupsArgs,
    Group,
    GroupAttestation,
    GroupScore,
    GroupShare,
    GroupTest,
    GroupTestArgs,
    GroupTestStatus,
    ScoreGroupsArgs,
    ShareGroupsArgs,
)
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import WholeRound
from client.consortium import Consortium
from trainer.node.ceremony import KeyKeeper
from trainer.node.content import Exchange
from trainer.node.courses import Courses
from trainer.node.duties import Duty, Snapshot, pending
from trainer.node.home import Home
from trainer.node.rounds import Facts, Rounds, beyond_norm
from trainer.privacy.wire import MALFORMED

if TYPE_CHECKING:
    from trainer.node.learner import Learner

Mean = NDArray[np.float64]


class _Sums(Language):
    """The sums over groups that this hospital shares in: of one round there is one set."""

    sums_sha256: Sha256
    contents: tuple[Sha256, ...]


class _Shares(Language):
    """This hospital's shares in their decryption, kept first."""

    contents: tuple[Sha256, ...]


class GroupTests:
    """Carries out the duties of group tests."""

    def __init__(
        self,
        consortium: Consortium,
        home: Home,
        exchange: Exchange,
        keys: KeyKeeper,
        courses: Courses,
        rounds: Rounds,
        learner: Callable[[PlanTerms], Learner],
    ) -> None:
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._keys = keys
        self._courses = courses
        self._rounds = rounds
        self._learner = learner

    def attest(self, duty: Duty, now: Snapshot) -> Facts:
        """Sum the groups' updates and attest the sums.

        Raises:
            MedFabricError: ``AGGREGATE_REFUSED`` where the groups are not those that the draw
                gives, or more than the plan allows.
        """
        sums = self._sums(now)
        args = AttestGroupsArgs(
            plan_id=duty.plan_id, round=duty.round, sums_sha256=sums.sums_sha256
        )
        self._consortium.submit("grouptest:Attest", args, GroupAttestation)
        return {"groups": len(sums.contents)}

    def submit_shares(self, duty: Duty, now: Snapshot) -> Facts:
        """Share in the decryption of the accepted sums, if they are those computed here.

        Raises:
            MedFabricError: ``AGGREGATE_REFUSED`` where they are not.
        """
        sums = self._sums(now)
        if sums.sums_sha256 != _test(now).sums_sha256:
            raise _refused(duty, "the accepted sums are not those of the groups as computed here")
        name = f"group-shares-{duty.round}"
        shares = self._home.record(duty.plan_id, name, _Shares)
        if shares is None:
            made = [self._share(now, place, one) for place, one in enumerate(sums.contents)]
            shares = _Shares(contents=tuple(made))
            self._home.keep(duty.plan_id, name, shares)
        refs = tuple(self._exchange.release_kept(content) for content in shares.contents)
        args = ShareGroupsArgs(
            plan_id=duty.plan_id, round=duty.round, sums_sha256=sums.sums_sha256, shares=refs
        )
        self._consortium.submit("grouptest:SubmitShares", args, GroupShare)
        return {"bytes": sum(ref.size_bytes for ref in refs)}

    def score(self, duty: Duty, now: Snapshot) -> Facts:
        """Evaluate every group's candidate on this hospital's own records."""
        learner = self._learner(now.plan.terms)
        base = self._rounds.base_model(now)
        base_correct, total = learner.evaluate(base)
        means = self._means(now)
        correct = [
            None if mean is None else learner.evaluate(learner.apply(base, mean))[0]
            for mean in means
        ]
        args = ScoreGroupsArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            correct=tuple(correct),
            base_correct=base_correct,
            total=total,
        )
        self._consortium.submit("grouptest:Score", args, GroupScore)
        self._rounds.forget(now)
        self._exchange.forget(ref for share in _posted(now) for ref in share.shares)
        return {"out_of_range": sum(mean is None for mean in means)}

    def advance(self, duty: Duty, now: Snapshot) -> None:
        """Move the test on."""
        args = GroupTestArgs(plan_id=duty.plan_id, round=duty.round)
        after = self._consortium.submit("grouptest:Advance", args, GroupTest)
        if after.status is GroupTestStatus.FAILED:
            self._rounds.forget(now)

    def _sums(self, now: Snapshot) -> _Sums:
        """The sums over all groups, kept; of one draw alone."""
        test = _test(now)
        name = f"group-sums-{test.round}"
        kept = self._home.record(test.plan_id, name, _Sums)
        if kept is None:
            _check_draw(now, test)
            contents = tuple(self._sum(now, group) for group in test.groups)
            kept = _Sums(sums_sha256=self._digest(now, test, contents), contents=contents)
            self._home.keep(test.plan_id, name, kept)
        return kept

    def _sum(self, now: Snapshot, group: Group) -> str:
        members = [c for c in _round(now).contributions if c.msp_id in group.members]
        return self._rounds.encrypted_sum(now, members)

    def _digest(self, now: Snapshot, test: GroupTest, contents: tuple[str, ...]) -> str:
        """What hospitals attest: it binds the sums to the key, the draw and the inputs."""
        whole = self._rounds.aggregate(now).sha256
        groups = [group.model_dump(mode="json") for group in test.groups]
        return canonical.sha256(
            {"aggregate": whole, "seed": test.seed_sha256, "groups": groups, "sums": contents}
        )

    def _share(self, now: Snapshot, place: int, content: str) -> str:
        test = _test(now)
        points = [now.plan.terms.hospitals.index(h) + 1 for h in test.key_holders]
        stream = self._courses.test_stream("group-share", test.plan_id, test.round, place)
        key = self._keys.share_key(now)
        with self._kept(content).open("rb") as aggregate:
            share = self._keys.scheme(now).decryption_share(key, aggregate, points, stream)
        return self._home.keep_content(share)

    def _means(self, now: Snapshot) -> list[Mean | None]:
        """Every group's mean update, None where its sum exceeds the group's range or norm."""
        sums = self._sums(now)
        try:
            return [self._mean(now, place, one) for place, one in enumerate(sums.contents)]
        except MedFabricError as error:
            if error.code in MALFORMED:
                # Whoever posted such a share could else have a single group blamed.
                return [None] * len(sums.contents)
            raise

    def _mean(self, now: Snapshot, place: int, content: str) -> Mean | None:
        scheme, group = self._keys.scheme(now), _test(now).groups[place]
        members = [c for c in _round(now).contributions if c.msp_id in group.members]
        weight = sum(c.weight for c in members)
        shares = [
            self._exchange.fetch_file(share.shares[place]).read_bytes() for share in _posted(now)
        ]
        with self._kept(content).open("rb") as aggregate:
            try:
                mean = np.concatenate(list(scheme.decode_mean(aggregate, shares, weight)))
            except MedFabricError as error:
                if error.code == Code.DECODE_RANGE:
                    return None
                raise
        return None if beyond_norm(now, mean, members) else mean

    def _kept(self, content: str) -> Path:
        path = self._home.content(content)
        if path is None:
            raise MedFabricError(
                Code.HOME_DAMAGED,
                f"{content} is gone from the node's folder; restore the folder from its backup",
            )
        return path


def _check_draw(now: Snapshot, test: GroupTest) -> None:
    """Refuse groups that were not drawn by what all key holders showed, or too many of them.

    Raises:
        MedFabricError: ``AGGREGATE_REFUSED``.
    """
    view = now.view
    secrets = [share.draw for share in view.shares if share.draw is not None]
    aggregate = view.round.aggregate_sha256 or ""
    seed = grouptests.seed_sha256(test.plan_id, test.round, aggregate, secrets)
    hospitals = sorted({c.msp_id for c in view.round.contributions})
    terms = now.plan.terms.acceptance
    drawn = grouptests.draw(seed, hospitals, terms.group_tests, terms.least_group)
    if not secrets or tuple(group.members for group in test.groups) != drawn:
        raise _refused(test, "the groups are not those that the hospitals' secrets draw")


def _posted(now: Snapshot) -> tuple[GroupShare, ...]:
    """The shares in the order of the key holders, as committed."""
    return () if now.test is None else now.test.shares


def _test(now: Snapshot) -> GroupTest:
    test = pending(now)
    if test is None:
        raise MedFabricError(Code.BAD_STATE, "the round has no open group test; read it again")
    return test


def _round(now: Snapshot) -> WholeRound:
    return now.view.round


def _refused(place: Duty | GroupTest, why: str) -> MedFabricError:
    return MedFabricError(
        Code.AGGREGATE_REFUSED,
        f"group test of round {place.round} of {place.plan_id}: will not share in this "
        f"decryption: {why}; audit the ledger",
    )
