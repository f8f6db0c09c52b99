"""Feature: Private data collections."""

from __future__ import annotations

import pytest
from support.feature_network import ONE, PRIVATE, THREE, TWO, FeatureNetwork, words

from client.gateway import EndorseError, EvaluateError

scenario = pytest.mark.scenario
SHARED, OF_ONE, OF_THREE = "SharedCollection", "Org1Collection", "Org3Collection"


def write(
    network: FeatureNetwork, number: int, collection: str, key: str, *organizations: str
) -> None:
    transient = {
        "collection": collection.encode(),
        "key": key.encode(),
        "value": f"value of {key}".encode(),
    }
    committed = network.gateway(number, PRIVATE).submit(
        words("write_private"), transient=transient, organizations=organizations
    )
    network.arrived(committed.block_number)


def read(network: FeatureNetwork, number: int, collection: str, key: str, msp_id: str) -> bytes:
    return network.gateway(number, PRIVATE).evaluate(
        words("read_private", collection, key), organizations=[msp_id]
    )


@scenario("Org1 writes private data to Org1Collection and can read it back")
def test_org1_writes_private_data_and_can_read_it_back(network: FeatureNetwork) -> None:
    write(network, 1, OF_ONE, "key-101", ONE)

    assert read(network, 1, OF_ONE, "key-101", ONE) == b"value of key-101"


@scenario("Org1 writes private data to Org1Collection but fails to read it via an Org2 peer")
def test_org1_fails_to_read_via_an_org2_peer(network: FeatureNetwork) -> None:
    write(network, 1, OF_ONE, "key-102", ONE)

    with pytest.raises(EvaluateError):
        read(network, 1, OF_ONE, "key-102", TWO)


@scenario(
    "Org2 can write private data to Org1Collection (Org1MSP must endorse), but can't read it back"
)
def test_org2_can_write_but_not_read_back(network: FeatureNetwork) -> None:
    write(network, 2, OF_ONE, "key-103", ONE)

    with pytest.raises(EvaluateError):
        read(network, 2, OF_ONE, "key-103", ONE)


@scenario("Org2 writes private data to Org1Collection (Org1MSP must endorse), and Org1 can read it")
def test_org2_writes_and_org1_can_read(network: FeatureNetwork) -> None:
    write(network, 2, OF_ONE, "key-104", ONE)

    assert read(network, 1, OF_ONE, "key-104", ONE) == b"value of key-104"


@scenario("Org1 writes private data to SharedCollection, and Org2 fails to read it")
def test_org2_fails_to_read_the_shared_collection(network: FeatureNetwork) -> None:
    write(network, 1, SHARED, "key-106")

    with pytest.raises(EvaluateError):
        read(network, 2, SHARED, "key-106", ONE)


@scenario("Org2 cannot write data to SharedCollection")
def test_org2_cannot_write_data_to_shared_collection(network: FeatureNetwork) -> None:
    with pytest.raises(EndorseError):
        write(network, 2, SHARED, "key-107", ONE)


@scenario("Org1 writes private data to SharedCollection without specifying endorsers")
def test_org1_writes_to_shared_collection_without_specifying_endorsers(
    network: FeatureNetwork,
) -> None:
    write(network, 1, SHARED, "key-108")

    assert read(network, 1, SHARED, "key-108", ONE) == b"value of key-108"


@scenario(
    "Org1 writes private data to SharedCollection and Org3Collection without specifying endorsers"
)
def test_gateway_finds_the_endorsers_of_collections(network: FeatureNetwork) -> None:
    write(network, 1, f"{SHARED},{OF_THREE}", "key-109")

    assert read(network, 1, SHARED, "key-109", ONE) == b"value of key-109"
    assert read(network, 1, OF_THREE, "key-109", THREE) == b"value of key-109"
    with pytest.raises(EvaluateError):
        read(network, 1, OF_THREE, "key-109", ONE)
