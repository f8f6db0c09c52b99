"""Private data, calls between chaincodes and pages: Fabric's semantics on both networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2
from support.networks import KINDS
from support.private_toy import (
    COLLECTIONS,
    FOUR,
    MSPS,
    ONE,
    OTHER,
    THREE,
    TWO,
    ToyNetwork,
    implicit,
)

from chaincode.schema.errors import MedFabricError
from client import blocks
from client.audit import proof
from client.connection import Connection
from client.gateway import CommitError, EndorseError, EvaluateError
from client.identity import Identity
from network import lifecycle
from network.chaincode import definitions
from network.collections import Collection
from network.devnet import rwset


@pytest.fixture(scope="module", params=KINDS)
def toys(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ToyNetwork]:
    made = ToyNetwork(tmp_path_factory.mktemp("private") / "consortium", request.param)
    try:
        yield made
    finally:
        made.close()


def blocks_of(toys: ToyNetwork, folder: Path) -> list[common_pb2.Block]:
    connection = Connection.load(toys.layout.connection("hospital3"))
    auditor = Identity.load(toys.layout.user("hospital3", "auditor"))
    height = blocks.fetch(connection, auditor, folder)
    return [blocks.parse(blocks.read(folder, number)) for number in range(height)]


def last(toys: ToyNetwork, folder: Path) -> transaction_pb2.ChaincodeActionPayload:
    """What the newest block's last transaction carries."""
    envelope = common_pb2.Envelope.FromString(blocks_of(toys, folder)[-1].data.data[-1])
    payload = common_pb2.Payload.FromString(envelope.payload)
    (action,) = transaction_pb2.Transaction.FromString(payload.data).actions
    return transaction_pb2.ChaincodeActionPayload.FromString(action.payload)


def endorsers(action: transaction_pb2.ChaincodeActionPayload) -> set[str]:
    return {
        identities_pb2.SerializedIdentity.FromString(endorsement.endorser).mspid
        for endorsement in action.action.endorsements
    }


def results(action: transaction_pb2.ChaincodeActionPayload) -> proposal_pb2.ChaincodeAction:
    endorsed = action.action.proposal_response_payload
    response = proposal_response_pb2.ProposalResponsePayload.FromString(endorsed)
    return proposal_pb2.ChaincodeAction.FromString(response.extension)


# collections


def test_own_implicit_collection_needs_the_own_hospital_alone(
    toys: ToyNetwork, tmp_path: Path
) -> None:
    toys.submit("put", implicit(TWO), "mine", at=2, value=b"inventory of hospital 2")

    assert toys.ask("get", implicit(TWO), "mine", at=2) == b"inventory of hospital 2"
    expected = hashlib.sha256(b"inventory of hospital 2").digest()
    for number in range(1, 5):
        assert toys.ask("hash", implicit(TWO), "mine", at=number) == expected
    assert endorsers(last(toys, tmp_path)) == {TWO}
    for block in blocks_of(toys, tmp_path):
        assert b"inventory of hospital 2" not in block.SerializeToString()


def test_peer_that_is_no_member_has_no_value(toys: ToyNetwork) -> None:
    toys.submit("put", implicit(TWO), "hidden", at=2, value=b"secret")

    with pytest.raises(EvaluateError, match="private data matching public hash version"):
        toys.ask("get", implicit(TWO), "hidden", at=1)


def test_another_hospital_s_endorsement_is_none_for_an_implicit_collection(
    toys: ToyNetwork,
) -> None:
    proposal = toys.propose(
        "put", implicit(TWO), "stolen", at=1, value=b"v", organizations=[ONE, THREE, FOUR]
    )

    with pytest.raises(CommitError) as caught:
        proposal.endorse().submit().status().check()

    assert caught.value.validation == "ENDORSEMENT_POLICY_FAILURE"
    assert toys.ask("hash", implicit(TWO), "stolen") == b"nothing"


def test_every_member_s_peer_gets_the_value(toys: ToyNetwork, tmp_path: Path) -> None:
    toys.submit("put", "pair", "shared", value=b"for two")

    assert toys.ask("get", "pair", "shared", at=2) == b"for two"
    assert toys.ask("get_many", "pair", "shared", "absent", at=2) == b"for two,nothing"
    assert endorsers(last(toys, tmp_path)) == {ONE}


def test_both_members_must_endorse_where_the_collection_says_so(
    toys: ToyNetwork, tmp_path: Path
) -> None:
    toys.submit("put", "both", "agreed", value=b"v")
    assert endorsers(last(toys, tmp_path)) == {ONE, TWO}

    alone = toys.propose("put", "both", "agreed", value=b"w", organizations=[ONE]).endorse()
    with pytest.raises(CommitError) as caught:
        alone.submit().status().check()

    assert caught.value.validation == "ENDORSEMENT_POLICY_FAILURE"
    assert toys.ask("get", "both", "agreed", at=2) == b"v"


def test_strangers_neither_read_nor_write_a_collection_of_members_alone(
    toys: ToyNetwork,
) -> None:
    toys.submit("put", "pair", "closed", value=b"v")

    with pytest.raises(EvaluateError, match="does not have read access permission"):
        toys.ask("get", "pair", "closed", at=3)
    with pytest.raises(EndorseError) as caught:
        toys.propose("put", "pair", "closed", at=3, value=b"w").endorse()

    assert any("does not have write access" in d.message for d in caught.value.details)


def test_collection_that_is_not_defined_is_refused(toys: ToyNetwork) -> None:
    with pytest.raises(EvaluateError, match="could not be found"):
        toys.ask("get", "none-such", "k")
    with pytest.raises(EvaluateError, match="not defined in the collection config"):
        toys.ask("hash", "none-such", "k")


def test_endorser_that_reaches_too_few_members_refuses(toys: ToyNetwork) -> None:
    with pytest.raises(EndorseError) as caught:
        toys.propose("put", "alone", "k", value=b"v").endorse()

    assert any("required to disseminate" in d.message for d in caught.value.details)


def test_hashed_sets_are_fabric_s_bytes(toys: ToyNetwork, tmp_path: Path) -> None:
    toys.submit("put", "pair", "first", value=b"1")
    toys.submit("put_both", "open", "zweite", value=b"2", organizations=MSPS[:3])

    found = results(last(toys, tmp_path)).results

    sets = rwset.Namespace()
    sets.public.put("zweite", b"public")
    sets.collection("open").put("zweite", b"2")
    part = next(
        part
        for part in rwset_pb2.TxReadWriteSet.FromString(found).ns_rwset
        if part.namespace == "medfabric"
    )
    whole = rwset_pb2.TxReadWriteSet.FromString(rwset.results({"medfabric": sets}).public)
    assert part.SerializeToString() == whole.ns_rwset[0].SerializeToString()


# transient data


def test_transient_data_are_shown_to_no_stranger(toys: ToyNetwork) -> None:
    # The collection has no policy of its own, so that the chaincode's majority would be needed.
    with pytest.raises(EndorseError, match="not in the distribution policy"):
        toys.propose("put", "open", "k", value=b"v").endorse()

    toys.submit("put", "open", "k", value=b"v", organizations=MSPS[:3])

    assert toys.ask("get", "open", "k", at=2) == b"v"


# conflicts


def test_concurrent_writes_of_a_private_key_conflict(toys: ToyNetwork) -> None:
    toys.submit("put", "pair", "counted", value=b"0")
    first = toys.propose("count", "pair", "counted").endorse()
    second = toys.propose("count", "pair", "counted").endorse()

    first.submit().status().check()
    with pytest.raises(CommitError) as caught:
        second.submit().status().check()

    assert caught.value.validation == "MVCC_READ_CONFLICT"
    assert toys.ask("get", "pair", "counted") == b"0+"


def test_hash_that_was_read_must_not_have_changed(toys: ToyNetwork) -> None:
    stale = toys.propose("hash", "pair", "watched").endorse()
    toys.submit("put", "pair", "watched", value=b"1")

    with pytest.raises(CommitError) as caught:
        stale.submit().status().check()

    assert caught.value.validation == "MVCC_READ_CONFLICT"


def test_transaction_that_read_a_private_range_does_not_write(toys: ToyNetwork) -> None:
    for key in ("ra", "rb", "rc"):
        toys.submit("put", "pair", key, value=b"v")
    toys.submit("drop", "pair", "rb")

    assert toys.ask("range", "pair", "ra", "rd", at=2) == b"ra,rc"
    with pytest.raises(EndorseError) as caught:
        toys.propose("range", "pair", "ra", "rd", "into").endorse()

    assert any("Writes are not allowed" in d.message for d in caught.value.details)


# the end of private data


def test_purged_key_is_gone_with_its_hash(toys: ToyNetwork, tmp_path: Path) -> None:
    toys.submit("put", "pair", "regretted", value=b"v")
    toys.submit("purge", "pair", "regretted")

    for number in (1, 2):
        assert toys.ask("get", "pair", "regretted", at=number) == b"nothing"
    assert toys.ask("hash", "pair", "regretted", at=3) == b"nothing"
    (part,) = [p for p in _parts(toys, tmp_path) if p.collection_hashed_rwset]
    hashed = kv_rwset_pb2.HashedRWSet.FromString(part.collection_hashed_rwset[0].hashed_rwset)
    (write,) = hashed.hashed_writes
    assert (write.is_purge, write.is_delete) == (True, True)
    toys.submit("put", "pair", "regretted", value=b"again")
    assert toys.ask("get", "pair", "regretted", at=2) == b"again"


def test_deleted_key_is_gone(toys: ToyNetwork) -> None:
    toys.submit("put", "pair", "deleted", value=b"v")
    toys.submit("drop", "pair", "deleted")

    assert toys.ask("get", "pair", "deleted", at=2) == b"nothing"
    assert toys.ask("hash", "pair", "deleted", at=4) == b"nothing"


def test_data_expire_with_the_third_block_after_theirs(toys: ToyNetwork) -> None:
    toys.submit("put", "brief", "renewed", value=b"old")
    toys.submit("put", "brief", "once", value=b"v")
    toys.submit("put", "brief", "renewed", value=b"new")
    toys.submit("set", "pace", "1")
    assert toys.ask("get", "brief", "once", at=2) == b"v"

    toys.submit("set", "pace", "2")

    assert toys.ask("get", "brief", "once", at=2) == b"nothing"
    assert toys.ask("hash", "brief", "once", at=4) == b"nothing"
    assert toys.ask("get", "brief", "renewed", at=2) == b"new"


# policies of private keys


def test_private_key_s_own_policy_is_asked_for(toys: ToyNetwork, tmp_path: Path) -> None:
    toys.submit("put", "pair", "owned", value=b"1")
    toys.submit("own", "pair", "owned", TWO)

    alone = toys.propose("put", "pair", "owned", value=b"2", organizations=[ONE]).endorse()
    with pytest.raises(CommitError) as caught:
        alone.submit().status().check()
    toys.submit("put", "pair", "owned", value=b"3")

    assert caught.value.validation == "ENDORSEMENT_POLICY_FAILURE"
    assert {ONE, TWO} == endorsers(last(toys, tmp_path))
    assert toys.ask("get", "pair", "owned", at=2) == b"3"


# calls between chaincodes


def test_called_chaincode_s_writes_join_under_its_own_name(
    toys: ToyNetwork, tmp_path: Path
) -> None:
    answer = toys.submit("call", OTHER, "", "set", "called", "a")

    assert answer == b"200 a"
    assert toys.ask("state", "called", chaincode=OTHER) == b"a"
    assert toys.ask("state", "called") == b"nothing"
    assert toys.ask("state", "caller") == b"wrote"
    action = results(last(toys, tmp_path))
    names = [
        part.namespace for part in rwset_pb2.TxReadWriteSet.FromString(action.results).ns_rwset
    ]
    assert names == ["_lifecycle", "medfabric", OTHER]
    assert not action.events  # the called chaincode's event is nobody's


def test_what_the_called_chaincode_read_must_not_have_changed(toys: ToyNetwork) -> None:
    stale = toys.propose("call", OTHER, "", "set", "raced", "a").endorse()
    toys.submit("set", "raced", "b", chaincode=OTHER)

    with pytest.raises(CommitError) as caught:
        stale.submit().status().check()

    assert caught.value.validation == "MVCC_READ_CONFLICT"


def test_called_chaincode_s_refusal_reaches_the_caller(toys: ToyNetwork) -> None:
    assert toys.ask("call", OTHER, "", "set", "k", "bad") == b"400 bad value"


@pytest.mark.parametrize(
    ("target", "channel"), [("none-such", ""), ("medfabric", ""), (OTHER, "elsewhere")]
)
def test_call_that_leads_nowhere_is_an_error(toys: ToyNetwork, target: str, channel: str) -> None:
    with pytest.raises(EvaluateError):
        toys.ask("call", target, channel, "state", "k")

    assert toys.ask("call", OTHER, "medfabric", "state", "none") == b"200 nothing"


# pages


def test_bookmark_is_the_next_page_s_first_key(toys: ToyNetwork) -> None:
    toys.submit("fill", "page", "7")

    first = toys.ask("page", "page", "page~", "3", "")
    second = toys.ask("page", "page", "page~", "3", "page003")
    third = toys.ask("page", "page", "page~", "3", "page006")
    exact = toys.ask("page", "page", "page~", "7", "")

    assert first == b"page003 page000 page001 page002"
    assert second == b"page006 page003 page004 page005"
    assert third == b" page006"
    assert exact.split(b" ")[0] == b""
    assert toys.ask("page", "page", "page~", "3", "page9") == b""


def test_transaction_that_read_a_page_does_not_write(toys: ToyNetwork) -> None:
    with pytest.raises(EndorseError) as caught:
        toys.propose("page", "page", "page~", "3", "", "into").endorse()

    assert any("Writes are not allowed" in d.message for d in caught.value.details)


# definitions


REFUSED = {
    "none any more": ((), "does not contain previously defined collections"),
    "one dropped": (COLLECTIONS[1:], r"existing collection \[pair\] missing"),
    "one that lives longer": (
        (*COLLECTIONS[:3], COLLECTIONS[3].model_copy(update={"block_to_live": 3}), COLLECTIONS[4]),
        r"BlockToLive in an existing collection \[brief\] modified",
    ),
    "one of a stranger": (
        (*COLLECTIONS, Collection(name="foreign", members=("Hospital9MSP",))),
        "'Hospital9MSP' is not part of the channel",
    ),
    "one twice": ((*COLLECTIONS, COLLECTIONS[0]), "found duplicate"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_collections_that_may_not_change_so_are_not_approved(toys: ToyNetwork, what: str) -> None:
    changed, words = REFUSED[what]
    network = toys.network
    contracts = definitions(network.topology)[0]
    proposed = replace(contracts, sequence=2, collections=tuple(changed))

    with pytest.raises(MedFabricError, match=words):
        lifecycle.approve(network, network.topology.hospitals[0], proposed)


# transactions that no honest peer would endorse


def _part(namespace: str, **collections: kv_rwset_pb2.HashedRWSet) -> rwset_pb2.NsReadWriteSet:
    part = rwset_pb2.NsReadWriteSet(namespace=namespace)
    for name, hashed in collections.items():
        part.collection_hashed_rwset.add(
            collection_name=name, hashed_rwset=hashed.SerializeToString()
        )
    if not collections:
        sets = kv_rwset_pb2.KVRWSet(writes=[kv_rwset_pb2.KVWrite(key="k", value=b"forged")])
        part.rwset = sets.SerializeToString()
    return part


WRITE = kv_rwset_pb2.HashedRWSet(
    hashed_writes=[kv_rwset_pb2.KVWriteHash(key_hash=b"k" * 32, value_hash=b"v" * 32)]
)
METADATA = kv_rwset_pb2.HashedRWSet(
    metadata_writes=[kv_rwset_pb2.KVMetadataWriteHash(key_hash=b"k" * 32)]
)
FORGED = {
    "chaincode named like a collection": (
        [_part(f"medfabric$${implicit(ONE)}")],
        MSPS,
        "INVALID_CHAINCODE",
    ),
    "chaincode twice": ([_part("medfabric"), _part("medfabric")], MSPS, "ILLEGAL_WRITESET"),
    "one endorser for two collections": (
        [_part("medfabric", pair=WRITE, both=WRITE)],
        [ONE],
        "ENDORSEMENT_POLICY_FAILURE",
    ),
    "metadata by a stranger": (
        [_part("medfabric", pair=METADATA)],
        [THREE, FOUR],
        "ENDORSEMENT_POLICY_FAILURE",
    ),
    "called chaincode by one alone": (
        [_part(OTHER), _part("medfabric", pair=WRITE)],
        [ONE],
        "ENDORSEMENT_POLICY_FAILURE",
    ),
    "public write by a majority": ([_part("medfabric")], MSPS[:3], "VALID"),
}


@pytest.mark.parametrize("what", FORGED)
def test_forged_sets_are_judged_alike(toys: ToyNetwork, what: str) -> None:
    parts, who, expected = FORGED[what]
    results = rwset_pb2.TxReadWriteSet(ns_rwset=parts).SerializeToString()

    status = toys.submit_forged(results, who)

    assert status == expected


# the auditor


def test_auditor_proves_all_of_it(toys: ToyNetwork, tmp_path: Path) -> None:
    height = len(blocks_of(toys, tmp_path))

    verdict, _ = proof.prove(tmp_path, toys.layout.genesis.read_bytes(), height)

    assert verdict.findings == []
    assert verdict.transactions > verdict.valid > 30


def _parts(toys: ToyNetwork, folder: Path) -> list[rwset_pb2.NsReadWriteSet]:
    found = results(last(toys, folder)).results
    return list(rwset_pb2.TxReadWriteSet.FromString(found).ns_rwset)
