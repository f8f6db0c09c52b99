"""Reputations: booked once when a round has ended, read by key where they weigh.

One record per subject, so that a weight or an admission needs one read. Two rounds conflict only
where they share a subject and end, or seal, within one block; the later is then proposed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import conduct, keys
from chaincode.schema.classifiers import AdoptedClassifier, Classifier
from chaincode.schema.conduct import Events, Posts, Subject
from chaincode.schema.consortium import Hospital, Node
from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import GroupTest
from chaincode.schema.plans import Participant
from chaincode.schema.reputation import (
    Evidence,
    Rated,
    RatedArgs,
    Rating,
    Reputation,
    ReputationPage,
    ReputationPageArgs,
)
from chaincode.schema.rounds import Model, NodeStanding, Round, Update
from chaincode.schema.studies import Deposit, StudyShare


class ReputationContract:
    """Reputations are written by rounds and complaints; here they are found."""

    @transaction("reputation:Get")
    def get(self, context: Context, args: RatedArgs) -> Reputation:
        owner(context, args.subject, args.subject_id)
        return of(context, [(args.subject, args.subject_id)])[0]

    @transaction("reputation:List")
    def list(self, context: Context, args: ReputationPageArgs) -> ReputationPage:
        found, bookmark = context.page_entries(
            "reputation", (args.subject.value,), args.page_size, args.bookmark
        )
        reputations = tuple(
            Reputation.of(args.subject, keys.rated(parts)[1], Rating.model_validate_json(value))
            for parts, value in found
        )
        return ReputationPage(reputations=reputations, bookmark=bookmark)


def of(context: Context, subjects: Sequence[Subject]) -> list[Reputation]:
    """The reputations of several subjects, in order; of whom nothing is known, the unknown's."""
    found = context.find_all([keys.reputation(*subject) for subject in subjects], Rating)
    return [
        conduct.unknown(*subject) if known is None else Reputation.of(*subject, known)
        for subject, known in zip(subjects, found, strict=True)
    ]


def owner(context: Context, subject: Rated, subject_id: str) -> str | None:
    """The hospital that answers for a subject; nobody answers for a model.

    Raises:
        MedFabricError: ``NOT_FOUND`` where there is no such hospital, node, dataset or model.
    """
    if subject is Rated.HOSPITAL:
        if context.find(keys.hospital(subject_id), Hospital) is not None:
            return subject_id
    elif subject is Rated.NODE:
        msp_id, _, node_id = subject_id.partition("/")
        if node_id and context.find(keys.node(msp_id, node_id), Node) is not None:
            return msp_id
    elif subject is Rated.DATASET:
        dataset = context.find(keys.dataset(subject_id), Dataset)
        if dataset is not None:
            return dataset.msp_id
    elif context.find(keys.model(subject_id), Model) is not None:
        return None
    raise MedFabricError(
        Code.NOT_FOUND, f"there is no {subject} {subject_id}; a node is named MSP/node"
    )


def book(context: Context, round_: Round, posts: Posts, page: int) -> None:
    """Book what a round that is over showed: on the nodes of one page, and with the first page on
    everybody else who had or owed a part in it."""
    classifier = adopted_classifier(context)
    terms = None if classifier is None else classifier.terms
    before = partial(of, context)
    for reputation in conduct.after_round(round_, posts, before, context.now, terms, page):
        _put(context, reputation)


def book_test(context: Context, test: GroupTest, summed: Sequence[NodeStanding]) -> None:
    """Book what a group test that was scored says of whose updates are in its round's sum."""
    classifier = adopted_classifier(context)
    terms = None if classifier is None else classifier.terms
    for reputation in conduct.after_test(test, summed, partial(of, context), context.now, terms):
        _put(context, reputation)


def book_study(context: Context, wrong: Sequence[Deposit | StudyShare], evidence: Evidence) -> None:
    """Book what was given to a study and is not proven to be by the rules."""
    classifier = adopted_classifier(context)
    terms = None if classifier is None else classifier.terms
    find = partial(of, context)
    for reputation in conduct.after_study(wrong, evidence, find, context.now, terms):
        _put(context, reputation)


def adopted_classifier(context: Context) -> Classifier | None:
    """The classifier that scores nodes, if any was adopted."""
    adopted = context.find(keys.adopted_classifier(), AdoptedClassifier)
    if adopted is None:
        return None
    return context.get(keys.classifier(adopted.classifier_id), Classifier)


def missed_duty(context: Context, hospitals: Iterable[str]) -> None:
    """Book hospitals that let a key ceremony's deadline pass."""
    events: Events = {Evidence.DUTY: (0, 1)}
    for before in of(context, [(Rated.HOSPITAL, msp_id) for msp_id in hospitals]):
        _put(context, conduct.book(before, events, context.now))


def complaint_upheld(context: Context, subject: Subject) -> None:
    """Book a complaint that the consortium upheld."""
    events: Events = {Evidence.COMPLAINT: (0, 1)}
    (before,) = of(context, [subject])
    _put(context, conduct.book(before, events, context.now, fade=False))


def standing_milli(
    context: Context, updates: Sequence[Update] | Sequence[Participant]
) -> list[int]:
    """What the updates' samples are multiplied by, in the order of the updates, 1 to 1000.

    The hospital's score, times the lower of the node's and the dataset's, times the factor that
    the adopted classifier gives the node.
    """
    subjects = [
        subject
        for update in updates
        for subject in (
            (Rated.HOSPITAL, update.msp_id),
            (Rated.NODE, conduct.node_name(update.msp_id, update.node_id)),
            (Rated.DATASET, update.dataset_id),
        )
    ]
    known = of(context, subjects)
    return [
        max(
            1,
            hospital.score_milli
            * min(node.score_milli, dataset.score_milli)
            * node.factor_milli
            // 1_000_000,
        )
        for hospital, node, dataset in zip(known[::3], known[1::3], known[2::3], strict=True)
    ]


def meets(context: Context, msp_id: str, node_id: str, least_milli: int) -> bool:
    """Whether the scores of a node and of its hospital are at least this much."""
    subjects = [(Rated.HOSPITAL, msp_id), (Rated.NODE, conduct.node_name(msp_id, node_id))]
    return all(known.score_milli >= least_milli for known in of(context, subjects))


def _put(context: Context, reputation: Reputation) -> None:
    context.put(keys.reputation(reputation.subject, reputation.subject_id), reputation.rating)
