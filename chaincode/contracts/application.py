"""The specific layer of provenance: each application's own records, by its registered schema."""

from __future__ import annotations

from chaincode.contracts.framework import Context, transaction
from chaincode.contracts.provenance import check_access, known_element
from chaincode.schema import canonical, jsonschema, keys, meanings
from chaincode.schema.applications import (
    ApplicationArgs,
    ApplicationPage,
    ApplicationSchema,
    RecordArgs,
    RecordPage,
    RecordPageArgs,
    RecordRefArgs,
    RegisterApplicationArgs,
    SpecificRecord,
)
from chaincode.schema.base import PageArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.provenance import CoreType


class ApplicationContract:
    """A schema is registered once for each version; records are judged by the one they name."""

    @transaction("application:Register")
    def register(self, context: Context, args: RegisterApplicationArgs) -> ApplicationSchema:
        key = keys.application(args.application, args.version)
        if context.find(key, ApplicationSchema) is not None:
            raise MedFabricError(Code.EXISTS, f"version {args.version} is registered; name another")
        previous = None if args.version == 1 else args.version - 1
        if previous is not None:
            before = context.get(keys.application(args.application, previous), ApplicationSchema)
            if before.msp_id != context.msp_id:
                raise MedFabricError(
                    Code.NOT_OWNER, f"{before.msp_id} registered {args.application}; ask its admin"
                )
        jsonschema.check_schema(args.definition)
        schema = ApplicationSchema(
            application=args.application,
            version=args.version,
            previous=previous,
            msp_id=context.msp_id,
            title=args.title,
            definition=args.definition,
            definition_sha256=canonical.sha256(args.definition),
            registered_at=context.now,
        )
        context.put(key, schema)
        context.emit("application.registered", msp_id=context.msp_id, subject=args.application)
        return schema

    @transaction("application:Record")
    def record(self, context: Context, args: RecordArgs) -> SpecificRecord:
        schema = context.get(keys.application(args.application, args.version), ApplicationSchema)
        _attachable(context, args.subject)
        jsonschema.validate(schema.definition, args.record)
        record = SpecificRecord(
            application=args.application,
            version=args.version,
            msp_id=context.msp_id,
            node_id=context.node_id,
            record_id=args.record_id,
            subject=args.subject,
            record=args.record,
            recorded_at=context.now,
        )
        key = keys.record(args.application, context.msp_id, args.record_id)
        return context.post(key, record, "application.recorded", subject=args.application)

    @transaction("application:Get")
    def get(self, context: Context, args: ApplicationArgs) -> ApplicationSchema:
        return context.get(keys.application(args.application, args.version), ApplicationSchema)

    @transaction("application:List")
    def list(self, context: Context, args: PageArgs) -> ApplicationPage:
        schemas, bookmark = context.page(
            "application", (), ApplicationSchema, args.page_size, args.bookmark
        )
        return ApplicationPage(schemas=schemas, bookmark=bookmark)

    @transaction("application:GetRecord")
    def get_record(self, context: Context, args: RecordRefArgs) -> SpecificRecord:
        check_access(context, args.msp_id, args.access)
        key = keys.record(args.application, args.msp_id, args.record_id)
        return context.get(key, SpecificRecord)

    @transaction("application:Records")
    def records(self, context: Context, args: RecordPageArgs) -> RecordPage:
        check_access(context, args.msp_id, args.access)
        place = (args.application, args.msp_id)
        records, bookmark = context.page(
            "record", place, SpecificRecord, args.page_size, args.bookmark
        )
        return RecordPage(records=records, bookmark=bookmark)


def _attachable(context: Context, subject: str) -> None:
    """Refuse a subject that is no entity, or another hospital's."""
    asset = known_element(context, subject)
    if meanings.element(subject, asset).type is not CoreType.ENTITY:
        raise MedFabricError(
            Code.BAD_ARGUMENT, f"{subject} is no entity; hang the record on a dataset or a model"
        )
    hospital = meanings.owner(subject, asset)
    if hospital not in (None, context.msp_id):
        raise MedFabricError(Code.NOT_OWNER, f"{subject} is of {hospital}; it keeps its records")
