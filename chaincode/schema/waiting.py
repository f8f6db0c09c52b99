"""How long a round waits for evaluations: in contracts and for agents the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from chaincode.schema.plans import ParticipationTerms
from chaincode.schema.rounds import Evaluation, Round


def unevaluated(
    hospitals: Sequence[str], evaluations: Sequence[Evaluation], gone: Collection[str]
) -> tuple[str, ...]:
    """Hospitals that have not evaluated the candidate and are still members."""
    done = {evaluation.msp_id for evaluation in evaluations}
    return tuple(h for h in hospitals if h not in done and h not in gone)


def evaluated_at(
    round_: Round,
    terms: ParticipationTerms,
    awaited: Sequence[str],
    evaluations: Sequence[Evaluation],
    heard: Collection[str],
) -> int:
    """From when the round goes on without the evaluations ``awaited``, in seconds of the epoch.

    It waits the whole stage for whom it heard of, and for all where agreement needs them. Where the
    others agree, it does not wait for those who let a deadline of this round pass already, and a
    quarter of the stage for those whose validator posted nothing to it before: what keeps them from
    evaluating most likely kept them from that.

    Args:
        heard: hospitals whose validators posted an attestation or a share to the round.
    """
    tally = Counter(e.candidate.sha256 for e in evaluations if e.candidate is not None)
    if max(tally.values(), default=0) < terms.agreement:
        return round_.deadline + 1 if awaited else 0
    awaited = [h for h in awaited if h not in round_.absent]
    if any(h in heard for h in awaited):
        return round_.deadline + 1
    return round_.changed_at + terms.stage_seconds // 4 if awaited else 0
