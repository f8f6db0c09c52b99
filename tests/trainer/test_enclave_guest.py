"""Reports of the guest that a node runs in; a simulated chip stands in the kernel's place."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.enclave import CHIP, MEASURED, TCB, Kernel, SimulatedChip, chip
from support.pki import make_authority, make_identity

from chaincode.schema import enclaves
from chaincode.schema.enclaves import AMD_ROOTS, Attested, EnclaveTerms, FirmwareTerms
from chaincode.schema.errors import Code, MedFabricError
from client.cli.main import cli
from trainer.enclave.enclave import CHAIN_FILES
from trainer.enclave.guest import SevSnpGuest, request
from trainer.node.config import DirectoryStoreConfig, EnclaveConfig, NodeConfig
from trainer.node.enclave import attester

NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
ONE = "Hospital1MSP"
ROOT = hashlib.sha256(chip().chain[2]).hexdigest()
LEAST = FirmwareTerms(**vars(TCB))
ATTESTED = Attested(
    plan_id="plan", round=1, terms_sha256="ab" * 32, opened_at=NOW, aggregate_sha256="cd" * 32
)


@pytest.fixture
def milan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world in which the simulated chip is AMD's."""
    monkeypatch.setitem(AMD_ROOTS, ROOT, "Milan")


def kernel(folder: Path, **changes: Any) -> Kernel:
    folder.mkdir()
    return Kernel(folder, **changes)


def certificates(folder: Path, one: SimulatedChip) -> Path:
    folder.mkdir()
    for name, content in zip(CHAIN_FILES, one.chain, strict=True):
        (folder / name).write_bytes(content)
    return folder


def here(folder: Path, **changes: Any) -> SevSnpGuest:
    one = kernel(folder / "requests", **changes)
    return SevSnpGuest.here(certificates(folder / "certificates", chip()), one.request)


def test_the_contract_believes_a_report_that_the_kernel_hands_out(tmp_path: Path) -> None:
    guest = here(tmp_path)
    pinned = EnclaveTerms(
        msp_id=ONE, measurement=MEASURED.hex(), root_sha256=ROOT, least=LEAST, simulated=True
    )

    evidence = guest.evidence(ATTESTED)

    assert enclaves.refusal(pinned, evidence, ATTESTED, NOW) is None
    other = ATTESTED.model_copy(update={"round": 2})
    assert "another aggregate" in str(enclaves.refusal(pinned, evidence, other, NOW))
    assert not list((tmp_path / "requests").iterdir())


@pytest.mark.usefixtures("milan")
def test_a_plan_s_terms_are_those_of_a_fresh_report(tmp_path: Path) -> None:
    one = kernel(tmp_path / "requests")
    guest = SevSnpGuest(chip().chain, one.request)

    assert (
        guest.terms(ONE, NOW)
        == guest.terms(ONE, NOW)
        == EnclaveTerms(msp_id=ONE, measurement=MEASURED.hex(), root_sha256=ROOT, least=LEAST)
    )
    assert len(set(one.asked)) == 2


def test_what_somebody_else_may_have_asked_is_not_taken(tmp_path: Path) -> None:
    one = kernel(tmp_path / "once", meddled=(1,))
    always = kernel(tmp_path / "always", meddled=(1,) * 9)

    raw = SevSnpGuest(chip().chain, one.request).signed(bytes(64))
    with pytest.raises(MedFabricError, match=r"MF-9107.*others write"):
        SevSnpGuest(chip().chain, always.request).signed(bytes(64))

    assert len(raw) == 1184
    assert (len(one.asked), len(always.asked)) == (2, 3)
    assert not [*(tmp_path / "once").iterdir(), *(tmp_path / "always").iterdir()]


def test_another_provider_is_asked_for_nothing(tmp_path: Path) -> None:
    one = kernel(tmp_path / "requests", provider="tdx_guest")

    with pytest.raises(MedFabricError, match=r"MF-9107.*tdx_guest"):
        SevSnpGuest(chip().chain, one.request).signed(bytes(64))

    assert not one.asked
    assert not list((tmp_path / "requests").iterdir())


def test_a_report_of_another_length_is_none(tmp_path: Path) -> None:
    guest = here(tmp_path, answer=lambda data: chip().report(data, MEASURED)[:-1])

    with pytest.raises(MedFabricError, match=r"MF-9107.*1183 bytes"):
        guest.evidence(ATTESTED)


def test_a_machine_that_is_no_guest_says_what_it_lacks(tmp_path: Path) -> None:
    guest = SevSnpGuest(chip().chain, partial(request, tmp_path / "absent"))

    with pytest.raises(MedFabricError, match=r"MF-9107.*absent.*Linux 6\.7"):
        guest.signed(bytes(64))


def test_a_request_goes_whatever_happens(tmp_path: Path) -> None:
    with request(tmp_path) as first, request(tmp_path) as second:
        assert sorted(tmp_path.iterdir()) == sorted([first, second])
    with pytest.raises(OSError, match="absent"), request(tmp_path) as third:
        (third / "absent").read_bytes()

    assert not list(tmp_path.iterdir())


def test_a_missing_certificate_is_named_and_the_chip_s_own_with_its_address(tmp_path: Path) -> None:
    one = kernel(tmp_path / "requests")
    folder = certificates(tmp_path / "certificates", chip())

    (folder / "ask.der").unlink()
    with pytest.raises(MedFabricError, match=r"MF-9104.*ask\.der"):
        SevSnpGuest.here(folder, one.request)
    (folder / "vcek.der").unlink()
    with pytest.raises(MedFabricError, match=r"MF-9104.*vcek\.der") as told:
        SevSnpGuest.here(folder, one.request)

    address = f"/{CHIP.hex()}?blSPL=3&teeSPL=0&snpSPL=20&ucodeSPL=209"
    assert address in told.value.message


@pytest.mark.usefixtures("milan")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"policy": 0x30000 | 1 << 19}, "debugged or migrated"),
        ({"vmpl": 1}, "less privileged"),
        ({"version": 5, "family": 0x1A, "chip": bytes(64)}, "laid out otherwise"),
        ({"flags": 1 << 2}, "chip's own key"),
        ({"chip": bytes(64)}, "another chip or firmware"),
    ],
)
def test_what_the_contracts_would_refuse_makes_no_terms(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    guest = here(tmp_path, answer=lambda data: chip().report(data, MEASURED, **changes))

    with pytest.raises(MedFabricError, match=f"MF-9108.*{why}"):
        guest.terms(ONE, NOW)


def test_a_chip_of_another_kind_is_sent_to_no_address(tmp_path: Path) -> None:
    turin = partial(chip().report, version=5, family=0x1A)
    one = kernel(tmp_path / "requests", answer=lambda data: turin(data, MEASURED))

    with pytest.raises(MedFabricError, match=r"MF-9108.*laid out otherwise"):
        SevSnpGuest.here(tmp_path, one.request)


def test_certificates_of_another_chip_root_or_time_make_no_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = kernel(tmp_path / "requests")
    guest = SevSnpGuest(chip().chain, one.request)

    with pytest.raises(MedFabricError, match=r"MF-9108.*root of AMD's"):
        guest.terms(ONE, NOW)
    monkeypatch.setitem(AMD_ROOTS, ROOT, "Milan")
    with pytest.raises(MedFabricError, match=r"MF-9108.*has not signed it"):
        SevSnpGuest(chip("another").chain, one.request).terms(ONE, NOW)
    with pytest.raises(MedFabricError, match=r"MF-9108.*not valid now"):
        guest.terms(ONE, NOW + 10 * 365 * 86400)


def node(folder: Path, enclave: EnclaveConfig | None) -> NodeConfig:
    return NodeConfig(
        connection=folder,
        identity=folder / "identity",
        home=folder / "home",
        store=DirectoryStoreConfig(folder=folder),
        enclave=enclave,
    )


@pytest.mark.usefixtures("milan")
def test_an_agent_does_not_start_with_an_enclave_that_nobody_believes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = kernel(tmp_path / "requests")
    monkeypatch.setattr(
        "trainer.node.enclave.SevSnpGuest.here", partial(SevSnpGuest.here, request=one.request)
    )
    good = certificates(tmp_path / "good", chip())
    bad = certificates(tmp_path / "bad", chip("another"))

    attester(node(tmp_path, EnclaveConfig(kind="sev-snp", folder=good)), ONE)
    with pytest.raises(MedFabricError, match="MF-9108"):
        attester(node(tmp_path, EnclaveConfig(kind="sev-snp", folder=bad)), ONE)
    one.provider = "tdx_guest"
    with pytest.raises(MedFabricError, match="MF-9107"):
        attester(node(tmp_path, EnclaveConfig(kind="sev-snp", folder=good)), ONE)


def test_the_command_prints_what_a_plan_takes(tmp_path: Path) -> None:
    identity = make_identity(make_authority())
    identity.save(tmp_path / "identity")
    config = tmp_path / "node.json"
    fields = {"connection": "c", "identity": "identity", "home": "h", "store": {"folder": "s"}}
    enclave = {"kind": "simulated", "folder": "enclave"}

    def asked(**more: Any) -> Any:
        config.write_text(json.dumps({**fields, **more}))
        return CliRunner().invoke(cli, ["node", "enclave", str(config), "--json"])

    told, none = asked(enclave=enclave), asked()

    terms = EnclaveTerms.model_validate_json(told.stdout)
    kept = SimulatedChip.kept(tmp_path / "enclave")
    assert terms == kept.terms(identity.msp_id, NOW)
    assert terms.simulated
    assert "protects nothing" in told.stderr
    assert json.loads(none.stderr)["error"] == Code.NODE_CONFIG
