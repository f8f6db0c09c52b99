"""How conduct becomes reputation: evidence of a round, its fading, the score.

The score is the beta reputation of Josang and Ismail, "The Beta Reputation System" (2002): with
r good and s bad events, each fading with time, it is the mean (r + 1) / (r + s + 2) of the beta
distribution. Bad events fade more slowly than good ones, so that conduct that alternates between
good and bad does not pay (Sun, Han, Yu and Liu, "A Trust Evaluation Framework in Distributed
Networks", 2006); they do fade, so that an honest party recovers. Whole numbers throughout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from chaincode.schema.classifiers import ClassifierTerms, assess
from chaincode.schema.errors import Code
from chaincode.schema.grouptests import GroupTest
from chaincode.schema.reputation import Evidence, Rated, Reputation, Tally
from chaincode.schema.rounds import (
    Attestation,
    Contributions,
    DecryptionShare,
    Dropped,
    Evaluation,
    NodeRef,
    NodeStanding,
    Round,
    RoundStatus,
    Update,
)
from chaincode.schema.studies import Deposit, StudyShare

ONE = 1000
"""An event, in the unit of recent evidence."""
KEEP_GOOD, KEEP_BAD = (15, 16), (31, 32)
"""What is left of recent evidence after one further round."""
WEIGHTS: Mapping[Evidence, tuple[int, int]] = {
    Evidence.UPDATE: (1, 1),
    Evidence.CONTENT: (0, 8),
    Evidence.DUTY: (1, 1),
    Evidence.AGREEMENT: (1, 8),
    Evidence.SHARE: (1, 8),
    Evidence.EVALUATION: (1, 1),
    Evidence.OUTCOME: (1, 1),
    Evidence.OUTCOME_ABSENT: (0, 0),
    Evidence.PROGRESS: (0, 0),
    Evidence.PROGRESS_ABSENT: (0, 0),
    Evidence.HASTE: (0, 0),
    Evidence.QUALITY: (1, 4),
    Evidence.COMPLAINT: (0, 16),
}
"""What a good and a bad event of each kind weigh in the score; the others only inform."""
HASTE_SECONDS = 8
"""The least median time of a round's updates that says anything about haste."""

Duty = Attestation | DecryptionShare | Evaluation
Subject = tuple[Rated, str]
Events = dict[Evidence, tuple[int, int]]
"""Good and bad events by kind."""

_NOTHING = Tally(good=0, bad=0, recent_good_milli=0, recent_bad_milli=0)


@dataclass(frozen=True)
class Posts:
    """What was posted in a round, updates by the nodes of one page; ``missing`` are its nodes
    without one, ``sealed`` sums up all pages. ``unusable_shares`` are the hospitals whose
    decryption share an agreement of hospitals objected to."""

    updates: Sequence[Update] = ()
    missing: Sequence[NodeRef] = ()
    sealed: Contributions | None = None
    attestations: Sequence[Attestation] = ()
    shares: Sequence[DecryptionShare] = ()
    evaluations: Sequence[Evaluation] = ()
    unusable_shares: frozenset[str] = field(default_factory=frozenset)

    @property
    def duties(self) -> Sequence[Duty]:
        """What validators posted."""
        return (*self.attestations, *self.shares, *self.evaluations)

    @property
    def hospitals(self) -> Sequence[str]:
        """Hospitals with an update."""
        if self.sealed is not None:
            return tuple(self.sealed.hospitals)
        return sorted({update.msp_id for update in self.updates})

    def hospitals_without(self, dropped: Sequence[Dropped]) -> Sequence[str]:
        """Hospitals with an update that is in the sum."""
        if self.sealed is not None:
            return self.sealed.hospitals_without(dropped)
        out = {(update.msp_id, update.node_id) for update in dropped}
        return sorted({u.msp_id for u in self.updates if (u.msp_id, u.node_id) not in out})

    @property
    def silent(self) -> Sequence[str]:
        """Hospitals whose nodes are all missing."""
        if self.sealed is not None:
            return self.sealed.silent
        return sorted({node.msp_id for node in self.missing} - set(self.hospitals))


def node_name(msp_id: str, node_id: str) -> str:
    """A node as the subject of a reputation."""
    return f"{msp_id}/{node_id}"


def unknown(subject: Rated, subject_id: str) -> Reputation:
    """The reputation of whom nothing is known yet."""
    score = score_milli({})
    return Reputation(
        subject=subject,
        subject_id=subject_id,
        score_milli=score,
        rounds=0,
        tallies={},
        changed_at=0,
    )


def book(before: Reputation, events: Events, now: int, *, fade: bool = True) -> Reputation:
    """The reputation after one more round, or after an event outside the rounds."""
    kinds = [kind for kind in Evidence if kind in before.tallies or kind in events]
    tallies = {
        kind: _add(before.tallies.get(kind, _NOTHING), events.get(kind, (0, 0)), fade)
        for kind in kinds
    }
    changes = {
        "score_milli": score_milli(tallies),
        "rounds": before.rounds + fade,
        "tallies": tallies,
        "changed_at": now,
    }
    return before.model_copy(update=changes)


def score_milli(tallies: Mapping[Evidence, Tally]) -> int:
    """(r + 1) / (r + s + 2) of the weighed recent evidence, in thousandths, rounded down."""
    good = sum(WEIGHTS[kind][0] * tally.recent_good_milli for kind, tally in tallies.items())
    bad = sum(WEIGHTS[kind][1] * tally.recent_bad_milli for kind, tally in tallies.items())
    return 1000 * (good + ONE) // (good + bad + 2 * ONE)


def _add(tally: Tally, events: tuple[int, int], fade: bool) -> Tally:
    good, bad = events
    kept_good, kept_bad = tally.recent_good_milli, tally.recent_bad_milli
    if fade:
        kept_good = kept_good * KEEP_GOOD[0] // KEEP_GOOD[1]
        kept_bad = kept_bad * KEEP_BAD[0] // KEEP_BAD[1]
    return Tally(
        good=tally.good + good,
        bad=tally.bad + bad,
        recent_good_milli=kept_good + ONE * good,
        recent_bad_milli=kept_bad + ONE * bad,
    )


# What a round showed.


def after_round(
    round_: Round,
    posts: Posts,
    find: Callable[[Sequence[Subject]], Sequence[Reputation]],
    now: int,
    classifier: ClassifierTerms | None,
    page: int = 0,
) -> list[Reputation]:
    """The reputations of everybody who had or owed a part in a round, now that it is over: of the
    nodes of one page and their datasets; with the first page also of all others.

    ``find`` gives the reputations before; ``classifier`` is the one adopted, which scores nodes.
    """
    hospitals = sorted({post.msp_id for post in posts.duties} | set(round_.absent))
    known = find([(Rated.HOSPITAL, msp_id) for msp_id in hospitals])
    validators = {r.subject_id: r.validator for r in known if r.validator is not None}
    validators |= {post.msp_id: post.node_id for post in posts.duties}
    found = evidence(round_, posts, validators, page)
    # What a validator did of its duties is booked with the first page: a round fades once.
    faded = _on_duty(round_, posts, validators) if page else set()
    changed = [
        book(before, found[subject], now, fade=subject not in faded)
        for before in find(sorted(found))
        for subject in [(before.subject, before.subject_id)]
    ]
    return [_finished(reputation, validators, classifier) for reputation in changed]


def after_test(
    test: GroupTest,
    summed: Sequence[NodeStanding],
    find: Callable[[Sequence[Subject]], Sequence[Reputation]],
    now: int,
    classifier: ClassifierTerms | None,
) -> list[Reputation]:
    """The reputations of the hospitals and nodes that a group test was about, ``summed`` being
    those whose updates are in its round's sum; as :func:`after_round`. It belongs to its round:
    nothing fades once more."""
    harmful = {quality.msp_id: quality.harmful for quality in test.qualities}
    found: dict[Subject, Events] = {}
    for contribution in summed:
        msp_id = contribution.msp_id
        events: Events = {Evidence.QUALITY: (0, 1) if harmful[msp_id] else (1, 0)}
        found[Rated.HOSPITAL, msp_id] = events
        found[Rated.NODE, node_name(msp_id, contribution.node_id)] = events
    changed = [
        book(before, found[before.subject, before.subject_id], now, fade=False)
        for before in find(sorted(found))
    ]
    return [_finished(reputation, {}, classifier) for reputation in changed]


def after_study(
    wrong: Sequence[Deposit | StudyShare],
    evidence: Evidence,
    find: Callable[[Sequence[Subject]], Sequence[Reputation]],
    now: int,
    classifier: ClassifierTerms | None,
) -> list[Reputation]:
    """The reputations of the hospitals and nodes that gave to a study what is not proven to be by
    the rules. It is no round: nothing fades."""
    found: dict[Subject, int] = Counter()
    for given in wrong:
        found[Rated.HOSPITAL, given.msp_id] += 1
        found[Rated.NODE, node_name(given.msp_id, given.node_id)] += 1
    changed = [
        book(before, {evidence: (0, times)}, now, fade=False)
        for before in find(sorted(found))
        for times in [found[before.subject, before.subject_id]]
    ]
    return [_finished(reputation, {}, classifier) for reputation in changed]


def _finished(
    reputation: Reputation, validators: Mapping[str, str], classifier: ClassifierTerms | None
) -> Reputation:
    if reputation.subject is Rated.HOSPITAL:
        validator = validators.get(reputation.subject_id, reputation.validator)
        return reputation.model_copy(update={"validator": validator})
    if reputation.subject is Rated.NODE and classifier is not None:
        found = assess(classifier, reputation)
        changes = {
            "suspicion_micro": found.suspicion_micro,
            "flagged": found.flagged,
            "discount_milli": 1000 - found.factor_milli,
        }
        return reputation.model_copy(update=changes)
    return reputation


def evidence(
    round_: Round, posts: Posts, validators: Mapping[str, str], page: int = 0
) -> dict[Subject, Events]:
    """What a round that is over says of everybody who took part or should have: of the nodes of
    one page and their datasets; with the first page also of all others.

    ``validators`` names the node known to post for each hospital: a duty missed is its own too.
    """
    found: dict[Subject, dict[Evidence, list[int]]] = {}
    seen = _of_nodes(round_, posts)
    if page == 0:
        seen = chain(seen, _of_others(round_, posts, validators))
    for subject, kind, good in seen:
        side = found.setdefault(subject, {}).setdefault(kind, [0, 0])
        side[0 if good else 1] += 1
    return {
        subject: {kind: (good, bad) for kind, (good, bad) in kinds.items()}
        for subject, kinds in found.items()
    }


_Event = tuple[Subject, Evidence, bool]


def _of_nodes(round_: Round, posts: Posts) -> Iterator[_Event]:
    yield from _updates(round_, posts)
    yield from _haste(round_, posts)
    yield from _outcomes(round_, posts)


def _of_others(round_: Round, posts: Posts, validators: Mapping[str, str]) -> Iterator[_Event]:
    yield from _hospitals(round_, posts)
    yield from _duties(round_, posts, validators)
    yield from _agreements(round_, posts)
    yield from _candidate(round_, posts, validators)


def _on_duty(round_: Round, posts: Posts, validators: Mapping[str, str]) -> set[Subject]:
    """Nodes of whose duties the round says anything."""
    return {subject for subject, _, _ in _duties(round_, posts, validators)}


def _updates(round_: Round, posts: Posts) -> Iterator[_Event]:
    unusable = {_name(node) for node in _unusable(round_)}
    for update in posts.updates:
        yield _node(update), Evidence.UPDATE, True
        if _node(update) in unusable:
            yield _node(update), Evidence.CONTENT, False
    for node in posts.missing:
        yield _name(node), Evidence.UPDATE, False


def _hospitals(round_: Round, posts: Posts) -> Iterator[_Event]:
    for msp_id in posts.hospitals:
        yield (Rated.HOSPITAL, msp_id), Evidence.UPDATE, True
    for msp_id in posts.silent:
        yield (Rated.HOSPITAL, msp_id), Evidence.UPDATE, False
    for node in _unusable(round_):
        yield (Rated.HOSPITAL, node.msp_id), Evidence.CONTENT, False


def _unusable(round_: Round) -> list[NodeRef]:
    """Nodes whose update, or the masks on it, most hospitals could not use."""
    found = [NodeRef(msp_id=d.msp_id, node_id=d.node_id) for d in round_.dropped]
    return found if round_.unusable is None else [*found, round_.unusable]


def _haste(round_: Round, posts: Posts) -> Iterator[_Event]:
    took = sorted(update.posted_at - round_.opened_at for update in posts.updates)
    if not took or took[len(took) // 2] < HASTE_SECONDS:
        return
    for update in posts.updates:
        seconds = update.posted_at - round_.opened_at
        yield _node(update), Evidence.HASTE, 4 * seconds >= took[len(took) // 2]


def _duties(round_: Round, posts: Posts, validators: Mapping[str, str]) -> Iterator[_Event]:
    for post in posts.duties:
        yield _node(post), Evidence.DUTY, True
        yield (Rated.HOSPITAL, post.msp_id), Evidence.DUTY, True
    for msp_id in round_.absent:
        yield (Rated.HOSPITAL, msp_id), Evidence.DUTY, False
        if msp_id in validators:
            yield _validator(msp_id, validators), Evidence.DUTY, False


def _validator(msp_id: str, validators: Mapping[str, str]) -> Subject:
    return Rated.NODE, node_name(msp_id, validators[msp_id])


def _agreements(round_: Round, posts: Posts) -> Iterator[_Event]:
    if round_.aggregate_sha256 is None:
        return
    for attestation in posts.attestations:
        as_agreed = attestation.aggregate_sha256 == round_.aggregate_sha256
        yield _node(attestation), Evidence.AGREEMENT, as_agreed
        yield (Rated.HOSPITAL, attestation.msp_id), Evidence.AGREEMENT, as_agreed
    if round_.status is RoundStatus.FAILED and round_.failure != Code.CANDIDATE_REJECTED:
        for share in posts.shares:
            if share.msp_id in posts.unusable_shares or share.msp_id in round_.unproven:
                yield _node(share), Evidence.SHARE, False
                yield (Rated.HOSPITAL, share.msp_id), Evidence.SHARE, False


def _judged(round_: Round) -> bool:
    """Whether the round came to a candidate that was published or rejected."""
    published = round_.status is RoundStatus.PUBLISHED
    return published or round_.failure == Code.CANDIDATE_REJECTED


def _outcomes(round_: Round, posts: Posts) -> Iterator[_Event]:
    if not _judged(round_):
        return
    published = round_.status is RoundStatus.PUBLISHED
    naming = _naming(posts)
    progress = sum(e.correct for e in naming) >= sum(e.base_correct for e in naming)
    dropped = {_name(node) for node in _unusable(round_)}
    out = [_name(node) for node in posts.missing]
    for update in posts.updates:
        if _node(update) in dropped:
            out.append(_node(update))
            continue
        for subject in (_node(update), (Rated.DATASET, update.dataset_id)):
            yield subject, Evidence.OUTCOME, published
            yield subject, Evidence.PROGRESS, progress
    for node in out:
        yield node, Evidence.OUTCOME_ABSENT, published
        yield node, Evidence.PROGRESS_ABSENT, progress


def _candidate(round_: Round, posts: Posts, validators: Mapping[str, str]) -> Iterator[_Event]:
    if not _judged(round_):
        return
    published = round_.status is RoundStatus.PUBLISHED
    for share in posts.shares:
        yield _node(share), Evidence.SHARE, True
        yield (Rated.HOSPITAL, share.msp_id), Evidence.SHARE, True
    if round_.left_out is not None:
        # What did not decode with its share does without it.
        yield (Rated.HOSPITAL, round_.left_out), Evidence.SHARE, False
        if round_.left_out in validators:
            yield _validator(round_.left_out, validators), Evidence.SHARE, False
    agreed = agreed_candidate(posts.evaluations)
    for evaluation in posts.evaluations:
        yield from _verdict(evaluation, agreed, published)
    for msp_id in posts.hospitals_without(round_.dropped):
        yield (Rated.HOSPITAL, msp_id), Evidence.OUTCOME, published
    if round_.model_sha256 is not None:
        for evaluation in _naming(posts):
            if evaluation.accept is not None:
                yield (Rated.MODEL, round_.model_sha256), Evidence.EVALUATION, evaluation.accept


def _naming(posts: Posts) -> Sequence[Evaluation]:
    """The evaluations of the candidate that most name."""
    agreed = agreed_candidate(posts.evaluations)
    return [evaluation for evaluation in posts.evaluations if _names(evaluation, agreed)]


def _verdict(evaluation: Evaluation, agreed: str, published: bool) -> Iterator[_Event]:
    if evaluation.candidate is None:
        return
    same = _names(evaluation, agreed)
    for subject in (_node(evaluation), (Rated.HOSPITAL, evaluation.msp_id)):
        yield subject, Evidence.AGREEMENT, same
        if same and evaluation.accept is not None:
            yield subject, Evidence.EVALUATION, evaluation.accept is published


def agreed_candidate(evaluations: Sequence[Evaluation]) -> str:
    """The address that most evaluations name; empty where none names any."""
    tally = Counter(e.candidate.sha256 for e in evaluations if e.candidate is not None)
    return max(tally.items(), key=lambda item: (item[1], item[0]), default=("", 0))[0]


def _names(evaluation: Evaluation, address: str) -> bool:
    return evaluation.candidate is not None and evaluation.candidate.sha256 == address


def _node(post: Update | Duty) -> Subject:
    return Rated.NODE, node_name(post.msp_id, post.node_id)


def _name(node: NodeRef) -> Subject:
    return Rated.NODE, node_name(node.msp_id, node.node_id)
