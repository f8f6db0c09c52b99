"""Hospitals on machines of their own: cards, and the consortium that each founds from them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaincode.schema.errors import Code, MedFabricError
from client.connection import Connection
from network import apart, cards, crypto, topology
from network.base import open_network
from network.cards import Card
from network.fabric import FabricNetwork
from network.topology import Layout

SLUGS = ("hospital1", "hospital2", "hospital3", "hospital4")


def offered(folder: Path, slug: str, host: str) -> Card:
    """As ``offer`` leaves it, where no certificate authority has to be started."""
    made = topology.alone(slug, host, host, (7051, 7050), "3.1.5", fabric_ca=False)
    folder.mkdir(parents=True)
    topology.save(made, folder)
    network = FabricNetwork(folder, made)
    crypto.create_hospital(network.layout, made.hospitals[0])
    return cards.of(network.layout, made.hospitals[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Card]]:
    """Four machines' folders, named after their hospitals, and the cards."""
    work = tmp_path_factory.mktemp("apart")
    hosts = ("127.0.1.1", "127.0.1.2", "three.example.org", "127.0.1.4")
    found = [offered(work / s, s, h) for s, h in zip(SLUGS, hosts, strict=True)]
    return work, found


def refused(act: Callable[[], object]) -> MedFabricError:
    with pytest.raises(MedFabricError) as caught:
        act()
    return caught.value


def test_all_machines_make_the_same_genesis_block_and_hold_no_others_key(
    made: tuple[Path, list[Card]],
) -> None:
    work, everyone = made

    orders = (everyone, everyone[::-1], everyone[2:] + everyone[:2], everyone)
    digests = {apart.found(work / s, order) for s, order in zip(SLUGS, orders, strict=True)}
    again = apart.found(work / SLUGS[0], everyone)

    assert digests == {again}
    assert len({Layout(work / slug).genesis.read_bytes() for slug in SLUGS}) == 1
    for slug in SLUGS:
        secret = [
            path
            for path in (work / slug).rglob("*")
            if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
        ]
        assert secret
        assert all(slug in path.relative_to(work / slug).parts for path in secret)
        assert all(path.stat().st_mode & 0o077 == 0 for path in secret)
        names = open_network(work / slug).names()
        assert {name.partition(".")[0] for name in names} == {slug}


def test_clients_and_servers_go_by_hosts_and_all_else_stays_on_loopback(
    made: tuple[Path, list[Card]],
) -> None:
    work, everyone = made
    apart.found(work / "hospital3", everyone)

    connection = Connection.load(Layout(work / "hospital3").connection("hospital3"))
    home = Layout(work / "hospital3").hospital("hospital3")
    peer = json.loads((home / "peer" / "core.yaml").read_text())
    orderer = json.loads((home / "orderer" / "orderer.yaml").read_text())

    assert connection.gateway.address == "three.example.org:7051"
    assert [other.address for other in connection.peers] == [
        "127.0.1.1:7051",
        "127.0.1.2:7051",
        "127.0.1.4:7051",
    ]
    assert all(endpoint.tls_ca_file.exists() for endpoint in connection.peers)
    assert peer["peer"]["gossip"]["externalEndpoint"] == "three.example.org:7051"
    assert peer["operations"]["listenAddress"].startswith("127.0.0.1:")
    assert orderer["Admin"]["ListenAddress"].startswith("127.0.0.1:")
    assert orderer["General"]["ListenAddress"] == "three.example.org"


def test_a_card_goes_through_its_file(made: tuple[Path, list[Card]], tmp_path: Path) -> None:
    _, everyone = made
    path = tmp_path / "card"
    path.write_text(everyone[2].model_dump_json())

    assert cards.read(path) == everyone[2]
    assert "PRIVATE" not in path.read_text()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"host": "elsewhere.example.org"}, "is not for elsewhere.example.org"),
        ({"host": "-bad-.example"}, "neither the name nor the IPv4 address"),
        ({"host": "10.0.0.256"}, "neither the name nor the IPv4 address"),
        ({"orderer_port": 7051}, "cannot share a port"),
        ({"peer_port": 0}, "peer_port"),
        ({"peer_port": "7051"}, "peer_port"),
        ({"hospital": "Hospital1"}, "hospital"),
        ({"version": 2}, "version"),
        ({"surprise": 1}, "surprise"),
        ({"orderer_identity": "identity_authority"}, "no orderer's certificate"),
        ({"orderer_tls": "orderer_identity"}, "a certificate is not what it must be"),
        ({"tls_authority": "orderer_tls"}, "a certificate is not what it must be"),
        ({"identity_authority": "tls_authority"}, "a certificate is not what it must be"),
        ({"orderer_tls": "no certificate"}, "a certificate is not what it must be"),
    ],
)
def test_a_card_that_does_not_hold_together_is_refused(
    made: tuple[Path, list[Card]], tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    _, everyone = made
    good = everyone[0].model_dump()
    path = tmp_path / "card"
    path.write_text(json.dumps({**good, **{k: good.get(str(v), v) for k, v in changes.items()}}))

    error = refused(lambda: cards.read(path))

    assert error.code == Code.CARD_REFUSED
    assert why in error.message


def test_a_card_that_is_no_file_or_too_long_is_refused(tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_bytes(b" " * (cards.MOST_BYTES + 1))

    assert refused(lambda: cards.read(tmp_path / "none")).code == Code.CARD_REFUSED
    assert "larger" in refused(lambda: cards.read(long)).message


def test_a_certificate_over_an_unknown_curve_is_refused(
    made: tuple[Path, list[Card]], tmp_path: Path
) -> None:
    _, everyone = made
    authority = x509.load_pem_x509_certificate(everyone[0].identity_authority.encode())
    curve = bytes.fromhex("06082a8648ce3d030107")
    damaged = authority.public_bytes(Encoding.DER).replace(curve, curve[:-1] + b"\x7f")
    body = base64.encodebytes(damaged).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
    path = tmp_path / "card"
    path.write_text(everyone[0].model_copy(update={"identity_authority": pem}).model_dump_json())

    error = refused(lambda: cards.read(path))

    assert error.code == Code.CARD_REFUSED
    assert "Curve" in error.message


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 10_000), to=st.binary(max_size=3), cut=st.integers(0, 3))
def test_a_mutated_card_is_refused_or_the_same(
    made: tuple[Path, list[Card]], tmp_path: Path, at: int, to: bytes, cut: int
) -> None:
    _, everyone = made
    raw = everyone[0].model_dump_json().encode()
    at %= len(raw)
    path = tmp_path / "card"
    path.write_bytes(raw[:at] + to + raw[at + cut :])

    read, code = None, None
    try:
        read = cards.read(path)
    except MedFabricError as error:
        code = error.code

    if read is None:
        assert code == Code.CARD_REFUSED
        return
    # Other ports and names are as good as these; no other certificate is.
    for field in ("identity_authority", "tls_authority", "orderer_identity", "orderer_tls"):
        ours, theirs = (
            x509.load_pem_x509_certificate(getattr(card, field).encode())
            for card in (everyone[0], read)
        )
        assert ours == theirs


def test_cards_that_do_not_go_together_are_refused_before_anything_is_written(
    made: tuple[Path, list[Card]], tmp_path: Path
) -> None:
    _, everyone = made
    folder = tmp_path / "machine"
    own = offered(folder, "hospital9", "127.0.1.9")
    other = everyone[0]
    before = sorted(path for path in folder.rglob("*"))
    twin = other.model_copy(update={"hospital": "hospital8"})
    same_place = own.model_copy(update={"hospital": "hospital7"})

    for given_cards, why in (
        ([other], "is not among them"),
        ([own], "from 2 to 64"),
        ([own, other, other], "same name"),
        ([own, other, twin], "same address"),
        ([own, same_place], "same address"),
        ([own, other, twin.model_copy(update={"host": "127.0.1.8"})], "same authority"),
    ):
        error = refused(lambda given_cards=given_cards: apart.found(folder, given_cards))  # type: ignore[misc]
        assert error.code == Code.CARD_REFUSED
        assert why in error.message
    assert (
        refused(lambda: apart.found(folder, [own, other], b"no block")).code == Code.CHANNEL_FAILED
    )
    assert sorted(path for path in folder.rglob("*")) == before
    assert refused(lambda: apart.up(open_network(folder), print, 1)).code == Code.BAD_TOPOLOGY


def test_a_machine_founds_one_consortium(made: tuple[Path, list[Card]], tmp_path: Path) -> None:
    _, everyone = made
    folder = tmp_path / "machine"
    own = offered(folder, "hospital9", "127.0.1.9")
    apart.found(folder, [own, everyone[0]])

    error = refused(lambda: apart.found(folder, [own, everyone[1]]))

    assert error.code == Code.NETWORK_EXISTS
    assert [h.slug for h in topology.load(folder).hospitals] == ["hospital1", "hospital9"]


@pytest.mark.parametrize(
    ("host", "listen", "why"),
    [
        ("::1", "127.0.0.1", "by a colon"),
        ("[2001:db8::1]", "127.0.0.1", "by a colon"),
        ("localhost", "localhost", "no IP address of this machine"),
        ("localhost", "192.0.2.1", "no IP address of this machine"),
        ("localhost", "2001:db8::1", "no IP address of this machine"),
    ],
)
def test_hosts_and_addresses_that_will_not_do_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, listen: str, why: str
) -> None:
    monkeypatch.setattr("network.binaries.fabric_version", lambda: "3.1.5")

    error = refused(
        lambda: apart.offer(tmp_path / "one", "one", host, tmp_path / "card", listen=listen)
    )

    assert error.code == Code.BAD_TOPOLOGY
    assert why in error.message
    assert not (tmp_path / "one").exists()


def test_an_ipv6_address_is_listened_on_in_brackets(tmp_path: Path) -> None:
    made = topology.alone("one", "one.example.org", "::", (7051, 7050), "3.1.5", fabric_ca=False)
    topology.save(made, tmp_path)
    network = open_network(tmp_path)
    network.furnish(made.hospitals[0])
    network.prepare()
    home = network.layout.hospital("one")

    peer = json.loads((home / "peer" / "core.yaml").read_text())
    orderer = json.loads((home / "orderer" / "orderer.yaml").read_text())

    assert peer["peer"]["listenAddress"] == "[::]:7051"
    assert orderer["General"]["ListenAddress"] == "[::]"
