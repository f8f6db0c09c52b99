"""Every scenario of fabric-gateway's public feature suite is tried, under its name."""

from __future__ import annotations

import re
from pathlib import Path

SCENARIOS = """
Close does not interrupt other block event listeners
Checkpoint of block events
Receive block event
Replay block event
Restart after closing block event session

Checkpoint of chaincode events
Close does not interrupt other chaincode event listeners
Receive chaincode event
Replay chaincode event
Restart after closing chaincode event session

Submit fails with insufficient endorsers
Submit succeeds with sufficient endorsers

Evaluate on org1
Evaluate on org2
Submit to org1
Submit to org1 and org3
Submit to org2
Submit to org3

Evaluate crash chaincode
Evaluate fails with incorrect arguments
Evaluate with signer from unauthorized MSP
Org2 and Org3 fail to endorse
Org3 fails to endorse
Org3 fails to evaluate
Submit fails with incorrect chaincode name
Submit fails with incorrect transaction name
Submit non-deterministic transaction

Evaluate fails without signing
Evaluate succeeds with off-line signing
Submit fails without signing
Submit succeeds with off-line signing

Org1 writes private data to Org1Collection and can read it back
Org1 writes private data to Org1Collection but fails to read it via an Org2 peer
Org1 writes private data to SharedCollection and Org3Collection without specifying endorsers
Org1 writes private data to SharedCollection without specifying endorsers
Org1 writes private data to SharedCollection, and Org2 fails to read it
Org2 can write private data to Org1Collection (Org1MSP must endorse), but can't read it back
Org2 cannot write data to SharedCollection
Org2 writes private data to Org1Collection (Org1MSP must endorse), and Org1 can read it

Set SBE policy for Org1 AND Org3; state change fails when specifying incorrect endorsing orgs
Set SBE policy for Org1 AND Org3; state change successfully when not specifying endorsing orgs
Set SBE policy for Org2 AND Org3 (no local org); state change successfully when not specifying \
endorsing orgs
State change fails if endorsed only by Org2 peer
State change must be endorsed by Org1 peer

Evaluate with error response
Evaluate with result
Submit with error response
Submit with result
Transient data
Update ledger
"""
_MARK = re.compile(r"scenario\(\s*((?:\"[^\"]*\"\s*)+)\)")


def test_every_scenario_is_tried() -> None:
    wanted = set(filter(None, SCENARIOS.splitlines()))
    sources = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    tried = {
        "".join(re.findall(r"\"([^\"]*)\"", mark))
        for source in sources
        for mark in _MARK.findall(source)
    }

    assert tried == wanted
