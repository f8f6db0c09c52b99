"""Private records of a hospital: kept on its own peer, known to the channel by their hashes."""

from __future__ import annotations

from itertools import dropwhile, islice

from pydantic import ValidationError

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import canonical, keys
from chaincode.schema.consortium import Node
from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.private import (
    TRANSIENT,
    KeptRecord,
    PrivateRecord,
    PrivateRecordArgs,
    PrivateRecordPage,
    PrivateRecordPageArgs,
    PurgedRecord,
    RecordKind,
    VerifyRecordArgs,
)
from chaincode.shim.stub import composite_key

RECORD_LIMIT = 1024 * 1024
"""Bytes of one record."""


class PrivateContract:
    """A record belongs to the hospital whose admin keeps it; only its own peer can tell it.

    A transaction that writes here writes nothing public: the hospital's endorsement alone is
    asked for, and no other peer is shown the record.
    """

    @transaction("private:Keep")
    def keep(self, context: Context, args: PrivateRecordArgs) -> KeptRecord:
        _require_own(context, args.kind, args.subject)
        record = _given(context)
        said = (record.kind, record.msp_id, record.subject)
        if said != (args.kind, context.msp_id, args.subject):
            raise MedFabricError(
                Code.BAD_ARGUMENT, "the record is of another subject than the transaction says"
            )
        collection, key = _place(context.msp_id, args.kind, args.subject)
        context.stub.put_private_data(collection, key, canonical.dumps(record))
        context.emit("private.kept", msp_id=context.msp_id, subject=args.subject)
        return _kept(record)

    @transaction("private:Purge")
    def purge(self, context: Context, args: PrivateRecordArgs) -> PurgedRecord:
        collection, key = _place(context.msp_id, args.kind, args.subject)
        if context.stub.get_private_data_hash(collection, key) is None:
            raise _missing(context.msp_id, args.kind, args.subject)
        context.stub.purge_private_data(collection, key)
        context.emit("private.purged", msp_id=context.msp_id, subject=args.subject)
        return PurgedRecord(
            kind=args.kind, msp_id=context.msp_id, subject=args.subject, purged_at=context.now
        )

    @transaction("private:Get")
    def get(self, context: Context, args: PrivateRecordArgs) -> PrivateRecord:
        value = context.stub.get_private_data(*_place(context.msp_id, args.kind, args.subject))
        if value is None:
            raise _missing(context.msp_id, args.kind, args.subject)
        return PrivateRecord.model_validate_json(value)

    @transaction("private:List")
    def list(self, context: Context, args: PrivateRecordPageArgs) -> PrivateRecordPage:
        found = context.stub.get_private_data_by_partial_composite_key(
            _collection(context.msp_id), *keys.private_records(args.kind)
        )
        records = (PrivateRecord.model_validate_json(entry.value) for entry in found)
        # A peer has no pages of private data; a hospital has few.
        rest = dropwhile(lambda record: record.subject < args.bookmark, records)
        page = list(islice(rest, args.page_size + 1))
        following = page[args.page_size].subject if len(page) > args.page_size else ""
        return PrivateRecordPage(
            records=tuple(map(_kept, page[: args.page_size])), bookmark=following
        )

    @transaction("private:Verify")
    def verify(self, context: Context, args: VerifyRecordArgs) -> KeptRecord:
        place = _place(args.msp_id, args.kind, args.subject)
        if args.msp_id not in context.consortium().hospitals:
            raise _missing(args.msp_id, args.kind, args.subject)
        digest = context.stub.get_private_data_hash(*place)
        if digest is None:
            raise _missing(args.msp_id, args.kind, args.subject)
        record = _given(context)
        if bytes.fromhex(record.sha256) != digest:
            raise MedFabricError(
                Code.PRIVATE_RECORD_MISMATCH,
                f"this is not the record that {args.msp_id} keeps of {args.subject} now; ask for "
                "it again",
            )
        return _kept(record)


def _require_own(context: Context, kind: RecordKind, subject: str) -> None:
    """The node or dataset must be registered, and the caller's hospital's.

    Raises:
        MedFabricError: ``NOT_FOUND`` or ``NOT_OWNER``.
    """
    if kind is RecordKind.INVENTORY:
        context.get(keys.node(context.msp_id, subject), Node)
        return
    dataset = context.get(keys.dataset(subject), Dataset)
    if dataset.msp_id != context.msp_id:
        raise MedFabricError(
            Code.NOT_OWNER, f"dataset {subject} belongs to {dataset.msp_id}, which keeps its own"
        )


def _given(context: Context) -> PrivateRecord:
    """The record in the transient data.

    Raises:
        MedFabricError: ``BAD_ARGUMENT``, naming field and rule, never a value.
    """
    raw = context.stub.transient.get(TRANSIENT)
    if raw is None or len(raw) > RECORD_LIMIT:
        raise MedFabricError(
            Code.BAD_ARGUMENT,
            f"the record comes as transient data {TRANSIENT}, at most {RECORD_LIMIT} bytes",
        )
    try:
        record = PrivateRecord.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the record"
        raise MedFabricError(
            Code.BAD_ARGUMENT, f"{TRANSIENT}: {field}: {first['type']}; correct it and submit again"
        ) from None
    if not record.whole:
        raise MedFabricError(Code.BAD_ARGUMENT, f"the record is no {record.kind} or more than that")
    return record


def _kept(record: PrivateRecord) -> KeptRecord:
    return KeptRecord(
        kind=record.kind, msp_id=record.msp_id, subject=record.subject, sha256=record.sha256
    )


def _collection(msp_id: str) -> str:
    return f"_implicit_org_{msp_id}"


def _place(msp_id: str, kind: RecordKind, subject: str) -> tuple[str, str]:
    return _collection(msp_id), composite_key(*keys.private_record(kind, subject))


def _missing(msp_id: str, kind: RecordKind, subject: str) -> MedFabricError:
    return MedFabricError(
        Code.NOT_FOUND, f"{msp_id} keeps no {kind} of {subject}; it was never kept, or purged"
    )
