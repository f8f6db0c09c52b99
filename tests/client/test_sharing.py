"""Local models shared with chosen nodes, from the owner's bytes to the recipient's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arguments import EXAMPLES
from support.ledger_gateway import LedgerGateway
from support.pki import make_authority, make_identity
from support.scenario import HOSPITALS, at, dataset_of, sha
from support.scripted_gateway import serve

from chaincode.schema import keys
from chaincode.schema.accounting import epsilon_micro, rdp_pico
from chaincode.schema.base import Role
from chaincode.schema.datasets import LocalTraining, Spending
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.sharing import Gain, LocalKind
from client import sharing
from client.cli.main import cli
from client.cli.output import Exit
from client.connection import Connection
from client.consortium import Consortium
from client.content import DirectoryStore
from client.content import envelope as envelopes
from client.identity import Identity

ONE, TWO = HOSPITALS[:2]
MODEL = b"weights of one ward" * 100
LATER = 4_000_000_000
TRAINED = LocalTraining(
    dataset_id=dataset_of(ONE), batch_size=10, noise_multiplier_micro=20_000_000, steps=5
)
GAIN = Gain(part="test", base_correct=7, correct=9, total=10)


@dataclass
class Parties:
    service: LedgerGateway
    store: DirectoryStore
    folder: Path
    owner: Consortium
    recipient: Consortium
    other: Consortium


@pytest.fixture
def parties(authority, tmp_path) -> Iterator[Parties]:
    """The owner's admin and two nodes of another hospital, registered."""
    service = LedgerGateway()
    service.ledger = at("published").ledger
    with serve(service, authority, tmp_path) as (file, _):
        connection = Connection.load(file)

        def connect(name: str, msp_id: str, role: Role) -> Consortium:
            identity = make_identity(authority, name, msp_id=msp_id, roles=(role,))
            return Consortium.connect(connection, identity)

        with (
            connect("admin", ONE, Role.ADMIN) as owner,
            connect("admin", TWO, Role.ADMIN) as admin,
            connect("ward", TWO, Role.AUDITOR) as recipient,
            connect("other", TWO, Role.AUDITOR) as other,
        ):
            for node in (recipient, other):
                admin.nodes.register(
                    node_id=node.identity.name,
                    roles=(Role.AUDITOR,),
                    public_key_sha256=node.identity.public_key_sha256,
                    device="desk",
                )
            store = DirectoryStore(tmp_path / "store")
            yield Parties(service, store, tmp_path / "store", owner, recipient, other)


def share(parties: Parties, until: int = LATER) -> None:
    _, key = sharing.publish(
        parties.owner,
        parties.store,
        "mine",
        MODEL,
        kind=LocalKind.PERSONAL,
        base_sha256=sha("model 1"),
        trained=TRAINED,
    )
    identity = parties.recipient.identity
    sharing.grant(
        parties.owner,
        parties.store,
        "mine",
        key,
        recipient=(TWO, identity.name),
        certificate_pem=identity.certificate_pem,
        until=until,
    )


def receipts(parties: Parties) -> list[str]:
    page = parties.owner.sharing.receipts(model_id="mine")
    return [receipt.recipient_node for receipt in page.receipts]


def test_a_granted_node_opens_the_model_and_signs_for_every_download(parties):
    share(parties)

    for _ in range(2):
        content = sharing.receive(parties.recipient, parties.store, ONE, "mine")

    assert content == MODEL
    assert receipts(parties) == ["ward", "ward"]
    assert all(MODEL not in file.read_bytes() for file in parties.folder.iterdir())


def test_a_model_that_stays_with_its_node_has_a_parent_and_no_recipient(parties):
    parties.owner.sharing.publish(
        model_id="mine",
        kind=LocalKind.PERSONAL,
        base_sha256=sha("model 1"),
        plain_sha256=sha("personal"),
    )

    with pytest.raises(MedFabricError, match=f"{Code.BAD_STATE}.*stays with its node"):
        sharing.grant(
            parties.owner,
            parties.store,
            "mine",
            envelopes.new_key(),
            recipient=(TWO, "ward"),
            certificate_pem=parties.recipient.identity.certificate_pem,
            until=LATER,
        )
    found = parties.owner.provenance.ancestors(name=f"local-model/{ONE}/mine")
    parents = {edge.target for edge in found.edges if edge.relation == "wasDerivedFrom"}
    assert parents == {f"model/{sha('model 1')}"}


def test_nobody_else_gets_the_model(parties):
    share(parties)

    with pytest.raises(MedFabricError, match=Code.GRANT_MISSING):
        sharing.receive(parties.other, parties.store, ONE, "mine")
    with pytest.raises(MedFabricError, match=Code.GRANT_MISSING):
        parties.other.sharing.get(msp_id=ONE, model_id="mine")
    assert receipts(parties) == []


def test_a_revoked_grant_holds_no_more_and_a_new_one_does(parties):
    share(parties)
    who = {"model_id": "mine", "recipient_msp": TWO, "recipient_node": "ward"}
    parties.owner.sharing.revoke(**who, reason="the study is over")
    with pytest.raises(MedFabricError, match=Code.GRANT_MISSING):
        sharing.receive(parties.recipient, parties.store, ONE, "mine")
    with pytest.raises(MedFabricError, match=Code.BAD_STATE):
        parties.owner.sharing.revoke(**who, reason="again")

    (before,) = parties.owner.sharing.grants(model_id="mine").grants
    parties.owner.sharing.grant(**who, key=before.key, until=LATER)

    assert sharing.receive(parties.recipient, parties.store, ONE, "mine") == MODEL


def test_a_certificate_of_another_key_than_the_registered_one_is_refused(parties):
    _, key = sharing.publish(parties.owner, parties.store, "mine", MODEL, kind=LocalKind.ENCRYPTED)

    with pytest.raises(MedFabricError, match=Code.BAD_IDENTITY):
        sharing.grant(
            parties.owner,
            parties.store,
            "mine",
            key,
            recipient=(TWO, "ward"),
            certificate_pem=parties.other.identity.certificate_pem,
            until=LATER,
        )


def test_a_grant_that_is_over_or_of_what_is_not_there_is_refused(parties):
    with pytest.raises(MedFabricError, match=Code.BAD_ARGUMENT):
        share(parties, until=1)
    with pytest.raises(MedFabricError, match=Code.EXISTS):
        share(parties)


def test_shared_models_hang_on_the_graph(parties):
    share(parties)
    sharing.receive(parties.recipient, parties.store, ONE, "mine")

    below = parties.owner.provenance.descendants(name=f"model/{sha('model 1')}").edges
    local = f"local-model/{ONE}/mine"
    assert local in {edge.source for edge in below}
    assert keys.composite(keys.grant(ONE, "mine", TWO, "ward")) in parties.service.ledger.state
    (edge,) = parties.owner.provenance.descendants(name=local).edges
    assert edge.source == f"grant/{ONE}/mine/{TWO}/ward"


def test_a_shared_personal_model_is_charged_to_its_dataset_once_and_within_its_budget():
    scenario = at("published")
    before = scenario.asset(keys.account(dataset_of(ONE)))
    args = EXAMPLES["PublishLocalArgs"]()
    made = scenario.do(ONE, "sharing:Publish", args)
    again = scenario.refused(ONE, "sharing:Publish", args)
    free = {"model_id": "other", "kind": "personal", "plain_sha256": sha("other")}
    scenario.do(ONE, "sharing:Publish", free)

    dataset = scenario.asset(keys.dataset(dataset_of(ONE)))
    after = scenario.asset(keys.account(dataset_of(ONE)))
    how = args["trained"]
    alone = rdp_pico(
        how["batch_size"], dataset["train_samples"], how["noise_multiplier_micro"], how["steps"]
    )
    told = tuple(
        sum(losses)
        for losses in zip(
            *(
                Spending.model_validate(s).rdp_pico(dataset["train_samples"])
                for s in before["plans"]
            ),
            alone,
            strict=True,
        )
    )
    assert again.code == Code.EXISTS
    assert made["trained"]["epsilon_micro"] == epsilon_micro(alone, after["delta_nano"])
    assert after["models"] == [made["trained"]]
    assert after["epsilon_micro"] == epsilon_micro(told, after["delta_nano"])
    assert after["epsilon_micro"] > before["epsilon_micro"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"trained": None}, Code.LOCAL_UNPROTECTED),
        ({"content": None}, Code.BAD_ARGUMENT),
        ({"trained": {"noise_multiplier_micro": 100_000}}, Code.BUDGET_EXCEEDED),
        ({"trained": {"dataset_id": dataset_of(TWO)}}, Code.NOT_OWNER),
        ({"trained": {"batch_size": 10**6}}, Code.BAD_ARGUMENT),
        (
            {"gain": {"part": "test", "base_correct": 7, "correct": 11, "total": 10}},
            Code.BAD_ARGUMENT,
        ),
    ],
)
def test_a_personal_model_that_would_tell_too_much_is_refused_and_nothing_written(changes, code):
    scenario = at("published")
    args = EXAMPLES["PublishLocalArgs"]()
    for name, value in changes.items():
        inside = name == "trained" and value is not None
        args[name] = {**args[name], **value} if inside else value
    before = dict(scenario.ledger.state)

    assert scenario.refused(ONE, "sharing:Publish", args).code == code
    assert scenario.ledger.state == before


def test_a_hospital_tells_what_its_model_gained_where_it_wants_to(parties):
    publish = parties.owner.sharing.publish
    publish(model_id="quiet", kind=LocalKind.PERSONAL, plain_sha256=sha("quiet"))
    publish(model_id="told", kind=LocalKind.PERSONAL, plain_sha256=sha("told"), gain=GAIN)

    (found,) = parties.other.sharing.gains().gains

    assert (found.msp_id, found.model_id, found.gain) == (ONE, "told", GAIN)


# The formats.

AUTHORITY = make_authority()
RECIPIENT: Identity = make_identity(AUTHORITY, "ward")
HERE, ELSEWHERE = b"\x01" * 32, b"\x02" * 32


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_sealed_opens_with_its_key_at_its_place_alone(content):
    key = envelopes.new_key()
    envelope = envelopes.seal(content, key, HERE)
    wrapped = envelopes.wrap(key, RECIPIENT.public_key, HERE)

    assert envelopes.unseal(envelope, envelopes.unwrap(wrapped, RECIPIENT, HERE), HERE) == content
    for wrong in ((envelope, key, ELSEWHERE), (envelope, envelopes.new_key(), HERE)):
        with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
            envelopes.unseal(*wrong)
    with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
        envelopes.unwrap(wrapped, RECIPIENT, ELSEWHERE)
    with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
        envelopes.unwrap(wrapped, make_identity(AUTHORITY, "other"), HERE)


KEY = envelopes.new_key()
ENVELOPE = envelopes.seal(b"content", KEY, HERE)
WRAPPED = envelopes.wrap(KEY, RECIPIENT.public_key, HERE)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_foreign_bytes_are_refused_by_code(data):
    whole = data.draw(st.sampled_from([ENVELOPE, WRAPPED]))
    kind = data.draw(st.sampled_from(["random", "prefixed", "cut", "flipped", "longer"]))
    if kind == "random":
        raw = data.draw(st.binary(max_size=200))
    elif kind == "prefixed":
        raw = whole[:4] + data.draw(st.binary(max_size=200))
    elif kind == "cut":
        raw = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "flipped":
        place = data.draw(st.integers(0, len(whole) * 8 - 1))
        raw = bytearray(whole)
        raw[place // 8] ^= 1 << place % 8
        raw = bytes(raw)
    else:
        raw = whole + data.draw(st.binary(min_size=1, max_size=3))

    with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
        envelopes.unseal(raw, KEY, HERE)
    with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
        envelopes.unwrap(raw, RECIPIENT, HERE)


def test_a_model_is_shared_at_the_command_line(parties, authority, tmp_path):
    connection = tmp_path / "connection.json"
    for name, msp_id, role in (("boss", ONE, Role.ADMIN), ("bed", TWO, Role.TRAINER)):
        make_identity(authority, name, msp_id=msp_id, roles=(role,)).save(tmp_path / name)
    bed = Identity.load(tmp_path / "bed")
    with Consortium.connect(
        connection, make_identity(authority, "a", msp_id=TWO, roles=(Role.ADMIN,))
    ) as admin:
        admin.nodes.register(
            node_id="bed",
            roles=(Role.TRAINER,),
            device="desk",
            public_key_sha256=bed.public_key_sha256,
        )
    (tmp_path / "model.bin").write_bytes(MODEL)
    store = ("--store", str(tmp_path / "store"))

    def run(who: str, *words: str) -> tuple[int, str]:
        options = ["--identity", str(tmp_path / who), "--connection", str(connection), "--json"]
        result = CliRunner().invoke(cli, ["admin", "sharing", *words, *options])
        return result.exit_code, result.stdout + result.stderr

    key = ("--key-file", str(tmp_path / "key"))
    publish = ("publish", str(tmp_path / "model.bin"), "ward-1", *key, *store)
    code, said = run("boss", *publish)
    assert (code, Code.LOCAL_UNPROTECTED in said) == (Exit.REFUSED, True)
    trained = tmp_path / "trained.json"
    trained.write_text(TRAINED.model_dump_json())
    assert run("boss", *publish, "--trained", str(trained))[0] == 0
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    certificate = str(tmp_path / "bed" / "certificate.pem")
    fetch = ("receive", ONE, "ward-1", "--out", str(tmp_path / "got.bin"), *store)
    assert run("bed", *fetch)[0] == Exit.REFUSED
    assert run("boss", "grant", "ward-1", TWO, "bed", certificate, *key, *store)[0] == 0
    assert run("bed", *fetch)[0] == 0
    assert (tmp_path / "got.bin").read_bytes() == MODEL
    listed = json.loads(run("boss", "receipts", "ward-1")[1])
    assert [row["node"] for row in listed["fetched"]] == [f"bed of {TWO}"]
    assert run("boss", "revoke", "ward-1", TWO, "bed", "--reason", "over")[0] == 0
    assert run("bed", *fetch)[0] == Exit.REFUSED


def test_a_certificate_over_an_unknown_curve_is_refused(authority):
    identity = make_identity(authority, "node1", msp_id=ONE)
    sound = x509.load_pem_x509_certificate(identity.certificate_pem)
    curve = bytes.fromhex("06082a8648ce3d030107")
    damaged = sound.public_bytes(Encoding.DER).replace(curve, curve[:-1] + b"\x7f")
    body = base64.encodebytes(damaged)
    pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"

    with pytest.raises(MedFabricError, match=Code.BAD_IDENTITY):
        envelopes.recipient(pem)
