"""Config transactions: followed where the right hospitals agreed, refused where anything is off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.peer import transaction_pb2

from chaincode.schema.errors import MedFabricError
from client import configuration as changes
from client.audit import configtx
from client.audit.channel import Channel, config_of
from client.audit.msp import IdentityRefusedError
from client.audit.validation import Validator
from client.identity import Identity
from network import configuration, crypto, genesis, topology
from network.topology import Hospital, Kind, Layout

CHANNEL = "medfabric"
Validation = transaction_pb2.TxValidationCode


@dataclass
class Made:
    layout: Layout
    hospitals: tuple[Hospital, ...]
    channel: Channel

    @property
    def config(self) -> Any:
        return self.channel.config

    def admin(self, number: int) -> Identity:
        return Identity.load(self.layout.user(f"hospital{number}", "admin"))

    def signed(self, wanted: Any, *numbers: int) -> Any:
        envelope = changes.prepare(self.config, wanted, CHANNEL)
        for number in numbers:
            envelope = changes.sign(envelope, self.admin(number))
        return envelope

    def follow(self, wanted: Any, *numbers: int) -> Channel:
        proposed = configtx.propose(self.channel, CHANNEL, self.signed(wanted, *numbers))
        return configtx.follow(self.channel, CHANNEL, proposed.SerializeToString())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four hospitals in the channel, and a fifth that is not."""
    layout = Layout(tmp_path_factory.mktemp("consortium"))
    five = topology.create(Kind.FABRIC, 5)
    for hospital in five.hospitals:
        crypto.create_hospital(layout, hospital)
    four = five.model_copy(update={"hospitals": five.hospitals[:4]})
    block = common_pb2.Block.FromString(genesis.block(four, layout))
    return Made(layout, five.hospitals, Channel(config_of(block)))


def test_majority_takes_a_fifth_hospital_in(made: Made) -> None:
    wanted = configuration.with_hospital(made.config, made.hospitals[4], made.layout)

    following = made.follow(wanted, 1, 2, 3)

    assert following.hospitals == tuple(f"Hospital{n}MSP" for n in range(1, 6))
    assert following.consenters == {1, 2, 3, 4, 5}
    assert following.config.sequence == made.config.sequence + 1
    with pytest.raises(IdentityRefusedError):
        made.channel.members.identity(made.admin(5).serialize())
    assert following.members.identity(made.admin(5).serialize()).kind == "admin"


@pytest.mark.parametrize("signers", [(), (1, 2), (1, 2, 5), (1, 2, 1)])
def test_too_few_take_nobody_in(made: Made, signers: tuple[int, ...]) -> None:
    wanted = configuration.with_hospital(made.config, made.hospitals[4], made.layout)

    with pytest.raises(configtx.UpdateRefusedError, match="too few"):
        made.follow(wanted, *signers)


def test_node_s_signature_is_not_its_admin_s(made: Made) -> None:
    crypto.enroll(made.layout, made.hospitals[2], "node9", ("trainer",), _issuer(made, 2))
    wanted = configuration.with_hospital(made.config, made.hospitals[4], made.layout)
    envelope = made.signed(wanted, 1, 2)
    envelope = changes.sign(envelope, Identity.load(made.layout.user("hospital3", "node9")))

    with pytest.raises(configtx.UpdateRefusedError, match="too few"):
        configtx.propose(made.channel, CHANNEL, envelope)


def _issuer(made: Made, index: int) -> Any:
    return crypto.own_authority(made.layout, made.hospitals[index])


def test_majority_puts_a_hospital_out_with_its_orderer(made: Made) -> None:
    wanted = configuration.without_hospital(made.config, made.hospitals[3])

    following = made.follow(wanted, 1, 2, 3)

    assert following.consenters == {1, 2, 3}
    with pytest.raises(IdentityRefusedError, match="no member"):
        following.members.identity(made.admin(4).serialize())


def test_configuration_whose_blocks_fewer_than_a_quorum_would_sign_is_refused(made: Made) -> None:
    wanted = configuration.without_hospital(made.config, made.hospitals[3])
    orderer = made.config.channel_group.groups["Orderer"]
    policy = wanted.channel_group.groups["Orderer"].policies["BlockValidation"]
    policy.CopyFrom(orderer.policies["BlockValidation"])

    with pytest.raises(ValueError, match="quorum"):
        made.follow(wanted, 1, 2, 3)


def test_hospital_revokes_its_own_members_alone(made: Made) -> None:
    hospital = made.hospitals[0]
    serial = x509.load_pem_x509_certificate(made.admin(1).certificate_pem).serial_number
    authority = crypto.Authority.load(made.layout.hospital(hospital.slug) / "ca", "signing")
    wanted = configuration.with_revocations(
        made.config, hospital, authority.revocation_list([serial])
    )

    with pytest.raises(configtx.UpdateRefusedError, match="Hospital1MSP/MSP"):
        made.follow(wanted, 2, 3, 4)
    following = made.follow(wanted, 1)

    assert configuration.revoked(following.config, hospital) == [serial]
    with pytest.raises(IdentityRefusedError, match="revoked"):
        following.members.identity(made.admin(1).serialize())
    assert made.channel.members.identity(made.admin(1).serialize()).msp_id == "Hospital1MSP"


def test_transaction_of_a_revoked_identity_is_judged_invalid_from_then_on(made: Made) -> None:
    hospital = made.hospitals[0]
    serial = x509.load_pem_x509_certificate(made.admin(1).certificate_pem).serial_number
    authority = crypto.Authority.load(made.layout.hospital(hospital.slug) / "ca", "signing")
    revocations = authority.revocation_list([serial])
    wanted = configuration.with_revocations(made.config, hospital, revocations)
    header = common_pb2.Header(
        channel_header=common_pb2.ChannelHeader(
            type=common_pb2.HeaderType.ENDORSER_TRANSACTION, channel_id=CHANNEL
        ).SerializeToString(),
        signature_header=common_pb2.SignatureHeader(
            creator=made.admin(1).serialize()
        ).SerializeToString(),
    )
    payload = common_pb2.Payload(header=header).SerializeToString()
    envelope = common_pb2.Envelope(payload=payload, signature=made.admin(1).sign(payload))
    block = common_pb2.Block(data=common_pb2.BlockData(data=[envelope.SerializeToString()]))

    (before,) = Validator(made.channel, CHANNEL).judge(block)
    (after,) = Validator(made.follow(wanted, 1), CHANNEL).judge(block)

    assert before.code == Validation.BAD_PROPOSAL_TXID
    assert (after.code, after.why) == (
        Validation.BAD_CREATOR_SIGNATURE,
        "a certificate of Hospital1MSP is revoked",
    )


def test_config_block_is_judged_and_then_in_force(made: Made) -> None:
    wanted = configuration.with_hospital(made.config, made.hospitals[4], made.layout)
    proposed = configtx.propose(made.channel, CHANNEL, made.signed(wanted, 1, 2, 3))
    validator = Validator(made.channel, CHANNEL)

    def block(signer: Identity, signature: bytes = b"") -> common_pb2.Block:
        header = common_pb2.Header(
            channel_header=common_pb2.ChannelHeader(
                type=common_pb2.HeaderType.CONFIG, channel_id=CHANNEL
            ).SerializeToString(),
            signature_header=common_pb2.SignatureHeader(
                creator=signer.serialize()
            ).SerializeToString(),
        )
        payload = common_pb2.Payload(header=header, data=proposed.SerializeToString())
        raw = payload.SerializeToString()
        envelope = common_pb2.Envelope(payload=raw, signature=signature or signer.sign(raw))
        return common_pb2.Block(data=common_pb2.BlockData(data=[envelope.SerializeToString()]))

    (stranger,) = validator.judge(block(made.admin(5)))
    (false,) = validator.judge(block(made.admin(1), b"false"))
    (good,) = validator.judge(block(made.admin(1)))
    beside = block(made.admin(1))
    beside.data.data.append(beside.data.data[0])

    assert stranger.code == false.code == Validation.BAD_CREATOR_SIGNATURE
    assert [one.valid for one in validator.judge(beside)] == [False, False]
    assert good.valid
    validator.apply(7, [good])
    assert (validator.last_config, len(validator.channel.hospitals)) == (7, 5)
    (again,) = validator.judge(block(made.admin(1)))
    assert again.code == Validation.INVALID_CONFIG_TRANSACTION


def test_revocation_list_that_its_authority_did_not_sign_revokes_nobody(made: Made) -> None:
    serial = x509.load_pem_x509_certificate(made.admin(1).certificate_pem).serial_number
    own, other = (
        crypto.Authority.load(made.layout.hospital(slug) / "ca", "signing")
        for slug in ("hospital1", "hospital2")
    )
    forged = own.revocation_list([serial])
    parsed = x509.load_pem_x509_crl(forged)
    false = parsed.public_bytes(Encoding.DER)[:-8] + b"\0" * 8
    foreign = other.revocation_list([serial])
    for pem in (foreign, x509.load_der_x509_crl(false).public_bytes(Encoding.PEM)):
        wanted = configuration.with_revocations(made.config, made.hospitals[0], pem)

        following = made.follow(wanted, 1)

        assert following.members.identity(made.admin(1).serialize()).kind == "admin"


def test_definitions_of_one_hospital_may_not_differ(made: Made) -> None:
    authority = crypto.Authority.load(made.layout.hospital("hospital1") / "ca", "signing")
    wanted = configuration.with_revocations(
        made.config, made.hospitals[0], authority.revocation_list([7])
    )
    orderer = made.config.channel_group.groups["Orderer"].groups["Hospital1MSP"]
    group = wanted.channel_group.groups["Orderer"].groups["Hospital1MSP"]
    group.values["MSP"].CopyFrom(orderer.values["MSP"])

    with pytest.raises(ValueError, match="two different definitions"):
        made.follow(wanted, 1)


def test_config_that_its_update_does_not_yield_is_refused(made: Made) -> None:
    wanted = configuration.with_policy(made.config, "Application/Endorsement", "ALL")
    proposed = configtx.propose(made.channel, CHANNEL, made.signed(wanted, 1, 2, 3))

    def refused(change: Any) -> str:
        false = configtx_pb2.ConfigEnvelope()
        false.CopyFrom(proposed)
        change(false)
        with pytest.raises(configtx.UpdateRefusedError) as caught:
            configtx.follow(made.channel, CHANNEL, false.SerializeToString())
        return str(caught.value)

    def endorsed_by_any(false: Any) -> None:
        anyone = configuration.with_policy(false.config, "Application/Endorsement", "ANY")
        false.config.CopyFrom(anyone)

    def of_another_update(false: Any) -> None:
        other = configuration.with_policy(made.config, "Application/Endorsement", "ANY")
        false.last_update.CopyFrom(made.signed(other, 1, 2, 3))

    assert "not what its update yields" in refused(endorsed_by_any)
    assert "not what its update yields" in refused(of_another_update)
    assert "not what" in refused(lambda false: setattr(false.config, "sequence", 9))
    assert "update" in refused(lambda false: false.ClearField("last_update"))


def test_update_for_another_channel_or_of_an_older_configuration_is_refused(made: Made) -> None:
    wanted = configuration.with_policy(made.config, "Application/Endorsement", "ALL")
    envelope = made.signed(wanted, 1, 2, 3)

    with pytest.raises(configtx.UpdateRefusedError, match="channel"):
        configtx.propose(made.channel, "other", envelope)
    following = made.follow(wanted, 1, 2, 3)
    with pytest.raises(configtx.UpdateRefusedError):
        configtx.propose(following, CHANNEL, envelope)


@pytest.mark.parametrize(
    ("section", "name"),
    [("", "Capabilities"), ("Orderer", "Capabilities"), ("", "HashingAlgorithm")],
)
def test_configuration_that_is_not_understood_is_not_followed(
    made: Made, section: str, name: str
) -> None:
    wanted = configtx_pb2.Config()
    wanted.CopyFrom(made.config)
    group = wanted.channel_group.groups[section] if section else wanted.channel_group
    group.values[name].value = b""

    with pytest.raises(ValueError, match=r"capabilities|hashes"):
        made.follow(wanted, 1, 2, 3, 4)


def test_change_travels_as_a_file_and_says_what_it_does(made: Made, tmp_path: Path) -> None:
    wanted = configuration.with_hospital(made.config, made.hospitals[4], made.layout)
    path = tmp_path / "change.pb"
    changes.write(changes.prepare(made.config, wanted, CHANNEL), path)
    for number in (1, 2, 2, 3):
        changes.write(changes.sign(changes.read(path), made.admin(number)), path)

    about = changes.describe(changes.read(path))

    assert about["signed_by"] == ["Hospital1MSP", "Hospital2MSP", "Hospital3MSP"]
    assert about["changes"]["Channel/Application/Hospital5MSP"] == "added"
    assert about["changes"]["Channel/Orderer/BlockValidation"] == "modified"
    configtx.propose(made.channel, CHANNEL, changes.read(path))


def test_file_that_is_no_change_is_refused(made: Made, tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"\xff", made.layout.file.name.encode())):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(MedFabricError, match="MF-7040"):
            changes.read(path)
    with pytest.raises(MedFabricError, match="MF-7040"):
        changes.read(tmp_path / "absent")


def test_change_that_changes_nothing_is_refused(made: Made) -> None:
    with pytest.raises(MedFabricError, match="MF-7050"):
        changes.prepare(made.config, made.config, CHANNEL)
