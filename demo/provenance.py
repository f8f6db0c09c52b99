"""What the trained application puts on the ledger of its own: its schema, and records by it."""

from __future__ import annotations

from chaincode.schema import applications as a
from chaincode.schema import keys
from chaincode.schema.provenance import name_of
from chaincode.schema.rounds import RoundView
from demo.consortium import Hospital
from trainer.applications.application import Application


class Provenance:
    """One application's records, each posted by the hospital that it is of.

    Args:
        hospital: registers the schema, and posts what is about the whole consortium's models.
    """

    def __init__(self, application: Application, hospital: Hospital) -> None:
        self._application = application
        self._hospital = hospital

    def register(self) -> None:
        """Register the application's schema."""
        args = a.RegisterApplicationArgs(
            application=self._application.id,
            version=self._application.provenance.version,
            title=self._application.title,
            definition=self._application.provenance.schema(),
        )
        self._hospital.submit("application:Register", args, a.ApplicationSchema)

    def dataset(self, hospital: Hospital, dataset_id: str) -> None:
        """How a hospital's dataset came to be."""
        subject = name_of(keys.dataset(dataset_id))
        self._post(hospital, dataset_id, subject, self._application.provenance.dataset())

    def use(self, base_sha256: str) -> None:
        """What the models that follow from a base model are for."""
        subject = name_of(keys.model(base_sha256))
        self._post(self._hospital, "use", subject, self._application.provenance.stated_use())

    def learned(self, view: RoundView) -> None:
        """What the model of a round has learned from, where the round published one."""
        round_ = view.round
        if round_.model_sha256 is None:
            return
        used = {(one.msp_id, one.node_id) for one in round_.contributions}
        samples = sum(u.samples for u in view.updates if (u.msp_id, u.node_id) in used)
        learned = self._application.provenance.learned(round_.number, samples)
        subject = name_of(keys.model(round_.model_sha256))
        self._post(self._hospital, f"round-{round_.number}", subject, learned)

    def _post(self, hospital: Hospital, record_id: str, subject: str, record: a.Plain) -> None:
        args = a.RecordArgs(
            application=self._application.id,
            version=self._application.provenance.version,
            record_id=record_id,
            subject=subject,
            record=record,
        )
        hospital.submit("application:Record", args, a.SpecificRecord)
