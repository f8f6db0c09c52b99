"""network.json: what it says and what is told of a damaged one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaincode.schema.errors import Code, MedFabricError
from network import topology
from network.topology import Kind


def test_every_port_of_a_new_consortium_is_its_own() -> None:
    made = topology.create(Kind.DEVNET, 7)

    ports = [port for h in made.hospitals for port in h.ports.model_dump().values()]
    assert len(set(ports)) == len(ports) == 7 * len(topology.Ports.model_fields)


def test_ports_are_below_those_of_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    made = topology.create(Kind.DEVNET, 2)

    assert all(p < first for h in made.hospitals for p in h.ports.model_dump().values())


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    made = topology.create(Kind.FABRIC, 4, "3.1.5", fabric_ca=True)

    topology.save(made, tmp_path)

    assert topology.load(tmp_path) == made


@pytest.mark.parametrize("number", [0, 1, 65])
def test_refuses_a_consortium_of_a_senseless_size(number: int) -> None:
    with pytest.raises(MedFabricError) as refusal:
        topology.create(Kind.DEVNET, number)

    assert refusal.value.code == Code.BAD_TOPOLOGY


def test_says_where_no_consortium_is(tmp_path: Path) -> None:
    with pytest.raises(MedFabricError, match=str(tmp_path)) as refusal:
        topology.load(tmp_path)

    assert refusal.value.code == Code.NO_NETWORK


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"kind": "fabric"}'])
def test_refuses_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / topology.FILE).write_bytes(content)

    with pytest.raises(MedFabricError) as refusal:
        topology.load(tmp_path)

    assert refusal.value.code == Code.BAD_TOPOLOGY


def test_names_the_field_that_is_wrong(tmp_path: Path) -> None:
    topology.save(topology.create(Kind.DEVNET, 2), tmp_path)
    content = json.loads((tmp_path / topology.FILE).read_text())
    content["hospitals"][1]["slug"] = "../elsewhere"
    (tmp_path / topology.FILE).write_text(json.dumps(content))

    with pytest.raises(MedFabricError, match=r"hospitals\.1\.slug"):
        topology.load(tmp_path)


def test_an_unknown_hospital_is_answered_with_those_known() -> None:
    with pytest.raises(MedFabricError, match="hospital1, hospital2") as refusal:
        topology.create(Kind.DEVNET, 2).hospital("hospital3")

    assert refusal.value.code == Code.NO_SUCH_HOSPITAL


def test_further_hospital_takes_ports_and_a_number_that_nobody_has() -> None:
    there = topology.create(Kind.DEVNET, 3)
    fewer = topology.without(there, "hospital2")

    more = topology.further(fewer, "hospital5")

    hospital = more.hospital("hospital5")
    taken = {port for h in fewer.hospitals for port in vars(h.ports).values()}
    assert (hospital.msp_id, hospital.consenter_id) == ("Hospital5MSP", 4)
    assert not taken & set(vars(hospital.ports).values())
    assert more.hospitals[:2] == fewer.hospitals


@pytest.mark.parametrize("slug", ["", "Hospital5", "../elsewhere", "h" * 40, "hospital 5"])
def test_name_that_no_hospital_can_have_is_refused(slug: str) -> None:
    with pytest.raises(MedFabricError) as refusal:
        topology.further(topology.create(Kind.DEVNET, 2), slug)

    assert refusal.value.code == Code.BAD_TOPOLOGY


def test_last_two_hospitals_stay() -> None:
    with pytest.raises(MedFabricError) as refusal:
        topology.without(topology.create(Kind.DEVNET, 2), "hospital2")

    assert refusal.value.code == Code.BAD_TOPOLOGY
