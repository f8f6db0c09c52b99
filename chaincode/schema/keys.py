"""Names of the ledger's keys: the object type and attributes of each composite key.

A transaction reads single keys by these names; only queries read ranges.
"""

from __future__ import annotations

import base64

Key = tuple[str, tuple[str, ...]]
"""(object type, attributes) of a Fabric composite key."""


def composite(key: Key) -> str:
    """The key as state and blocks have it."""
    kind, parts = key
    return "\x00" + "".join(part + "\x00" for part in (kind, *parts))


def parted(composite_key: str) -> Key:
    """The inverse of :func:`composite`."""
    kind, *parts = composite_key[1:-1].split("\x00")
    return kind, tuple(parts)


def consortium() -> Key:
    return ("consortium", ("self",))


def membership(number: int) -> Key:
    return ("membership", (_padded(number),))


def renewal(msp_id: str) -> Key:
    return ("renewal", (msp_id,))


def hospital(msp_id: str) -> Key:
    return ("hospital", (msp_id,))


def reputation(subject: str, subject_id: str) -> Key:
    return ("reputation", (subject, *subject_id.split("/")))


def rated(parts: tuple[str, ...]) -> tuple[str, str]:
    """Kind and name of whose reputation is at a key with these parts."""
    subject, *subject_id = parts
    return subject, "/".join(subject_id)


def complaint(complaint_id: str) -> Key:
    return ("complaint", (complaint_id,))


def suspension(msp_id: str, node_id: str) -> Key:
    return ("suspension", (msp_id, node_id))


def rulebook() -> Key:
    return ("rulebook", ("self",))


def motion(subject: str, subject_id: str) -> Key:
    return ("motion", (subject, subject_id))


def past_motion(subject: str, subject_id: str, number: int) -> Key:
    return ("past-motion", (subject, subject_id, _padded(number)))


def vote(subject: str, subject_id: str, subject_sha256: str, msp_id: str) -> Key:
    return ("vote", (subject, subject_id, subject_sha256, msp_id))


def node(msp_id: str, node_id: str) -> Key:
    return ("node", (msp_id, node_id))


def node_change(msp_id: str, node_id: str, number: int) -> Key:
    return ("node-change", (msp_id, node_id, _padded(number)))


def node_key(msp_id: str, public_key_sha256: str) -> Key:
    return ("node-key", (msp_id, public_key_sha256))


def dataset(dataset_id: str) -> Key:
    return ("dataset", (dataset_id,))


def consent(dataset_id: str, plan_id: str) -> Key:
    return ("consent", (dataset_id, plan_id))


def release(dataset_id: str, release_id: str) -> Key:
    return ("release", (dataset_id, release_id))


def account(dataset_id: str) -> Key:
    return ("account", (dataset_id,))


def hospital_account(msp_id: str) -> Key:
    return ("hospital-account", (msp_id,))


def plan(plan_id: str) -> Key:
    return ("plan", (plan_id,))


def plan_terms(plan_id: str) -> Key:
    return ("plan-terms", (plan_id,))


def plan_version(plan_id: str, version: int) -> Key:
    return ("plan-version", (plan_id, _padded(version)))


def place(plan_id: str, msp_id: str, slot: int) -> Key:
    return ("place", (plan_id, msp_id, _padded(slot)))


def place_of_node(plan_id: str, msp_id: str, node_id: str) -> Key:
    return ("place-of-node", (plan_id, msp_id, node_id))


def place_of_dataset(plan_id: str, dataset_id: str) -> Key:
    return ("place-of-dataset", (plan_id, dataset_id))


def ceremony(plan_id: str) -> Key:
    return ("ceremony", (plan_id,))


def key_commitment(plan_id: str, msp_id: str) -> Key:
    return ("key-commitment", (plan_id, msp_id))


def key_share(plan_id: str, msp_id: str) -> Key:
    return ("key-share", (plan_id, msp_id))


def key_confirmation(plan_id: str, msp_id: str) -> Key:
    return ("key-confirmation", (plan_id, msp_id))


def round_(plan_id: str, number: int) -> Key:
    return ("round", (plan_id, _padded(number)))


def cohort(plan_id: str, number: int, page: int) -> Key:
    return ("cohort", (plan_id, _padded(number), _padded(page)))


def contributions(plan_id: str, number: int, page: int) -> Key:
    return ("contributions", (plan_id, _padded(number), _padded(page)))


def contributions_before(plan_id: str, number: int, page: int) -> Key:
    """Of the page before this one."""
    return contributions(plan_id, number, page - 1)


def update(plan_id: str, number: int, msp_id: str, node_id: str) -> Key:
    return ("update", (plan_id, _padded(number), msp_id, node_id))


def attestation(plan_id: str, number: int, dropped: int, msp_id: str) -> Key:
    return ("attestation", (plan_id, _padded(number), _padded(dropped), msp_id))


def key_accusation(plan_id: str, msp_id: str) -> Key:
    return ("key-accusation", (plan_id, msp_id))


def key_verdict(plan_id: str, msp_id: str) -> Key:
    return ("key-verdict", (plan_id, msp_id))


def share(plan_id: str, number: int, attempt: int, msp_id: str) -> Key:
    return ("share", (plan_id, _padded(number), _padded(attempt), msp_id))


def share_proof(plan_id: str, number: int, msp_id: str) -> Key:
    return ("share-proof", (plan_id, _padded(number), msp_id))


def share_verdict(plan_id: str, number: int, msp_id: str) -> Key:
    return ("share-verdict", (plan_id, _padded(number), msp_id))


def evaluation(plan_id: str, number: int, attempt: int, msp_id: str) -> Key:
    return ("evaluation", (plan_id, _padded(number), _padded(attempt), msp_id))


def mask_keys(plan_id: str, number: int, msp_id: str, node_id: str) -> Key:
    return ("mask-keys", (plan_id, _padded(number), msp_id, node_id))


def masking(plan_id: str, number: int) -> Key:
    return ("masking", (plan_id, _padded(number)))


def unmasking(plan_id: str, number: int, msp_id: str) -> Key:
    return ("unmasking", (plan_id, _padded(number), msp_id))


def update_content(plan_id: str, sha256: str) -> Key:
    return ("update-content", (plan_id, short_id(sha256)))


def decline(plan_id: str, number: int, msp_id: str, node_id: str) -> Key:
    return ("decline", (plan_id, _padded(number), msp_id, node_id))


def objection(
    plan_id: str, number: int, msp_id: str, subject_sha256: str, *, again: bool = False
) -> Key:
    parts = (plan_id, _padded(number), msp_id, subject_sha256)
    return ("objection", (*parts, "again") if again else parts)


def objections(plan_id: str, number: int, msp_id: str) -> Key:
    return ("objections", (plan_id, _padded(number), msp_id))


def model(sha256: str) -> Key:
    return ("model", (sha256,))


def inquiry(model_sha256: str, query_sha256: str) -> Key:
    return ("inquiry", (model_sha256, query_sha256))


def inference(model_sha256: str, query_sha256: str, msp_id: str, node_id: str) -> Key:
    return ("inference", (model_sha256, query_sha256, msp_id, node_id))


def loan(plan_id: str, lent_sha256: str) -> Key:
    return ("loan", (plan_id, lent_sha256))


def scoring(plan_id: str, lent_sha256: str, scores_sha256: str) -> Key:
    return ("scoring", (plan_id, lent_sha256, scores_sha256))


def classifier(classifier_id: str) -> Key:
    return ("classifier", (classifier_id,))


def adopted_classifier() -> Key:
    return ("adopted-classifier", ("self",))


def local_model(msp_id: str, model_id: str) -> Key:
    return ("local-model", (msp_id, model_id))


def grant(msp_id: str, model_id: str, recipient_msp: str, recipient_node: str) -> Key:
    return ("grant", (msp_id, model_id, recipient_msp, recipient_node))


def receipt(msp_id: str, model_id: str, tx_id: str) -> Key:
    return ("receipt", (msp_id, model_id, tx_id))


def application(application: str, version: int) -> Key:
    return ("application", (application, _padded(version)))


def record(application: str, msp_id: str, record_id: str) -> Key:
    return ("record", (application, msp_id, record_id))


def holding(sha256: str, msp_id: str) -> Key:
    return ("holding", (sha256, msp_id))


def challenge(tx_id: str) -> Key:
    return ("challenge", (tx_id,))


def pending_challenge(tx_id: str) -> Key:
    return ("pending-challenge", (tx_id,))


def check(tx_id: str, msp_id: str) -> Key:
    return ("check", (tx_id, msp_id))


def group_test(plan_id: str, number: int) -> Key:
    return ("group-test", (plan_id, _padded(number)))


def group_attestation(plan_id: str, number: int, msp_id: str) -> Key:
    return ("group-attestation", (plan_id, _padded(number), msp_id))


def group_share(plan_id: str, number: int, msp_id: str) -> Key:
    return ("group-share", (plan_id, _padded(number), msp_id))


def group_score(plan_id: str, number: int, msp_id: str) -> Key:
    return ("group-score", (plan_id, _padded(number), msp_id))


def group_regression(plan_id: str) -> Key:
    return ("group-regression", (plan_id,))


def study(study_id: str) -> Key:
    return ("study", (study_id,))


def study_consent(study_id: str, dataset_id: str) -> Key:
    return ("study-consent", (study_id, dataset_id))


def study_limit(dataset_id: str) -> Key:
    return ("study-limit", (dataset_id,))


def study_uses(dataset_id: str) -> Key:
    return ("study-uses", (dataset_id,))


def deposit(study_id: str, dataset_id: str) -> Key:
    return ("deposit", (study_id, dataset_id))


def study_attestation(study_id: str, msp_id: str) -> Key:
    return ("study-attestation", (study_id, msp_id))


def study_share(study_id: str, attempt: int, msp_id: str) -> Key:
    return ("study-share", (study_id, _padded(attempt), msp_id))


def study_proof(study_id: str, msp_id: str) -> Key:
    return ("study-proof", (study_id, msp_id))


def study_verdict(study_id: str, msp_id: str) -> Key:
    return ("study-verdict", (study_id, msp_id))


def finding(study_id: str, msp_id: str) -> Key:
    return ("finding", (study_id, msp_id))


def study_result(study_id: str) -> Key:
    return ("study-result", (study_id,))


def act(msp_id: str, node_id: str, at: int, tx_id: str) -> Key:
    return ("act", (msp_id, node_id, _instant(at), short_id(tx_id)))


def acts(msp_id: str, node_id: str, at: int) -> Key:
    """What the keys of all acts of a signer within a second begin with."""
    return ("act", (msp_id, node_id, _instant(at)))


def written(name: str, at: int, tx_id: str) -> Key:
    return ("written", (name, _instant(at), short_id(tx_id)))


def edge(target: str, relation: str, source: str) -> Key:
    return ("edge", (target, relation, source))


def access(hospital: str, tx_id: str) -> Key:
    return ("access", (hospital, tx_id))


def short_id(sha256: str) -> str:
    """A hash, or a transaction's id, in 43 characters."""
    return base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode("ascii").removesuffix("=")


def tx_id(short: str) -> str:
    """The inverse of :func:`short_id`."""
    return base64.urlsafe_b64decode(short + "=").hex()


def _instant(seconds: int) -> str:
    return f"{seconds:010d}"


def private_record(kind: str, subject: str) -> Key:
    """A key of the hospital's own private data collection, not of the public state."""
    return ("private", (kind, subject))


def private_records(kind: str) -> Key:
    """What the keys of all private records of a kind begin with."""
    return ("private", (kind,))


def _padded(number: int) -> str:
    # Lexical order of keys is then the order of rounds.
    return f"{number:05d}"
