"""Classifiers of malicious nodes: proposed whole, adopted by vote, one at a time."""

from __future__ import annotations

from chaincode.contracts import reputation, voting
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import canonical, classifiers, keys, states
from chaincode.schema.base import PageArgs
from chaincode.schema.classifiers import (
    AdoptedClassifier,
    Assessment,
    Classifier,
    ClassifierArgs,
    ClassifierPage,
    ClassifierStatus,
    ClassifierTerms,
)
from chaincode.schema.consortium import NodeArgs, Subject
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.reputation import Rated


class ClassifierContract:
    """An adopted classifier weighs nodes down within bounds and flags them; it suspends nobody."""

    @transaction("classifier:Propose")
    def propose(self, context: Context, terms: ClassifierTerms) -> Classifier:
        key = keys.classifier(terms.classifier_id)
        if context.find(key, Classifier) is not None:
            raise MedFabricError(
                Code.EXISTS, f"classifier {terms.classifier_id} exists; name another"
            )
        classifier = Classifier(
            terms=terms,
            terms_sha256=canonical.sha256(terms),
            status=ClassifierStatus.PROPOSED,
            proposed_by=context.msp_id,
            proposed_at=context.now,
            changed_at=context.now,
        )
        context.put(key, classifier)
        context.emit("classifier.proposed", msp_id=context.msp_id, subject=terms.classifier_id)
        return classifier

    @transaction("classifier:Advance")
    def advance(self, context: Context, args: ClassifierArgs) -> Classifier:
        classifier = context.get(keys.classifier(args.classifier_id), Classifier)
        if classifier.status is not ClassifierStatus.PROPOSED:
            raise MedFabricError(
                Code.ALREADY, f"classifier {args.classifier_id} is {classifier.status} already"
            )
        if not voting.decided(voting.ballot(context, question(context, classifier))):
            return _move(context, classifier, ClassifierStatus.REJECTED)
        before = reputation.adopted_classifier(context)
        if before is not None:
            _move(context, before, ClassifierStatus.RETIRED)
        context.put(keys.adopted_classifier(), AdoptedClassifier(classifier_id=args.classifier_id))
        return _move(context, classifier, ClassifierStatus.ADOPTED)

    @transaction("classifier:Get")
    def get(self, context: Context, args: ClassifierArgs) -> Classifier:
        return context.get(keys.classifier(args.classifier_id), Classifier)

    @transaction("classifier:List")
    def list(self, context: Context, args: PageArgs) -> ClassifierPage:
        found, bookmark = context.page("classifier", (), Classifier, args.page_size, args.bookmark)
        return ClassifierPage(classifiers=found, bookmark=bookmark)

    @transaction("classifier:Assess")
    def assess(self, context: Context, args: NodeArgs) -> Assessment:
        adopted = reputation.adopted_classifier(context)
        if adopted is None:
            raise MedFabricError(Code.NOT_FOUND, "no classifier is adopted; propose one")
        subject_id = f"{args.msp_id}/{args.node_id}"
        reputation.owner(context, Rated.NODE, subject_id)
        (node,) = reputation.of(context, [(Rated.NODE, subject_id)])
        return classifiers.assess(adopted.terms, node)


def question(context: Context, classifier: Classifier) -> voting.Question:
    """A classifier as a question to the hospitals."""
    rule = voting.rules(context).classifier
    return voting.question(
        Subject.CLASSIFIER,
        classifier.terms.classifier_id,
        classifier.terms_sha256,
        context.consortium().hospitals,
        rule,
        classifier.proposed_at + rule.open_seconds,
    )


def _move(context: Context, classifier: Classifier, to: ClassifierStatus) -> Classifier:
    states.check(states.CLASSIFIER, classifier.status, to)
    moved = classifier.model_copy(update={"status": to, "changed_at": context.now})
    context.put(keys.classifier(classifier.terms.classifier_id), moved)
    context.emit(f"classifier.{to.value.lower()}", subject=classifier.terms.classifier_id)
    return moved
